"""The records of a request and of its released output.

>>> request = GenerationRequest(tags=("genre/jazz",), duration_s=10.0, use="experiment",
...                             model="house", format="wav")
>>> request.to_json()["territory"]
'WORLD'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType

from studio.core.config import OutputFormat
from studio.core.errors import LedgerError

if TYPE_CHECKING:
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.private_fields import Opening

__all__ = ["GenerationRequest", "OutputId", "Release", "credit_lines", "title_of"]

OutputId = NewType("OutputId", str)
"""Names one output; it is the hexadecimal form of the seal id the output carries."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What an artist asks for: tags, never free text. ``seed`` None lets the studio draw one."""

    tags: tuple[str, ...]
    duration_s: float
    use: str
    model: str
    format: OutputFormat
    territory: str = "WORLD"
    seed: int | None = None
    guidance: float | None = None  # None: the model's own
    parent: OutputId | None = None  # the output this one varies or extends
    title: str | None = None  # screened for names; None: one made from the tags
    human: tuple[
        str, ...
    ] = ()  # what people contribute; studio.generation.validation.HUMAN_CONTRIBUTIONS
    note: str | None = None  # screened for names; private, never in the ledger
    sheet: str | None = None  # what is fixed of the score; see studio.music.composer.notation.sheet

    def to_ledger(self) -> dict[str, Any]:
        """What the ledger keeps of it: nothing that a person typed."""
        body = self.to_json()
        body.pop("title", None)
        body.pop("sheet", None)
        return body

    def to_json(self) -> dict[str, Any]:
        """What its maker is shown: all but the note."""
        typed: dict[str, Any] = {} if self.title is None else {"title": self.title}
        if self.sheet is not None:
            typed["sheet"] = self.sheet
        if self.human:
            typed["human"] = list(self.human)
        return typed | {
            "tags": list(self.tags),
            "duration_s": self.duration_s,
            "use": self.use,
            "model": self.model,
            "format": self.format,
            "territory": self.territory,
            "seed": self.seed,
            "guidance": self.guidance,
            "parent": self.parent,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> GenerationRequest:
        human = tuple(body.get("human", ()))
        return cls(**{**body, "tags": tuple(body["tags"]), "human": human})


@dataclass(frozen=True, slots=True)
class Release:
    """One released output, with its ledger entry. Built only from the ledger."""

    output_id: OutputId
    path: Path  # the released file
    sha256: str  # of that file
    seal_id: str  # 16 hexadecimal digits
    entry_index: int
    entry_hash: str  # RFC 6962 leaf hash, hexadecimal
    request: GenerationRequest  # with the seed that was used
    decision: Mapping[str, Any]  # studio.consent.Decision.to_json() taken at release
    rate: int  # Hz
    channels: int
    duration_s: float
    title: str  # as in the file; one made from the tags where a typed one was erased
    credits: tuple[str, ...]  # lines of text: who granted which tags, which model
    created_at: datetime  # UTC
    seal: Mapping[str, Any]  # pair, digest, epoch, strength, how it read back
    model: Mapping[str, Any]  # id, digest, licence of the generation model
    c2pa: Mapping[str, Any] | None = None  # manifest and signer; None: released before signing
    lineage: Mapping[str, Any] | None = (
        None  # studio.generation.derived.derivation.Derivation.record()
    )

    @classmethod
    def from_entry(cls, entry: Entry, openings: Mapping[str, Opening], outputs: Path) -> Release:
        """The release that an entry is about. Raises :class:`LedgerError` for a damaged one."""
        try:
            body = entry.body
            request = GenerationRequest.from_json(body["request"])
            title = body["title"]
            if not isinstance(title, str):  # committed to: somebody typed it
                typed = openings.get("title")
                request = replace(request, title=None if typed is None else typed.value)
                title = request.title or title_of(request.tags, body["output_id"])
            if (sheet := openings.get("sheet")) is not None:
                request = replace(request, sheet=sheet.value)
            lines = body.get("credit_lines", ())
            kept = [openings.get(f"credit_lines/{number}") for number in range(len(lines))]
            return cls(
                output_id=OutputId(body["output_id"]),
                path=outputs / body["file"]["name"],
                sha256=body["file"]["sha256"],
                seal_id=body["seal"]["id"],
                entry_index=entry.index,
                entry_hash=entry.leaf_hash.hex(),
                request=request,
                decision=body["decision"],
                rate=body["audio"]["rate"],
                channels=body["audio"]["channels"],
                duration_s=body["audio"]["duration_s"],
                title=title,
                # Entries before commitments hold the lines themselves.
                credits=tuple(
                    body.get("credits", ())
                    or ("(erased)" if line is None else line.value for line in kept)
                ),
                created_at=entry.at,
                seal=body["seal"],
                model=body["model"],
                c2pa=body.get("c2pa"),
                lineage=body.get("lineage"),
            )
        except (KeyError, TypeError) as exc:
            raise LedgerError(
                f"entry {entry.index} of the ledger is damaged; run `studio ledger verify`"
            ) from exc


def title_of(tags: Sequence[str], output_id: str) -> str:
    """A title from the tags alone, told apart by the start of the output id.

    >>> title_of(["genre/bossa-nova", "mood/calm", "lead/piano"], "9f2c00a1b2c3d4e5")
    'Calm bossa nova with piano (9f2c)'
    """
    kinds = {kind: name.replace("-", " ") for kind, name in (tag.split("/", 1) for tag in tags)}
    tempo_and_mood = [kinds[kind] for kind in ("tempo", "mood") if kind in kinds]
    text = " ".join([*tempo_and_mood, kinds.get("genre", "music")])
    if "lead" in kinds:
        text += f" with {kinds['lead']}"
    return f"{text[0].upper()}{text[1:]} ({output_id[:4]})"


def credit_lines(
    decision: Mapping[str, Any], holders: Mapping[str, str], model_title: str
) -> tuple[str, ...]:
    """Credits of an output: each holder with the tags it granted, then the model.

    >>> decision = {"tags": [{"tag": "genre/jazz", "granted": True, "grant": "g", "holder": "h"}]}
    >>> credit_lines(decision, {"h": "House catalogue"}, "House model")
    ('Style consent: House catalogue (genre/jazz; grant g)', 'Generated by: House model')
    """
    by_grant: dict[tuple[str, str], list[str]] = {}
    for tag in decision["tags"]:
        if tag["granted"]:
            by_grant.setdefault((tag["holder"], tag["grant"]), []).append(tag["tag"])
    lines = [
        f"Style consent: {holders.get(holder, holder)} ({', '.join(tags)}; grant {grant})"
        for (holder, grant), tags in sorted(by_grant.items())
    ]
    return (*lines, f"Generated by: {model_title}")
