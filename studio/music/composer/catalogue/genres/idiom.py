"""What a genre is made of: harmony, instruments, bass idiom and drum grooves.

Patterns are strings with one character a tick (a sixteenth, or a triplet where the genre swings):

* drums: ``X`` accent, ``x`` stroke, ``o`` ghost stroke, ``.`` rest;
* hits: ``x`` strikes the chord (``X`` accented), gated after ``gate`` ticks;
* arpeggio: a digit plays that voice of the chord, counted from below, ``-`` lets it ring;
* bass: ``R`` root, ``8`` octave, ``3`` third, ``5`` fifth, ``7`` the chord's seventh or sixth,
  ``A`` a semitone or a scale step towards the next root, ``-`` holds, ``.`` is silent.

>>> Layer("strings", 48, "pad").voices
3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Bass", "Drums", "Genre", "Groove", "Layer"]

Groove = dict[str, str]


@dataclass(frozen=True, slots=True)
class Layer:
    """One accompaniment instrument. ``kind`` is ``hits``, ``arpeggio``, ``pad`` or ``counter``."""

    role: str
    program: int
    kind: str
    patterns: tuple[str, ...] = ()
    voices: int = 3
    centre: int = 60
    gate: int = 2
    level_db: float = -8.0


@dataclass(frozen=True, slots=True)
class Bass:
    """The bass instrument and its idiom; ``walk`` walks in quarter notes."""

    program: int
    patterns: tuple[str, ...] = ()
    walk: bool = False
    lowest: int = 33
    gate: float = 0.9
    level_db: float = -4.0


@dataclass(frozen=True, slots=True)
class Drums:
    """A kit, the grooves of A and B sections and the fills that end a phrase (a whole bar each)."""

    kit: int
    a: Groove
    b: Groove
    fills: tuple[Groove, ...]
    crash: bool = True
    level_db: float = -4.0


@dataclass(frozen=True, slots=True)
class Genre:
    """Everything that makes a genre. ``beats`` gives each tempo its beat lengths in frames."""

    name: str
    keys: tuple[int, ...]
    major: str
    minor: str
    a_major: tuple[str, ...]
    b_major: tuple[str, ...]
    a_minor: tuple[str, ...]
    b_minor: tuple[str, ...]
    cadence: tuple[str, str]
    bass: Bass
    layers: tuple[Layer, ...]
    drums: Drums | None
    rhythm: str = "straight"
    beats_per_bar: int = 4
    ticks_per_beat: int = 4
    brightness_db: float = 0.0
    reverb: float = 0.22
    lead_programs: dict[str, int] = field(default_factory=dict)
    beats: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"slow": (52, 44), "medium": (32, 28), "fast": (24, 20)}
    )
