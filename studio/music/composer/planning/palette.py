"""The moods and the lead instruments: what each changes in any genre.

>>> MOODS["dark"].major, LEADS["cello"].centre
(False, 57)
>>> len(MOODS) >= 8, len(LEADS) >= 14
(True, True)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.music.composer.styles.idiom import Layer

__all__ = ["LEADS", "MOODS", "PLAIN", "Lead", "Mood", "plain_mood", "usual_leads"]

PLAIN = "plain"
"""The name of the mood where none is asked for: the genre as it is."""


@dataclass(frozen=True, slots=True)
class Mood:
    """How a mood bends a genre.

    ``major`` chooses the harmony; ``density`` (0 to 2) the activity of the melody; ``register``
    shifts the lead in semitones; ``velocity`` scales every stroke; ``gate`` the length of short
    notes. ``colour`` is the layer that only this mood adds, ``percussion`` its own stroke in the
    drums, both for bars of 4/4. ``place`` is where in a tempo's range it likes to be, 0 to 1.
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
    colour: Layer | None
    percussion: Mapping[str, str] = field(default_factory=dict)
    place: float = 0.5


MOODS = {
    mood.name: mood
    for mood in (
        Mood(
            "calm", True, 0, 0, 0.76, 1.25, -3.0, 0.12, -2.0,
            Layer("warm-pad", 89, "pad", voices=3, centre=64, level_db=-7.0, pan=-0.2),
            place=0.25,
        ),
        Mood(
            "dark", False, 0, -7, 0.88, 1.0, -7.0, 0.10, -1.0,
            Layer("low-drone", 44, "power", ("X-------x-------",), centre=43, level_db=-2.0,
                  pan=0.2),
            place=0.35,
        ),
        Mood(
            "dreamy", True, 0, 5, 0.78, 1.4, -1.0, 0.26, -3.0,
            Layer("celesta", 8, "arpeggio", ("0-1-2-3-2-1-2-1-", "0-2-1-3-2-0-1-2-"), 4, 84,
                  level_db=-4.0, pan=0.35),
            place=0.3,
        ),
        Mood(
            "energetic", True, 2, 3, 1.12, 0.8, 3.0, -0.05, 1.5,
            Layer("brass-stabs", 61, "hits", ("X..x..x.........", "X.....x...x.....",
                  "X-..x...x..x...."), 3, 67, 1.0, -7.0, 0.3),
            {"tambourine": "xoxoxoxoxoxoxoxo"},
            place=0.8,
        ),
        Mood(
            "happy", True, 1, 4, 1.0, 0.75, 3.0, 0.0, 0.0,
            Layer("glockenspiel", 9, "arpeggio", ("..0...2...1...2.", "2...1...2...0...",
                  "0.1.2...0.1.2..."), 3, 84, level_db=-4.0, pan=0.35),
            {"tambourine": "..x...x...x...x."},
            place=0.6,
        ),
        Mood(
            "heroic", True, 1, 0, 1.1, 1.0, 1.0, 0.1, 1.0,
            Layer("horn-calls", 60, "hits", ("X---..x-X---x-x-", "X-----x-X-------",
                  "X--xX-------x-x-"), 3, 58, 1.0, -1.5, -0.25),
            {"floor-tom": "X.....x.X...x.x."},
            place=0.55,
        ),
        Mood(
            "melancholic", False, 1, -2, 0.8, 1.15, -3.0, 0.08, -1.5,
            Layer("slow-strings", 49, "pad", voices=2, centre=67, level_db=-6.0, pan=0.2),
            place=0.3,
        ),
        Mood(
            "playful", True, 1, 5, 0.95, 0.55, 2.0, -0.04, -2.0,
            Layer("pizzicato-play", 45, "hits", ("x.xx..x.x.x...x.", "..x.x.xx..x.x.x.",
                  "x..x..x.xx.x..x."), 3, 69, 0.6, -2.0, -0.35),
            {"block": "x..x..x...x.x..."},
            place=0.65,
        ),
        Mood(
            "romantic", True, 0, -3, 0.82, 1.3, -2.0, 0.12, -2.0,
            Layer("harp-rolls", 46, "arpeggio", ("0123432101234321", "01234---01234---",
                  "0-1-2-3-4-3-2-1-"), 5, 62, level_db=-4.0, pan=0.3),
            place=0.3,
        ),
        Mood(
            "tense", False, 1, -3, 0.98, 0.7, 0.0, 0.06, 0.0,
            Layer("tremolo", 44, "hits", ("xxxxxxxxxxxxxxxx", "XoxoXoxoXoxoXoxo"), 2, 72, 1.1,
                  -5.0, 0.25),
            {"low-tom": "X.xX.x..X.xX.x.x"},
            place=0.6,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead instrument: General MIDI program, its range and the middle of its best register.

    ``sustains`` says that its notes last as long as they are held; others fade.
    """

    name: str
    program: int
    low: int
    centre: int
    high: int
    level_db: float = 2.5
    sustains: bool = True


LEADS = {
    lead.name: lead
    for lead in (
        Lead("accordion", 21, 53, 70, 89, 2.0),
        Lead("banjo", 105, 50, 67, 86, 4.0, sustains=False),
        Lead("cello", 42, 36, 57, 76, 3.5),
        Lead("clarinet", 71, 50, 69, 91),
        Lead("flute", 73, 60, 79, 96),
        Lead("guitar", 25, 45, 66, 88, 3.5, sustains=False),
        Lead("harmonica", 22, 60, 72, 93, 2.0),
        Lead("harp", 46, 43, 71, 96, 4.0, sustains=False),
        Lead("marimba", 12, 48, 69, 91, 4.5, sustains=False),
        Lead("oboe", 68, 58, 72, 91, 2.0),
        Lead("organ", 16, 48, 71, 93, 1.5),
        Lead("pan-flute", 75, 60, 76, 94, 2.0),
        Lead("piano", 0, 36, 74, 98, 4.0, sustains=False),
        Lead("saxophone", 65, 49, 67, 82),
        Lead("synth", 81, 40, 73, 96, 1.0),
        Lead("trombone", 57, 40, 58, 74, 2.5),
        Lead("trumpet", 56, 55, 70, 86),
        Lead("vibraphone", 11, 53, 74, 89, 4.0, sustains=False),
        Lead("violin", 40, 55, 76, 98),
        Lead("voice", 53, 52, 69, 84, 3.5),
    )
}

_USUAL_LEADS = {
    "afrobeat": ("saxophone", "trumpet"), "ambient": ("synth", "piano"),
    "baroque": ("violin", "oboe", "flute"), "blues": ("guitar", "harmonica"),
    "bossa-nova": ("flute", "guitar"), "celtic": ("violin", "flute"), "chiptune": ("synth",),
    "cinematic": ("violin", "cello", "trumpet"), "country": ("violin", "guitar", "banjo"),
    "deep-house": ("synth", "piano"), "disco": ("violin", "trumpet"), "drum-and-bass": ("synth",),
    "flamenco": ("guitar",), "folk": ("guitar", "violin", "flute"), "funk": ("saxophone", "organ"),
    "gospel": ("organ", "voice", "piano"), "hip-hop": ("piano", "synth"),
    "jazz": ("saxophone", "trumpet", "piano"), "klezmer": ("clarinet", "violin"),
    "lo-fi": ("piano", "guitar"), "march": ("trumpet", "flute"), "metal": ("guitar",),
    "reggae": ("organ", "trombone"), "rock": ("guitar",), "salsa": ("trumpet", "piano"),
    "ska": ("trumpet", "trombone", "saxophone"), "soul": ("saxophone", "organ"),
    "synthwave": ("synth",), "tango": ("accordion", "violin"), "techno": ("synth",),
    "waltz": ("violin", "flute", "clarinet"),
}  # fmt: skip


def usual_leads(genre: str) -> tuple[str, ...]:
    """The instruments that lead in a genre where the request names none.

    They belong to the genre: no tag of another holder is behind them.

    >>> usual_leads("klezmer")
    ('clarinet', 'violin')
    """
    return _USUAL_LEADS.get(genre, ("piano",))


def plain_mood(major: bool) -> Mood:
    """The genre as it is, in major or minor: no layer, stroke or shading of any mood tag."""
    return Mood(PLAIN, major, 1, 0, 1.0, 1.0, 0.0, 0.0, 0.0, None)
