"""The chips of the Create tab: one kind of tag each, with an objection on what cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from studio.consent.types import Reason
from studio.core.tags import listing_key
from studio.reports.formatting import tag_name

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import TagStatus

__all__ = ["chip_choices", "chosen_tags", "first_usable", "objection"]


def chosen_tags(choice: Sequence[str | None]) -> list[str]:
    """The tags chosen: a kind left at "any" has the empty string."""
    return [tag for tag in choice if tag]


def objection(status: TagStatus) -> str:
    """Why the tag cannot be used as things stand, in two words; empty if it can.

    What the model's licence forbids is no fault of the tag; it is said of the model.
    """
    if not status.granted and status.reason != Reason.MODEL_LICENCE:
        return "not granted"
    return "" if status.known_to_model else "not for this model"


def chip_choices(kind: str, statuses: Sequence[TagStatus]) -> list[tuple[str, str]]:
    """Labels and values of one kind's chips; the label of a tag that cannot be used says so.

    Those that can be used come first.
    """
    ordered = sorted(statuses, key=lambda s: (objection(s) != "", listing_key(s.tag)))
    offered = [
        (" – ".join(filter(None, (tag_name(status.tag.id), objection(status)))), status.tag.id)
        for status in ordered
        if status.tag.kind == kind
    ]
    return [("any", ""), *offered]


def first_usable(kind: str, statuses: Sequence[TagStatus]) -> str:
    """So that the first click on Generate makes music."""
    usable = (s.tag.id for s in statuses if s.tag.kind == kind and not objection(s))
    return next(usable, "")
