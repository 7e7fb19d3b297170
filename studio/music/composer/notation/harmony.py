"""Chords, scales and voice leading.

Progressions are written in roman numerals, one word a bar, ``-`` between two chords that share it:

>>> [[c.symbol for c in bar] for bar in parse_progression("ii7-V7 Imaj7")]
[['ii7', 'V7'], ['Imaj7']]
>>> parse_roman("bVII").tones(tonic=0)
(10, 2, 5)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product

__all__ = [
    "QUALITIES",
    "SCALES",
    "Roman",
    "approach",
    "interval",
    "leading_semitone",
    "nearest",
    "nearest_within",
    "parse_progression",
    "parse_roman",
    "scale_for",
    "voice",
]

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "harmonic-minor": (0, 2, 3, 5, 7, 8, 11),
    "phrygian-dominant": (0, 1, 4, 5, 7, 8, 10),
    "blues-major": (0, 2, 3, 4, 7, 9),
    "blues-minor": (0, 3, 5, 6, 7, 10),
    "pentatonic-major": (0, 2, 4, 7, 9),
    "pentatonic-minor": (0, 3, 5, 7, 10),
}
"""Scale degrees in semitones over the tonic."""

_DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
QUALITIES: dict[str, tuple[int, ...]] = {
    "M": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "sus4": (0, 5, 7),
    "sus2": (0, 2, 7),
    "M6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "M7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "Mmaj7": (0, 4, 7, 11),
    "mmaj7": (0, 3, 7, 11),
    "M9": (0, 4, 7, 10, 2),
    "m9": (0, 3, 7, 10, 2),
    "Mmaj9": (0, 4, 7, 11, 2),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "aug": (0, 4, 8),
    "Madd9": (0, 4, 7, 2),
    "madd9": (0, 3, 7, 2),
    "7sus4": (0, 5, 7, 10),
    "M69": (0, 4, 7, 9, 2),
    "M13": (0, 4, 7, 10, 9),
    "M7b9": (0, 4, 7, 10, 1),
    "M7#9": (0, 4, 7, 10, 3),
    "m11": (0, 3, 7, 10, 5),
}
_ROMAN = re.compile(r"^(b|#)?([IViv]+)(.*)$")


@dataclass(frozen=True, slots=True)
class Roman:
    """A chord relative to a key: semitones of the root over the tonic, intervals over the root."""

    symbol: str
    offset: int
    intervals: tuple[int, ...]

    def tones(self, tonic: int) -> tuple[int, ...]:
        """Pitch classes in the key of ``tonic``, the root first."""
        return tuple((tonic + self.offset + interval) % 12 for interval in self.intervals)


@lru_cache(maxsize=256)
def parse_roman(symbol: str) -> Roman:
    """Read one roman numeral. Raises :class:`ValueError` for anything that is none."""
    match = _ROMAN.match(symbol)
    if match is None or match[2].lower() not in _DEGREES:
        raise ValueError(f"{symbol!r} is not a roman numeral")
    accidental, numeral, suffix = match[1], match[2], match[3]
    quality = suffix
    if suffix not in QUALITIES or suffix in ("M", "m"):
        quality = ("m" if numeral.islower() else "M") + suffix
    if quality not in QUALITIES:
        raise ValueError(f"{symbol!r} has the unknown quality {suffix!r}")
    shift = {"b": -1, "#": 1, None: 0}[accidental]
    return Roman(symbol, (_DEGREES[numeral.lower()] + shift) % 12, QUALITIES[quality])


def parse_progression(text: str) -> list[list[Roman]]:
    """Bars of one or two chords."""
    return [[parse_roman(symbol) for symbol in bar.split("-")] for bar in text.split()]


def scale_for(tonic: int, mode: str, tones: Sequence[int]) -> tuple[int, ...]:
    """The key's scale bent to a chord: a chord tone outside the scale replaces its neighbours.

    >>> scale_for(9, "minor", (4, 8, 11))   # E major in A minor: G sharp in, G and A out
    (0, 2, 4, 5, 8, 11)
    """
    pitches = {(tonic + degree) % 12 for degree in SCALES[mode]}
    for tone in tones:
        if tone not in pitches:
            for neighbour in ((tone - 1) % 12, (tone + 1) % 12):
                if neighbour not in tones:
                    pitches.discard(neighbour)
            pitches.add(tone)
    return tuple(sorted(pitches))


def nearest(pitch: float, classes: Sequence[int]) -> int:
    """The pitch of one of the pitch classes that is nearest; the lower one where two tie.

    >>> nearest(61, (0, 4, 7))
    60
    """
    base = round(pitch)
    return min(
        (p for p in range(base - 6, base + 7) if p % 12 in classes),
        key=lambda p: (abs(p - pitch), p),
    )


def nearest_within(previous: int, pitch_class: int, low: int, high: int) -> int:
    """The pitch of a class nearest to ``previous``, from ``low`` to below ``high``.

    >>> nearest_within(50, 0, 33, 52)
    48
    """
    pitches = (p for p in range(low, high) if p % 12 == pitch_class)
    return min(pitches, key=lambda p: (abs(p - previous), p))


def leading_semitone(goal: int, previous: int, low: int) -> int:
    """The pitch a semitone beside ``goal``: above it where ``previous`` is, or below ``low``.

    >>> leading_semitone(48, 45, 33), leading_semitone(48, 50, 33)
    (47, 49)
    """
    return goal + (1 if previous > goal or goal - 1 < low else -1)


def approach(root: int, target: int, scale: Sequence[int]) -> int:
    """The step of ``scale`` below the nearest pitch of class ``target``, or a semitone below.

    >>> approach(36, 5, (0, 2, 4, 5, 7, 9, 11))
    40
    """
    goal = nearest(root, (target,))
    below = [p for p in range(goal - 2, goal) if p % 12 in scale]
    return below[-1] if below else goal - 1


def interval(tones: Sequence[int], wanted: Sequence[int], otherwise: int) -> int:
    """The first interval of a chord over its root that is among ``wanted``; else ``otherwise``.

    >>> interval((9, 0, 4), (3, 4), 7)   # the third of A minor
    3
    """
    found = ((tone - tones[0]) % 12 for tone in tones)
    return next((one for one in found if one in wanted), otherwise)


@lru_cache(maxsize=65536)
def voice(
    tones: tuple[int, ...], count: int, centre: int, previous: tuple[int, ...] | None
) -> tuple[int, ...]:
    """A close voicing of ``count`` voices around ``centre`` that moves least from ``previous``.

    The root of a chord of more than three tones may be left to the bass; so may the fifth. Voices
    are distinct and lie within an octave and a half of one another.
    """
    wanted = _essential(tones, count)
    best: tuple[float, tuple[int, ...]] | None = None
    choices = [[p for p in range(centre - 12, centre + 13) if p % 12 == tone] for tone in wanted]
    for pitches in product(*choices):
        chord = tuple(sorted(set(pitches)))
        if len(chord) < len(wanted) or chord[-1] - chord[0] > 19:
            continue
        cost = 0.35 * abs(sum(chord) / len(chord) - centre)
        if min((b - a for a, b in pairwise(chord)), default=3) < 2:
            cost += 1.5  # a semitone cluster muddies the middle
        if previous is not None and len(previous) == len(chord):
            cost += sum(abs(a - b) for a, b in zip(chord, previous, strict=True))
        if best is None or (cost, chord) < best:
            best = (cost, chord)
    assert best is not None  # two octaves always hold one of each pitch class
    return best[1]


def _essential(tones: tuple[int, ...], count: int) -> tuple[int, ...]:
    if len(tones) <= count:
        doubled = (tones * 2)[:count] if len(tones) < count else tones
        return doubled
    # Third and seventh make the chord; the bass has the root, the fifth adds least.
    order = [1, 3, 4, 2, 0] if len(tones) > 3 else [1, 0, 2]
    picked = sorted(index for index in [i for i in order if i < len(tones)][:count])
    return tuple(tones[index] for index in picked)
