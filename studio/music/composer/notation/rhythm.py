"""Rhythm patterns: fit to another metre, swung, read step by step.

>>> recut("X.xxX.xxX.xxX.xx", "4/4", "12/8")
'X.xX.xX.xX.x'
>>> recut("x-......x-......", "4/4", "3/4")
'x-..........'
>>> Feel("swing").warp(240), Feel("straight").warp(240)
(320, 240)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Metre

__all__ = ["FEELS", "Feel", "Step", "recut", "steps"]

_SWING = 320  # where the second eighth note of a beat falls: two thirds of the beat
_SWING_16 = 138  # where the second sixteenth of an eighth falls, of 240 ticks

FEELS = ("straight", "swing", "swing-16")
"""Straight; swung eighth notes; lightly swung sixteenth notes. Compound metres are never swung."""

# Which beats of the old bar make the new one, by (beats before, beats after).
_BEATS = {
    (4, 3): (0, 1, 3),
    (4, 2): (0, 1),
    (3, 4): (0, 1, 2, 1),
    (3, 2): (0, 2),
    (2, 4): (0, 1, 0, 1),
    (2, 3): (0, 1, 1),
}


@dataclass(frozen=True, slots=True)
class Feel:
    """How off-beats are displaced within a beat."""

    name: str

    def warp(self, tick: int) -> int:
        """The swung place of a straight tick; whole beats stay."""
        if self.name == "straight":
            return tick
        period, late = (TICKS_PER_BEAT, _SWING) if self.name == "swing" else (240, _SWING_16)
        whole, place = divmod(tick, period)
        half = period // 2
        if place <= half:
            return whole * period + place * late // half
        return whole * period + late + (place - half) * (period - late) // half


@lru_cache(maxsize=8192)
def recut(pattern: str, native: str, metre: str) -> str:
    """A pattern of one bar or more, made for the metre ``native``, for bars of ``metre``.

    Beats are left out or repeated, and beats of two or four steps become beats of three where the
    metre is compound (and the other way round).
    """
    if native == metre:
        return pattern
    old, new = METRES[native], METRES[metre]
    return "|".join(_recut_bar(bar, old, new) for bar in pattern.split("|"))


def _recut_bar(bar: str, old: Metre, new: Metre) -> str:
    if not bar:
        return bar
    size = len(bar) // old.beats
    beats = [bar[i * size : (i + 1) * size] for i in range(old.beats)]
    chosen = _BEATS.get((old.beats, new.beats), tuple(range(old.beats)))
    picked = [_convert(beats[i], new.compound) for i in chosen]
    # A beat that begins by holding what is no longer there would hold something else.
    for i, (index, before) in enumerate(zip(chosen, (-1, *chosen), strict=False)):
        if index != before + 1 and picked[i].startswith("-"):
            held = len(picked[i]) - len(picked[i].lstrip("-"))
            picked[i] = "." * held + picked[i][held:]
    return "".join(picked)


def _convert(beat: str, compound: bool) -> str:
    if compound and len(beat) in (2, 4, 8):
        if len(beat) == 8:
            beat = beat[::2]
        if len(beat) == 2:
            return beat[0] + ("-" if beat[1] == "-" else ".") + beat[1]
        # The off-beat eighth, or else the last sixteenth, becomes the last third of the beat.
        return beat[0] + beat[1] + (beat[3] if beat[2] in ".-" and beat[3] != "-" else beat[2])
    if not compound and len(beat) in (3, 6):
        if len(beat) == 6:
            return beat[0] + beat[2] + beat[3] + beat[5]
        return beat[0] + ("-" if beat[1] == "-" else ".") + beat[1] + beat[2]
    return beat


@dataclass(frozen=True, slots=True)
class Step:
    """One struck step: its character, where it begins in the bar and where its hold ends.

    ``short`` says that no ``-`` follows: the stroke lasts a step.
    """

    mark: str
    start: int
    end: int
    step: int
    short: bool


def steps(pattern: str, bar: int, metre: str, feel: Feel) -> Iterator[Step]:
    """The strokes of the bar with number ``bar`` (patterns of several bars go round)."""
    rows = pattern.split("|")
    return iter(_steps(rows[bar % len(rows)], metre, feel))


@lru_cache(maxsize=8192)
def _steps(row: str, metre: str, feel: Feel) -> tuple[Step, ...]:
    size = METRES[metre].bar_ticks / len(row)
    found = []
    for index, mark in enumerate(row):
        if mark in ".-":
            continue
        stop = index + 1
        while stop < len(row) and row[stop] == "-":
            stop += 1
        start, end = feel.warp(round(index * size)), feel.warp(round(stop * size))
        found.append(Step(mark, start, end, round(size), stop == index + 1))
    return tuple(found)
