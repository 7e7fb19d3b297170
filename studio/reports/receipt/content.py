"""The content of a receipt: what an output is, and on whose consent.

The page proves nothing by itself, and says so. It says where the proof is: the file, its seal, its
signed manifest and the ledger, and how anybody checks them. :func:`receipt_of` gathers what it
says; :mod:`.html` and :mod:`.pdf` set the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from studio.consent import ConsentRegistry
from studio.consent.types import OnRevocation

if TYPE_CHECKING:
    from studio.provenance.release import Release

__all__ = ["Consent", "Receipt", "receipt_of"]

_USES = {
    "experiment": "experiment (private, not published)",
    "noncommercial": "noncommercial",
    "commercial": "commercial",
}
_ON_REVOCATION = {
    OnRevocation.KEEP: "earlier outputs may be kept and shared",
    OnRevocation.NO_NEW_DISTRIBUTION: "no new distribution of earlier outputs",
    OnRevocation.WITHDRAW: "earlier outputs are withdrawn",
}


@dataclass(frozen=True, slots=True)
class Consent:
    """One grant that the output relies on."""

    holder: str  # name, or the id where the register no longer has it
    tags: tuple[str, ...]
    grant: str
    terms: str  # where the text is
    terms_sha256: str
    until: str  # day, or "until revoked"
    on_revocation: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Everything the page says."""

    output_id: str
    title: str
    made: str  # day and time, UTC
    printed: str
    tags: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]  # label and value
    consents: tuple[Consent, ...]
    model: str
    licence: str
    training_basis: str
    marks: tuple[tuple[str, str], ...]  # how to recognise the recording: label and value
    steps: tuple[str, ...]  # how to verify
    url: str  # of the verification page
    caveat: str
    proof: Mapping[str, Any] | None  # an offline proof bundle


def receipt_of(
    release: Release,
    registry: ConsentRegistry,
    *,
    training_basis: str,
    url: str,
    proof: Mapping[str, Any] | None,
    printed_at: datetime,
) -> Receipt:
    """The receipt of an output. ``url`` is the verification page's, ``proof`` an offline bundle.

    Consent is told as it was at release; names and terms come from the register.
    """
    request = release.request
    facts = [
        ("Duration", f"{release.duration_s:.1f} s, {_channels(release.channels)}"),
        ("File", f"{request.format.upper()}, {release.rate / 1000:g} kHz"),
        ("For", _USES.get(request.use, request.use)),
        ("Territory", "worldwide" if request.territory == "WORLD" else request.territory),
        ("Seed", str(request.seed)),
    ]
    if request.parent is not None:
        facts.append(("Made from", f"output {request.parent}"))
    marks = [
        ("Seal", release.seal_id),
        ("SHA-256 of the file", release.sha256),
        ("Ledger entry", f"{release.entry_index}, hash {release.entry_hash}"),
    ]
    if proof is not None:  # its first three lines: C2SP tlog-checkpoint
        origin, size, head = proof["checkpoint"].splitlines()[:3]
        marks.append(("Signed checkpoint", f"{origin}: {size} entries, head {head}"))
    if release.c2pa is not None:
        marks.append(("Content Credentials", release.c2pa["label"]))
    return Receipt(
        output_id=release.output_id,
        title=release.title,
        made=_moment(release.created_at),
        printed=_moment(printed_at),
        tags=tuple(request.tags),
        facts=tuple(facts),
        consents=_consents(release, registry),
        model=f"{release.model.get('title', 'Model')} ({release.model['id']})",
        licence=release.model.get("licence", "not on record"),
        training_basis=training_basis,
        marks=tuple(marks),
        steps=(
            f"Open {url} and drop the recording there: the file itself, a part of it, or what "
            "became of it. The studio reads the seal, compares the content and shows the ledger "
            "entry, with consent as it was and as it is now.",
            "Or look at the file's Content Credentials with any C2PA reader that knows the "
            "studio's root certificate.",
            f"Or, without asking the studio: check the proof of output {release.output_id} with "
            "“studio ledger check-proof” and the studio's public key.",
        ),
        url=url,
        caveat="This page is a summary and proves nothing by itself; anyone can print one. Consent "
        "is shown as it was when the music was made. Consent to a style tag is not consent to "
        "training: on what the model was trained is said above.",
        proof=proof,
    )


def _consents(release: Release, registry: ConsentRegistry) -> tuple[Consent, ...]:
    by_grant: dict[str, list[Mapping[str, Any]]] = {}
    for tag in release.decision["tags"]:
        if tag["granted"]:
            by_grant.setdefault(tag["grant"], []).append(tag)
    found = []
    for grant_id, tags in by_grant.items():
        grant = registry.grants.get(grant_id)
        holder = registry.holders.get(tags[0]["holder"])
        found.append(
            Consent(
                holder=tags[0]["holder"] if holder is None else holder.name,
                tags=tuple(tag["tag"] for tag in tags),
                grant=grant_id,
                terms="not in the register any more" if grant is None else grant.terms.url,
                terms_sha256=tags[0]["terms_sha256"],
                until=tags[0].get("valid_until", "")[:10] or "until revoked",
                on_revocation="" if grant is None else _ON_REVOCATION[grant.on_revocation],
            )
        )
    return tuple(found)


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


def _moment(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
