"""The five moods and the ten leads: what each changes in any genre.

>>> MOODS["dark"].major
False
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LEADS", "MOODS", "Lead", "Mood"]


@dataclass(frozen=True, slots=True)
class Mood:
    """How a mood bends a genre.

    ``major`` chooses the palette of harmony; ``density`` (0 to 2) the activity of the melody;
    ``register`` shifts the lead in semitones; ``velocity`` scales every stroke. ``colour`` names
    the layer that only this mood adds.
    """

    name: str
    major: bool
    density: int
    register: int
    velocity: float
    gate: float
    brightness_db: float
    reverb: float
    drums_db: float
    colour: str


MOODS = {
    mood.name: mood
    for mood in (
        Mood("calm", True, 0, 0, 0.72, 1.25, -3.0, 0.12, -5.0, "warm-pad"),
        Mood("dark", False, 0, -7, 0.88, 1.0, -7.0, 0.10, -1.0, "low-drone"),
        Mood("energetic", True, 2, 3, 1.14, 0.8, 3.0, -0.05, 1.5, "brass-stabs"),
        Mood("happy", True, 1, 4, 1.0, 0.75, 3.0, 0.0, 0.0, "glockenspiel"),
        Mood("melancholic", False, 1, -2, 0.8, 1.15, -3.0, 0.08, -3.0, "slow-strings"),
    )
}


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead instrument: General MIDI program and the middle of its comfortable register."""

    name: str
    program: int
    centre: int
    level_db: float = 2.5


LEADS = {
    lead.name: lead
    for lead in (
        Lead("clarinet", 71, 69),
        Lead("flute", 73, 79),
        Lead("guitar", 25, 66, 3.5),
        Lead("organ", 16, 71, 1.5),
        Lead("piano", 0, 74, 4.0),
        Lead("saxophone", 65, 67),
        Lead("synth", 81, 73, 1.0),
        Lead("trumpet", 56, 70),
        Lead("vibraphone", 11, 74, 4.0),
        Lead("violin", 40, 76),
    )
}
