"""The claims of an output's signed manifest, from its request and consent.

>>> instant(datetime(2026, 11, 22, 12, tzinfo=UTC))
'2026-11-22T12:00:00Z'
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from studio.consent import Decision
from studio.consent.types import Grant, TagDecision, Use
from studio.provenance.credentials.claims import Claim, Parent, TrainingTerms
from studio.provenance.release import GenerationRequest, Release, title_of

__all__ = ["claim_of", "file_title", "instant"]


def claim_of(
    request: GenerationRequest,
    decision: Decision,
    *,
    model: Mapping[str, Any],
    seal_id: str,
    made_at: datetime,
    parent: Release | None,
    stem: str | None = None,
    transcoded_from: str | None = None,
) -> Claim:
    """The claim about an output of ``request`` (with its seed) that ``decision`` allowed.

    ``stem``: about this stem of it. ``transcoded_from``: about its sound in another format, made
    from the released file of this SHA-256.
    """
    return Claim(
        output_id=seal_id,
        seal_id=seal_id,
        title=file_title(request.title or title_of(request.tags, seal_id), stem),
        made_at=instant(made_at),
        model=model,
        request={
            "tags": list(request.tags),
            "seed": request.seed,
            "guidance": request.guidance,
            "duration_s": request.duration_s,
        },
        consent=[_grant(grant, decision.tags) for grant in decision.grants],
        use=decision.use,
        territory=decision.territory,
        training=TrainingTerms(
            {
                grant.id: grant.terms.url if Use.TRAINING in grant.uses else None
                for grant in decision.grants
            }
        ),
        parent=None if parent is None else _parent(parent),
        stem=stem,
        transcoded_from=transcoded_from,
    )


def file_title(title: str, stem: str | None) -> str:
    """The title of an output's file, or of the file of a stem.

    >>> file_title("Calm waltz (9f2c)", "bass")
    'Calm waltz (9f2c): bass'
    """
    return title if stem is None else f"{title}: {stem}"


def instant(at: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _grant(grant: Grant, tags: tuple[TagDecision, ...]) -> dict[str, Any]:
    relied = [tag for tag in tags if tag.grant == grant]
    name = next((tag.holder.name for tag in relied if tag.holder is not None), grant.holder)
    return {
        "grant": grant.id,
        "holder": {"id": grant.holder, "name": name},
        "tags": [tag.tag for tag in relied],
        "terms": {"sha256": grant.terms.sha256, "url": grant.terms.url},
        "valid_until": None if grant.valid_until is None else instant(grant.valid_until),
        "on_revocation": str(grant.on_revocation),
    }


def _parent(release: Release) -> Parent:
    try:
        content = release.path.read_bytes()
    except OSError:  # withdrawn or lost; its id is still told
        content = None
    return Parent(release.output_id, release.title, release.request.format, content)
