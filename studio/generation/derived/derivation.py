"""What an output inherits from its parent: ancestors and their consent.

A derived output relies on every grant that any of its ancestors relied on: an extension contains
their sound, a variation their choice of tags. So one revoked grant anywhere up the line refuses it,
also where another grant would cover the same tag today. The pipeline asks :meth:`objection` where
it decides about consent: at the beginning and again at release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from studio.consent import ConsentPolicy
from studio.consent.types import format_instant
from studio.core.db.tables.lineage import output_parent
from studio.core.errors import UsageError
from studio.provenance.release import Release

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.music.composer.notation.score import Score
    from studio.music.models.house.played import Played
    from watermark.audio.waveform import Waveform

__all__ = ["Derivation", "Keep", "New", "Redo", "Relation", "Wish", "grants_of", "write_parent"]

Relation = Literal["vary", "extend"]

Keep = Literal["notes", "chords"]
"""What a variation keeps: ``notes``, the parent's score, performed anew; ``chords``, its form, key,
tempo and chords, under a new melody and accompaniment."""

Redo = Literal["drums", "bass", "lead", "harmony"]
"""The stem that a variation composes anew; the others keep their notes."""

New = Literal["instruments"]
"""What a variation replaces: ``instruments``, which play the parent's notes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a variation takes from its parent's score; one thing at most, nothing by default.

    Args:
        lead: the instrument that leads instead of the parent's; with ``keep="chords"`` or
            ``new="instruments"`` only.

    Raises:
        UsageError: of two wishes that cannot go together.
    """

    keep: Keep | None = None
    redo: Redo | None = None
    new: New | None = None
    lead: str | None = None

    def __post_init__(self) -> None:
        asked = [value for value in (self.keep, self.redo, self.new) if value is not None]
        if len(asked) > 1:
            raise UsageError(f"{' and '.join(asked)}: choose one of keep, redo and new")
        if self.lead is not None and self.keep != "chords" and self.new is None:
            raise UsageError("another lead goes with new instruments, or with the chords kept")

    @property
    def empty(self) -> bool:
        """Whether nothing of the parent's score is wished for."""
        return self == Wish()

    @property
    def as_performed(self) -> bool:
        """Whether the child is performed with its parent's seed: only notes are changed."""
        return self.redo is not None or self.new is not None

    def record(self) -> dict[str, str]:
        """What the release entry keeps of it, under ``lineage``."""
        rows = {"kept": self.keep, "redone": self.redo, "new": self.new}
        return {name: value for name, value in rows.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Derivation:
    """One output to be made from others. Built by :mod:`studio.generation.derived.lineage` only."""

    relation: Relation
    ancestors: tuple[Release, ...]  # the parent first, then its parent, ...; at least one
    prompt: Waveform | None = None  # the music to go on from, without any seal
    score: Score | None = None  # what the parent was performed from
    played: Played | None = None  # and how, where that was kept
    wish: Wish = Wish()  # what of the parent's score a variation takes

    @property
    def parent(self) -> Release:
        return self.ancestors[0]

    @property
    def sounding(self) -> tuple[Release, ...]:
        """The ancestors whose sound is in the child: those it extends, up to the first that was
        made without a prompt."""
        found: list[Release] = []
        relation: str | None = self.relation
        for release in self.ancestors:
            if relation != "extend":
                break
            found.append(release)
            relation = None if release.lineage is None else release.lineage["relation"]
        return tuple(found)

    def objection(
        self, policy: ConsentPolicy, *, use: str, territory: str, at: datetime
    ) -> str | None:
        """Why consent does not carry over to a child of this use at ``at``; None where it does.

        What is heard again must be permitted for the child's use, by the licence of the model that
        made it as well: noncommercial music does not become commercial by being extended.
        """
        for release in self.ancestors:
            for grant in sorted(grants_of(release)):
                if grant not in policy.registry.grants:
                    return f"output {release.output_id} relies on grant {grant}, which is unknown"
                revoked_at = policy.registry.revoked_at(grant)
                if revoked_at is not None and at >= revoked_at:
                    return (
                        f"output {release.output_id} relies on grant {grant}, which was revoked "
                        f"on {format_instant(revoked_at)[:10]}"
                    )
        for release in self.sounding:
            request = release.request
            again = policy.decide(
                request.tags, use=use, territory=territory, model=request.model, at=at
            )
            if not again.allowed:
                return f"output {release.output_id} is heard again: {again.explain()}"
        return None

    def record(self) -> Mapping[str, Any]:
        """What the release entry keeps under ``lineage``."""
        return {
            "relation": self.relation,
            "parent": self.parent.output_id,
            "parent_entry": self.parent.entry_index,
            "depth": len(self.ancestors),
            "grants": sorted(set().union(*map(grants_of, self.ancestors))),
            **({"continued_at_s": self.parent.duration_s} if self.relation == "extend" else {}),
            **self.wish.record(),
        }


def grants_of(release: Release) -> frozenset[str]:
    """Ids of the grants an output relied on at its release."""
    return frozenset(tag["grant"] for tag in release.decision["tags"] if tag["granted"])


def write_parent(connection: Connection, output_id: str, derivation: Derivation) -> None:
    """The row that finds children by their parent, in the transaction that appends the entry."""
    connection.execute(
        output_parent.insert().values(
            output_id=output_id,
            parent_id=derivation.parent.output_id,
            relation=derivation.relation,
        )
    )
