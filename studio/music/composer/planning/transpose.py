"""Transpose a lead sheet: chords, notes and key, spelled for the new key.

The layout of the text stays; what cannot be read stays as it is.

>>> print(transposed("key: F# minor; chords: F#m | D A/C# | ? | E7", 1))
key: G minor
chords: Gm | Eb Bb/D | ? | F7
>>> print(transposed("key: G; melody verse: B4 - C5 .", 2))
key: A major
melody verse: C#5 - D5 .
"""

from __future__ import annotations

import re

from studio.core.errors import ConfigError
from studio.music.composer.notation.sheet import MAX_SHEET_CHARACTERS, read_sheet
from studio.music.composer.notation.spelling import read_pitch, spell_pitch, tonic_name
from studio.music.composer.planning.plan import heard_key

__all__ = ["MOST_STEPS", "transposed"]

MOST_STEPS = 12
"""Semitones up or down, at most."""

_PITCH = "[A-G][#b♯♭]{0,2}"
_CHORD = re.compile(rf"({_PITCH})([^/\s]*)(?:/({_PITCH}))?")
_NOTE = re.compile(r"([A-Ga-g][#b♯♭]{0,2})(-?\d)")


def transposed(text: str, steps: int) -> str:
    """The text ``steps`` semitones higher, one line for each of its lines.

    Raises :class:`ConfigError` for a text that cannot be read, for more than an octave, and for
    notes that leave the piano.
    """
    if not -MOST_STEPS <= steps <= MOST_STEPS:
        raise ConfigError(f"a sheet is transposed by {MOST_STEPS} semitones at most, not {steps}")
    fixed = read_sheet(text)
    tonic, mode = fixed.tonic, fixed.mode or "major"
    if tonic is None:
        tonic, mode = heard_key(fixed, 0, "major")
    key = (tonic + steps) % 12, mode

    def chord(match: re.Match[str]) -> str:
        root, suffix, bass = match.groups()
        low = "" if bass is None else "/" + spell_pitch(read_pitch(bass) + steps, *key)
        return spell_pitch(read_pitch(root) + steps, *key) + suffix + low

    def note(match: re.Match[str]) -> str:
        return _note(match[1], int(match[2]), steps, key)

    rows = []
    for line in (part.strip() for row in text.splitlines() for part in row.split(";")):
        name, _, value = line.partition(":")
        word, value = name.strip().lower(), value.strip()
        if word == "key":
            rows.append(f"{name}: {tonic_name(*key)} {mode}")
        elif word.startswith("chords"):
            rows.append(f"{name}: {_CHORD.sub(chord, value)}")
        elif word.startswith("melody"):
            rows.append(f"{name}: {_NOTE.sub(note, value)}")
        elif line:
            rows.append(line)
    found = "\n".join(rows)
    read_sheet(found)  # a note may have left the piano
    if len(found) > MAX_SHEET_CHARACTERS:
        raise ConfigError("the lead sheet becomes too long in that key; shorten it first")
    return found


def _note(name: str, octave: int, steps: int, key: tuple[int, str]) -> str:
    """A note with its octave, which goes with the letter: B#4 is C5."""
    letter = read_pitch(name[0])
    shift = (read_pitch(name) - letter + 6) % 12 - 6
    pitch = 12 * (octave + 1) + letter + shift + steps
    spelled = spell_pitch(pitch % 12, *key)
    home = read_pitch(spelled[0])
    alteration = (pitch % 12 - home + 6) % 12 - 6
    return f"{spelled}{(pitch - alteration) // 12 - 1}"
