"""Check what a request says about people's contribution to the music.

>>> check_human(["selection", "editing"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from studio.core.errors import UsageError

__all__ = ["HUMAN_CONTRIBUTIONS", "check_human"]

HUMAN_CONTRIBUTIONS: Mapping[str, str] = {
    "direction": "chose the style tags, the duration and the model",
    "selection": "chose this output among several",
    "editing": "will cut or arrange it",
    "composition": "fixed chords or a melody in the lead sheet, or will add composed material",
    "performance": "will add a performance",
    "lyrics": "will add lyrics",
    "mixing": "will mix or master it",
}
"""What people may say they contribute, with its meaning. `direction` holds for every output."""


def check_human(human: Sequence[str]) -> None:
    """Raise :class:`UsageError` for a contribution that is not on the list.

    >>> check_human(["selection", "editing"])
    """
    for part in human:
        if part not in HUMAN_CONTRIBUTIONS:
            known = ", ".join(HUMAN_CONTRIBUTIONS)
            raise UsageError(f"the human contribution must be among {known}, not {part!r}")
