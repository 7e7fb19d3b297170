"""Names of pitches and chords as musicians spell them in a key.

>>> spell_pitch(6, 2, "major"), spell_pitch(6, 1, "major"), tonic_name(6, "minor")
('F#', 'Gb', 'F#')
>>> read_pitch("Bb"), read_pitch("c#"), read_chord("F#m7/A").tones
(10, 1, (6, 9, 1, 4))
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from studio.core.errors import ConfigError
from studio.music.composer.notation.harmony import QUALITIES, SCALES

__all__ = [
    "ChordName",
    "chord_name",
    "key_fifths",
    "read_chord",
    "read_pitch",
    "spell_pitch",
    "tonic_name",
]

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_FIFTHS = "FCGDAEB"
# The signature of a mode: how many fifths its major key lies above the tonic's.
_SIGNATURES = {
    "lydian": 1, "major": 0, "blues-major": 0, "pentatonic-major": 0, "mixolydian": -1,
    "dorian": -2, "minor": -3, "harmonic-minor": -3, "blues-minor": -3, "pentatonic-minor": -3,
    "phrygian": -4, "phrygian-dominant": -4,
}  # fmt: skip
_SUFFIXES = {("m" if name == "m" else name.removeprefix("M")): row for name, row in
             QUALITIES.items()}  # fmt: skip
_SUFFIX_OF = {row: suffix for suffix, row in reversed(_SUFFIXES.items())}
_ALIASES = {
    "maj": "", "M": "", "min": "m", "-": "m", "mi": "m", "M7": "maj7", "Maj7": "maj7",
    "j7": "maj7", "min7": "m7", "-7": "m7", "min9": "m9", "o": "dim", "o7": "dim7",
    "+": "aug", "sus": "sus4", "ø": "m7b5", "ø7": "m7b5", "°": "dim", "°7": "dim7",
    "6/9": "69", "2": "add9", "minmaj7": "mmaj7", "mM7": "mmaj7", "9sus4": "7sus4",
}  # fmt: skip
_PITCH = re.compile(r"([A-Ga-g])([#b♯♭]{0,2})")
_CHORD = re.compile(r"([A-G][#b♯♭]{0,2})([^/]*|6/9)(?:/([A-G][#b♯♭]{0,2}))?")


@dataclass(frozen=True, slots=True)
class ChordName:
    """A chord as read: its pitch classes, the root first, and the bass where it is another."""

    tones: tuple[int, ...]
    bass: int | None = None

    @property
    def intervals(self) -> tuple[int, ...]:
        return tuple((tone - self.tones[0]) % 12 for tone in self.tones)


def read_pitch(name: str) -> int:
    """The pitch class of a name such as ``F#`` or ``eb``. Raises :class:`ConfigError`."""
    match = _PITCH.fullmatch(name)
    if match is None:
        raise ConfigError(f"{name[:20]!r} is no note name")
    shift = sum(1 if sign in "#♯" else -1 for sign in match[2])
    return (_LETTERS[match[1].upper()] + shift) % 12


@lru_cache(maxsize=4096)
def read_chord(name: str) -> ChordName:
    """Read a chord symbol. Raises :class:`ConfigError` for anything that is none."""
    match = _CHORD.fullmatch(name)
    suffix = None if match is None else _ALIASES.get(match[2], match[2])
    if match is None or suffix not in _SUFFIXES:
        raise ConfigError(f"{name[:20]!r} is no chord; chords are written like C, F#m7, Bbmaj7, E7")
    root = read_pitch(match[1])
    bass = None if match[3] is None else read_pitch(match[3])
    tones = tuple((root + interval) % 12 for interval in _SUFFIXES[suffix])
    return ChordName(tones, None if bass == root else bass)


def _spelled(fifths: int) -> str:
    """The name at a place on the line of fifths; F is -1, C 0, G 1.

    >>> _spelled(6), _spelled(-2)
    ('F#', 'Bb')
    """
    signs, letter = divmod(fifths + 1, 7)
    return _FIFTHS[letter] + ("#" * signs if signs > 0 else "b" * -signs)


@lru_cache(maxsize=256)
def _place(tonic: int, mode: str) -> int:
    """The tonic's place on the line of fifths: the spelling with the smaller key signature."""
    signature = _SIGNATURES.get(mode, 0 if 4 in SCALES[mode] else -3)
    place = tonic * 7 % 12  # 0 to 11
    return min((place - 12, place), key=lambda p: (abs(p + signature), abs(p), -p))


def key_fifths(tonic: int, mode: str) -> tuple[int, bool]:
    """The key signature, sharps counted up and flats down, and whether the third is minor.

    >>> key_fifths(2, "dorian"), key_fifths(10, "major")
    ((0, True), (-2, False))
    """
    minor = 4 not in SCALES[mode]
    signature = _SIGNATURES.get(mode, -3 if minor else 0)
    return _place(tonic, mode) + signature, minor


def tonic_name(tonic: int, mode: str) -> str:
    """The name of a key's tonic: F# in F# minor, Gb or F# by the smaller signature."""
    return _spelled(_place(tonic, mode))


def spell_pitch(pitch: int, tonic: int, mode: str) -> str:
    """The name of a pitch class in a key.

    Notes of the key by its signature; others as the lowered second, third, sixth or seventh step
    or the raised fourth, whichever they are.
    """
    place = _place(tonic, mode)
    low = place - 5
    found = low + (pitch * 7 - low) % 12
    if found > 11 or found < -7:  # nobody wants double sharps and double flats
        found -= 12 if found > 11 else -12
    return _spelled(found)


def chord_name(tones: tuple[int, ...], tonic: int, mode: str, bass: int | None = None) -> str:
    """The symbol of a chord in a key, for example ``F#m7``."""
    intervals = tuple((tone - tones[0]) % 12 for tone in tones)
    symbol = spell_pitch(tones[0], tonic, mode) + _SUFFIX_OF[intervals]
    return symbol if bass is None else f"{symbol}/{spell_pitch(bass, tonic, mode)}"
