"""What a genre is made of: harmony, instruments, bass lines, accompaniment and drum grooves.

A pattern is a string that fills one bar, one character a step; a bar of 16 characters in 4/4 has
sixteenth notes, one of 12 has triplets. ``|`` separates the bars of a longer pattern. Characters:

* drums and chords: ``X`` accent, ``x`` stroke, ``o`` soft stroke, ``.`` rest, ``-`` holds on
  (a chord that no ``-`` follows is short); ``u`` is an upstroke of a strummed guitar;
* arpeggio: a digit plays that voice of the chord, counted from below, ``-`` lets it ring;
* bass: ``R`` root, ``8`` octave, ``3`` third, ``5`` fifth, ``7`` the chord's seventh or sixth,
  ``2`` ``4`` ``6`` steps of the scale, ``L`` the fifth below, ``A`` a step towards the next root,
  ``-`` holds, ``.`` rests.

Progressions are roman numerals, a word a bar, ``-`` between chords that share a bar, ``;`` between
progressions.

>>> Layer("strings", 48, "pad").voices
3
>>> len(progressions("I IV V I; I vi-IV ii V"))
2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from studio.music.composer.notation.harmony import Roman, parse_progression

__all__ = [
    "DRUM_KEYS",
    "Bass",
    "Drums",
    "Groove",
    "Harmony",
    "Layer",
    "Progression",
    "Style",
    "progressions",
]

DRUM_KEYS = {
    "kick": 36,
    "stick": 37,
    "snare": 38,
    "clap": 39,
    "rim": 40,
    "low-tom": 41,
    "hat": 42,
    "floor-tom": 43,
    "pedal-hat": 44,
    "open-hat": 46,
    "mid-tom": 47,
    "crash": 49,
    "high-tom": 50,
    "ride": 51,
    "china": 52,
    "bell": 53,
    "tambourine": 54,
    "splash": 55,
    "cowbell": 56,
    "high-bongo": 60,
    "low-bongo": 61,
    "muted-conga": 62,
    "conga": 63,
    "low-conga": 64,
    "high-timbale": 65,
    "low-timbale": 66,
    "agogo": 67,
    "cabasa": 69,
    "maracas": 70,
    "guiro": 73,
    "clave": 75,
    "block": 76,
    "triangle": 81,
    "shaker": 82,
}
"""General MIDI percussion keys by the names used in the grooves."""

Groove = Mapping[str, str]
Progression = tuple[tuple[Roman, ...], ...]


@lru_cache(maxsize=1024)
def progressions(text: str) -> tuple[Progression, ...]:
    """Read progressions of one or more bars, separated by ``;``."""
    return tuple(tuple(map(tuple, parse_progression(one))) for one in text.split(";"))


@dataclass(frozen=True, slots=True)
class Harmony:
    """The progressions of one mode, by section; ``cadence`` leads home to the ``final`` chord."""

    mode: str
    verse: str
    chorus: str
    bridge: str
    cadence: str
    final: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One accompaniment instrument.

    ``kind`` is ``hits``, ``strum``, ``arpeggio``, ``pad``, ``power`` (root, fifth, octave),
    ``octaves`` (an arpeggio doubled an octave higher) or ``counter`` (a line against the lead).
    ``enter`` is the least intensity of a section in which it plays: 1 always, 2 from the verse,
    3 in the chorus only.
    """

    role: str
    program: int
    kind: str
    patterns: tuple[str, ...] = ()
    voices: int = 3
    centre: int = 60
    gate: float = 1.0
    level_db: float = -8.0
    pan: float = 0.0
    enter: int = 1


@dataclass(frozen=True, slots=True)
class Bass:
    """The bass instrument and its lines; ``walk`` walks in quarter notes."""

    program: int
    patterns: tuple[str, ...] = ()
    walk: bool = False
    lowest: int = 31
    gate: float = 0.9
    level_db: float = -4.0
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Drums:
    """A kit, its grooves (verse, chorus and bridge draw among them) and its family of fills."""

    kit: int
    grooves: tuple[Groove, ...]
    fills: str = "rock"
    crash: bool = True
    level_db: float = -5.0
    enter: int = 1
    lag: int = 0


@dataclass(frozen=True, slots=True)
class Style:
    """Everything that makes a genre.

    ``home`` is the range of beats a minute in which the genre is at home, used where no tempo is
    asked for. ``bands`` replaces the range of a tempo word. ``loose`` is how far players stray from
    the beat, in ticks. ``ending`` is ``hold`` or ``button`` (short and dry).
    """

    name: str
    keys: tuple[int, ...]
    home: tuple[float, float]
    major: Harmony
    minor: Harmony
    bass: Bass
    layers: tuple[Layer, ...]
    drums: Drums | None
    rhythm: str = "straight"
    metre: str = "4/4"
    feel: str = "straight"
    bars: int = 4
    loose: int = 6
    brightness_db: float = 0.0
    reverb: float = 0.22
    ending: str = "hold"
    lift: int = 4
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    lead_programs: Mapping[str, int] = field(default_factory=dict)
