"""What the form hands over, checked before anything is put in line."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from studio.core.errors import NameRefusedError, UsageError

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import Catalog

from studio.generation.takes import MOST_TAKES
from studio.web.ui.create.tag_choices import chosen_tags

__all__ = ["Choice", "GenerateForm", "chosen", "kept", "roll", "title_refusal"]

_SEEDS = 2**31  # seeds offered; small enough to be read out, large enough not to repeat


class Choice(NamedTuple):
    """Tags and scope as the form has them, in the order of its parts.

    >>> Choice("genre/jazz", "", None, "", "experiment", "DE", "house").tags
    ['genre/jazz']
    """

    genre: str | None
    mood: str | None
    lead: str | None
    tempo: str | None
    use: str
    territory: str
    model: str

    @property
    def tags(self) -> list[str]:
        """The tags that are chosen."""
        return chosen_tags((self.genre, self.mood, self.lead, self.tempo))


@dataclass(frozen=True, slots=True)
class GenerateForm:
    """What the form holds when Generate is pressed.

    Args:
        duration_s: None where its field is empty.
        title: None where the panel of titles and notes was never opened; so are note and human.
        locked: whether the seed is kept.
    """

    choice: Choice
    duration_s: float | None
    guidance: float | None
    seed: float | None
    locked: bool
    takes: int
    format: str
    title: str | None
    note: str | None
    human: list[str] | None
    sheet: str | None

    @classmethod
    def of(cls, values: Sequence[Any]) -> GenerateForm:
        """The form from the values of its parts, in the order in which the event has them."""
        scope = len(Choice._fields)
        return cls(Choice(*values[:scope]), *values[scope:])


def title_refusal(catalog: Catalog, title: str | None) -> NameRefusedError | None:
    """Why a title cannot be; None for one that can."""
    text = (title or "").strip()
    if not text:
        return None
    try:
        catalog.check_title(text)
    except NameRefusedError as exc:
        return exc
    return None


def kept(seed: float | None) -> int:
    """The seed that was typed. Raises :class:`UsageError`, which names it."""
    if seed is None:
        raise UsageError("the seed is empty; type one, or untick “Keep this seed”")
    if not 0 <= seed < _SEEDS or seed != int(seed):
        raise UsageError(f"the seed must be a whole number from 0 to {_SEEDS - 1}, not {seed:g}")
    return int(seed)


def chosen(parent: str | None) -> str:
    """The output to go on from. Raises :class:`UsageError` where none is chosen."""
    if not parent:
        raise UsageError("choose the output to go on from")
    return parent


def roll() -> int:
    """A seed that was not used lately, as far as chance goes."""
    return secrets.randbelow(_SEEDS - MOST_TAKES)
