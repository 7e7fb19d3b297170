"""What an artist fixes of a piece; the composer writes everything else around it.

>>> fixed = Fixed(bpm=96.0, metre="6/8")
>>> fixed.bpm, fixed.chords_of("verse")
(96.0, ())
>>> Fixed(bpm=300.0)
Traceback (most recent call last):
studio.core.errors.ConfigError: 300 beats a minute are outside 50 to 200
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from studio.core.errors import ConfigError
from studio.music.composer.notation.harmony import SCALES
from studio.music.composer.notation.rhythm import FEELS
from studio.music.composer.notation.score import METRES
from studio.music.composer.notation.spelling import ChordName

__all__ = [
    "BPM_RANGE",
    "MAX_BARS",
    "SECTION_KINDS",
    "ChordBar",
    "Fixed",
    "PlacedChord",
    "TypedBar",
    "TypedNote",
]

BPM_RANGE = (50.0, 200.0)
"""Slowest and fastest beat, in beats a minute."""

MAX_BARS = 200
"""Longest form, in bars."""

SECTION_KINDS = ("intro", "verse", "chorus", "bridge", "ending")
"""Kinds of section; ``verse2`` to ``verse9`` are verses that differ from the first."""


@dataclass(frozen=True, slots=True)
class PlacedChord:
    """A chord that begins at place ``slot`` of a bar that is written in ``slots`` equal places."""

    name: ChordName
    slot: int
    slots: int


@dataclass(frozen=True, slots=True)
class TypedNote:
    """A note of a typed melody, in equal places of a bar; ``length`` may pass the bar's end."""

    slot: int
    slots: int
    length: int
    pitch: int


Row = TypeVar("Row")
ChordBar = tuple[PlacedChord, ...]  # empty: the composer chooses the chords of this bar
TypedBar = tuple[TypedNote, ...] | None  # None: the composer writes this bar


@dataclass(frozen=True, slots=True)
class Fixed:
    """Everything that an artist may fix; nothing fixed leaves all to the composer.

    ``form`` names the sections in order with their bars (0: as long as their chords or melody).
    ``chords`` and ``melodies`` hold bars by section name; the name ``""`` stands for every section
    that has none of its own. A section may be named by its kind for all of its kind.
    """

    tonic: int | None = None
    mode: str | None = None
    bpm: float | None = None
    metre: str | None = None
    feel: str | None = None
    form: tuple[tuple[str, int], ...] = ()
    chords: tuple[tuple[str, tuple[ChordBar, ...]], ...] = ()
    melodies: tuple[tuple[str, tuple[TypedBar, ...]], ...] = ()

    def __post_init__(self) -> None:
        low, high = BPM_RANGE
        if self.bpm is not None and not low <= self.bpm <= high:
            raise ConfigError(f"{self.bpm:g} beats a minute are outside {low:g} to {high:g}")
        for value, known, what in (
            (self.mode, SCALES, "mode"),
            (self.metre, METRES, "metre"),
            (self.feel, FEELS, "feel"),
        ):
            if value is not None and value not in known:
                raise ConfigError(f"{value[:20]!r} is not a {what}; known are {', '.join(known)}")
        if self.tonic is not None and not 0 <= self.tonic < 12:
            raise ConfigError(f"{self.tonic} is no pitch class")
        names = [name for name, _ in (*self.form, *self.chords, *self.melodies) if name]
        for name in names:
            if name.rstrip("23456789") not in SECTION_KINDS or len(name) > 7:
                raise ConfigError(
                    f"{name[:20]!r} is not a section; sections are {', '.join(SECTION_KINDS)}, "
                    "and verse2 to verse9 for a different one of a kind"
                )
        if sum(bars for _, bars in self.form) > MAX_BARS:
            raise ConfigError(f"a form has at most {MAX_BARS} bars")

    @property
    def empty(self) -> bool:
        """Whether nothing is fixed."""
        return self == Fixed()

    def chords_of(self, section: str) -> tuple[ChordBar, ...]:
        """The fixed chords of a section, or nothing."""
        return _of(self.chords, section)

    def melody_of(self, section: str) -> tuple[TypedBar, ...]:
        """The typed melody of a section, or nothing."""
        return _of(self.melodies, section)

    def bars_of(self, section: str, bars: int) -> int:
        """The length of a section of the form: as said, or that of its chords or melody, or 4."""
        return bars or max(len(self.chords_of(section)), len(self.melody_of(section))) or 4


def _of(rows: tuple[tuple[str, tuple[Row, ...]], ...], section: str) -> tuple[Row, ...]:
    found = dict(rows)
    kind = section.rstrip("23456789")
    for name in (section, kind, ""):
        if name in found:
            return found[name]
    return ()
