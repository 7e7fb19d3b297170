"""Going on from an output: what a variation takes of it, as the page offers it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from studio.generation.derived.derivation import Wish
from studio.reports.formatting import tag_name
from studio.web.ui.create.tag_choices import objection

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import TagStatus
    from studio.provenance.release import Release

__all__ = ["CHANGES", "lead_choices", "takes_lead", "wish_of", "wish_of_release"]

_WISHES = {
    "all": Wish(),
    "performance": Wish(keep="notes"),
    "notes": Wish(keep="chords"),
    "instruments": Wish(new="instruments"),
    "drums": Wish(redo="drums"),
    "bass": Wish(redo="bass"),
    "lead": Wish(redo="lead"),
    "harmony": Wish(redo="harmony"),
}

CHANGES = (
    ("Everything: a new piece from its tags", "all"),
    ("The performance; its notes stay", "performance"),
    ("The notes; its chords and form stay", "notes"),
    ("The instruments; its notes stay", "instruments"),
    ("The drums alone", "drums"),
    ("The bass alone", "bass"),
    ("The lead alone", "lead"),
    ("The accompaniment alone", "harmony"),
)
"""What a variation changes: words and the choice's name."""


def takes_lead(change: str | None) -> bool:
    """Whether another lead can be asked for with this change."""
    return change in ("notes", "instruments")


def wish_of(change: str | None, lead: str | None) -> Wish:
    """What is wished for by the choices on the page.

    >>> wish_of("instruments", "lead/flute")
    Wish(keep=None, redo=None, new='instruments', lead='flute')
    >>> wish_of("drums", "lead/flute").lead is None
    True
    """
    found = _WISHES.get(change or "all", Wish())
    if not lead or not takes_lead(change):
        return found
    return Wish(found.keep, found.redo, found.new, lead.removeprefix("lead/"))


def wish_of_release(release: Release) -> Wish:
    """What an output took of its parent's score, to be wished for again."""
    row = release.lineage or {}
    wish = Wish(row.get("kept"), row.get("redone"), row.get("new"))
    lead = next((tag for tag in release.request.tags if tag.startswith("lead/")), None)
    if lead is None or (wish.keep != "chords" and wish.new is None):
        return wish
    return Wish(wish.keep, wish.redo, wish.new, lead.removeprefix("lead/"))


def lead_choices(change: str | None, statuses: Iterable[TagStatus]) -> list[tuple[str, str]]:
    """The leads that may be asked for, after what happens where none is."""
    usable = sorted(s.tag.id for s in statuses if s.tag.kind == "lead" and not objection(s))
    unsaid = "as it was" if change == "notes" else "another of the genre"
    return [(unsaid, ""), *((tag_name(tag), tag) for tag in usable)]
