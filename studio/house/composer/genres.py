"""The sixteen genres of the house catalogue: harmony, instruments, bass idioms and drum grooves.

Patterns are strings with one character a tick (a sixteenth, or a triplet where the genre swings):

* drums: ``X`` accent, ``x`` stroke, ``o`` ghost stroke, ``.`` rest;
* hits: ``x`` strikes the chord (``X`` accented), gated after ``gate`` ticks;
* arpeggio: a digit plays that voice of the chord, counted from below, ``-`` lets it ring;
* bass: ``R`` root, ``8`` octave, ``3`` third, ``5`` fifth, ``7`` the chord's seventh or sixth,
  ``A`` a semitone or a scale step towards the next root, ``-`` holds, ``.`` is silent.

>>> GENRES["waltz"].beats_per_bar
3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DRUM_KEYS", "GENRES", "Bass", "Drums", "Genre", "Layer"]

DRUM_KEYS = {
    "kick": 36,
    "stick": 37,
    "snare": 38,
    "clap": 39,
    "low-tom": 41,
    "hat": 42,
    "pedal-hat": 44,
    "open-hat": 46,
    "mid-tom": 47,
    "crash": 49,
    "high-tom": 50,
    "ride": 51,
    "bell": 53,
    "tambourine": 54,
    "cowbell": 56,
    "conga": 63,
    "low-conga": 64,
    "cabasa": 69,
    "maracas": 70,
    "clave": 75,
    "triangle": 81,
}
"""General MIDI percussion keys by the names used in the grooves."""

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
    """Everything that makes a genre. ``beats`` gives each tempo's possible beat lengths in frames."""

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


_SWING_BEATS = {"slow": (51, 45), "medium": (33, 30), "fast": (24, 21)}
_ROCK_FILLS = (
    {"kick": "X.......X.......", "snare": "....X...x.xxxxxx"},
    {
        "kick": "X.......",
        "snare": "....X...xx......",
        "high-tom": "..........xx....",
        "mid-tom": "............xx..",
        "low-tom": "..............XX",
    },
)
_LIGHT_FILLS = (
    {"stick": "....x.......x.xx", "low-tom": "..........x....."},
    {"stick": "....x.....x.x.x.", "low-tom": "..............xx"},
)
_SWING_FILLS = (
    {"ride": "x..x........", "snare": "......x.xx.X", "kick": "x..........x"},
    {"ride": "x..x........", "snare": "......xxx...", "low-tom": ".........xxX"},
)

GENRES: dict[str, Genre] = {}


def _add(genre: Genre) -> None:
    GENRES[genre.name] = genre


_add(
    Genre(
        name="ambient",
        keys=(0, 2, 5, 7),
        major="lydian",
        minor="dorian",
        a_major=("Imaj7 Imaj9 IVmaj7 IVmaj9", "Imaj9 iii7 IVmaj7 vi7"),
        b_major=("vi7 IVmaj7 Imaj7 IIsus4", "IVmaj9 vi7 iii7 IVmaj7"),
        a_minor=("i9 i7 bVImaj7 bVImaj7", "i7 bVIImaj7 bVImaj7 i7"),
        b_minor=("iv9 i7 bVImaj7 bVIIsus2", "bVImaj7 bIIImaj7 iv7 i7"),
        cadence=("IVmaj7", "bVImaj7"),
        bass=Bass(39, ("R---------------",), lowest=36, level_db=-7.0),
        layers=(
            Layer("pad", 89, "pad", voices=4, centre=60, level_db=-5.0),
            Layer(
                "bells",
                98,
                "arpeggio",
                ("0-1-2-3-2-1-0-1-", "0-2-1-3-0-2-1-3-"),
                4,
                72,
                level_db=-9.0,
            ),
        ),
        drums=None,
        rhythm="sparse",
        brightness_db=-3.0,
        reverb=0.5,
    )
)
_add(
    Genre(
        name="baroque",
        keys=(0, 2, 7, 9),
        major="major",
        minor="minor",
        a_major=("I-V vi-iii IV-I IV-V", "I IV-V I-vi ii-V", "I-vi IV-ii V I"),
        b_major=("vi-ii V-I IV-viidim V", "V-I ii-vi IV-I V"),
        a_minor=("i-iv bVII-bIII bVI-iidim V", "i-V i-bVII bIII-bVII i-V", "i-V bVI-iv V i"),
        b_minor=("bIII-bVII i-V bVI-iv V", "iv-bVII bIII-bVI iv-i V"),
        cadence=("V", "V"),
        bass=Bass(
            42,
            ("R---3---5---3---", "R---8---5---A---", "R-3-5-3-R-3-5-A-"),
            lowest=36,
            level_db=-5.0,
        ),
        layers=(
            Layer(
                "harpsichord",
                6,
                "arpeggio",
                ("0.1.2.1.3.2.1.2.", "0123212301232123"),
                4,
                64,
                level_db=-4.0,
            ),
            Layer("counterpoint", 68, "counter", centre=60, level_db=-4.0),
        ),
        drums=None,
        rhythm="flowing",
        reverb=0.35,
        lead_programs={"organ": 19},
    )
)
_add(
    Genre(
        name="blues",
        keys=(4, 9, 7, 2),
        major="blues-major",
        minor="blues-minor",
        a_major=(
            "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
            "I7 I7 I7 I7 IV7 IV7 I7 VI7 ii7 V7 I7 V7",
        ),
        b_major=("I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",),
        a_minor=(
            "i7 iv7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7",
            "i7 i7 i7 i7 iv7 iv7 i7 i7 V7 iv7 i7 V7",
        ),
        b_minor=("i7 iv7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7",),
        cadence=("V7", "V7"),
        bass=Bass(33, ("R..3..5..7..", "R.R3.35.57.5", "R..8..7..5.."), lowest=33),
        layers=(
            Layer("shuffle-guitar", 27, "hits", ("x.ox.ox.ox.o", "x.xx.xx.xx.x"), 3, 54, 1, -6.0),
        ),
        drums=Drums(
            0,
            {"hat": "x.xx.xx.xx.x", "kick": "X.....X....x", "snare": "...X.....X.."},
            {"ride": "x.xx.xx.xx.x", "kick": "X....xX.....", "snare": "...X.o...X.o"},
            (
                {"kick": "X.....X.....", "snare": "...X..x.xX.x"},
                {"kick": "X.....", "snare": "...X..xxx...", "low-tom": ".........xxX"},
            ),
        ),
        rhythm="swing",
        ticks_per_beat=3,
        beats=_SWING_BEATS,
        lead_programs={"guitar": 29},
    )
)
_add(
    Genre(
        name="bossa-nova",
        keys=(5, 0, 10, 7),
        major="major",
        minor="dorian",
        a_major=("Imaj9 II9 ii9 V9", "Imaj7 VI7 ii9 V9", "Imaj9 Imaj7 ii9 V9"),
        b_major=("IVmaj7 iv6 iii7 VI7", "iii7 VI7 ii9 V9"),
        a_minor=("i9 iv7 iim7b5 V7", "i9 i9 iv9 bVII9"),
        b_minor=("iv9 bVII9 bIIImaj7 V7", "bVImaj7 iim7b5 i9 V7"),
        cadence=("V9", "V7"),
        bass=Bass(32, ("R-----5-5-----R-", "R-----R-5-----5-"), lowest=33, level_db=-3.0),
        layers=(
            Layer(
                "nylon-guitar", 24, "hits", ("x..x..x...x..x..", "x...x..x..x..x.."), 4, 58, 2, -4.0
            ),
        ),
        drums=Drums(
            0,
            {"stick": "X..x..x...x..x..", "hat": "xoxoxoxoxoxoxoxo", "kick": "x.....xxx.....xx"},
            {"stick": "..x..x..X..x..x.", "hat": "xoxoxoxoxoxoxoxo", "kick": "x.....xxx.....xx"},
            _LIGHT_FILLS,
            crash=False,
            level_db=-8.0,
        ),
        rhythm="syncopated",
    )
)
_add(
    Genre(
        name="chiptune",
        keys=(0, 2, 9, 4),
        major="major",
        minor="minor",
        a_major=("I V vi IV", "I IV V I", "I bVII IV I"),
        b_major=("IV V iii vi", "vi IV I V"),
        a_minor=("i bVI bVII i", "i bVI bIII bVII"),
        b_minor=("iv bVII bIII bVI", "bVI bVII i i"),
        cadence=("V", "bVII"),
        bass=Bass(80, ("R.R.8.R.R.R.8.R.", "R.8.R.8.R.8.R.8."), lowest=36, gate=0.6, level_db=-3.0),
        layers=(
            Layer(
                "square-arpeggio",
                80,
                "arpeggio",
                ("0123012301230123", "0213021302130213"),
                4,
                66,
                1,
                -1.0,
            ),
        ),
        drums=Drums(
            24,
            {"kick": "X.......X.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "X..x..x.X..x..x.", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            (
                {"kick": "X.......", "snare": "....X...xxxxxxxx"},
                {"kick": "X...X...X...X...", "snare": "........xx.xx.xX"},
            ),
            level_db=-9.0,
        ),
        rhythm="flowing",
        brightness_db=3.0,
        reverb=0.05,
        lead_programs={"synth": 81},
    )
)
_add(
    Genre(
        name="disco",
        keys=(9, 4, 2, 7),
        major="major",
        minor="dorian",
        a_major=("Imaj7 iii7 IVmaj7 V", "I vi7 ii7 V7"),
        b_major=("IVmaj7 V iii7 vi7", "ii7 V7 Imaj7 vi7"),
        a_minor=("i7 bVII bVImaj7 bVII", "i7 iv7 bVII bIII"),
        b_minor=("iv7 v7 i7 i7", "bVImaj7 bVII i7 i7"),
        cadence=("V7", "V7"),
        bass=Bass(33, ("R.8.R.8.R.8.R.8.", "R.8.R.8.R.8.5.8."), lowest=33, gate=0.7),
        layers=(
            Layer("strings", 48, "pad", voices=3, centre=72, level_db=-6.0),
            Layer(
                "wah-guitar", 28, "hits", ("x.oxx.oxx.oxx.ox", "..xx..xx..xx..xx"), 3, 62, 1, -6.0
            ),
        ),
        drums=Drums(
            0,
            {
                "kick": "X...X...X...X...",
                "clap": "....x.......x...",
                "snare": "....X.......X...",
                "open-hat": "..x...x...x...x.",
                "hat": "x...x...x...x...",
            },
            {
                "kick": "X...X...X...X...",
                "snare": "....X.......X...",
                "open-hat": "..X...X...X...X.",
                "hat": "xx.xxx.xxx.xxx.x",
            },
            (
                {"kick": "X...X...X...X...", "snare": "....X...x.xxx.xx"},
                {
                    "kick": "X...X...X...X...",
                    "high-tom": "........xx......",
                    "mid-tom": "..........xx....",
                    "low-tom": "............xxXX",
                },
            ),
            level_db=-7.0,
        ),
        rhythm="syncopated",
    )
)
_add(
    Genre(
        name="drum-and-bass",
        keys=(5, 7, 0, 2),
        major="mixolydian",
        minor="minor",
        a_major=("I9 I9 bVII9 IV9", "Imaj9 Imaj9 vi9 IVmaj9"),
        b_major=("vi9 IVmaj9 I9 bVII9", "IVmaj9 iii7 vi9 bVII9"),
        a_minor=("i9 i9 bVImaj7 bVII", "i7 i7 iv9 bVImaj7"),
        b_minor=("bVImaj7 bVII v7 i7", "iv9 iv9 bVImaj7 v7"),
        cadence=("bVII9", "bVII"),
        bass=Bass(38, ("R-----R-..R-8-5-", "R---..R---8-..5-"), lowest=29, level_db=-2.0),
        layers=(Layer("synth-strings", 50, "pad", voices=3, centre=64, level_db=-8.0),),
        drums=Drums(
            8,
            {"kick": "X.x.......x.....", "snare": "....X..x.x..X..x", "ride": "x.x.x.x.x.x.x.x."},
            {"kick": "X.........xx....", "snare": "....X..o.o..X.xo", "ride": "xxx.xxx.xxx.xxx."},
            (
                {"kick": "X.x...x...x.....", "snare": "....X..xx.xxXxxX"},
                {"kick": "X..X..X..X..X.X.", "snare": ".xx.xx.xx.xx.xXX"},
            ),
            level_db=-5.0,
        ),
        rhythm="sparse",
        brightness_db=2.0,
        beats={"slow": (52, 44), "medium": (32, 28), "fast": (20, 16)},
    )
)
_add(
    Genre(
        name="folk",
        keys=(0, 7, 2, 9),
        major="major",
        minor="dorian",
        a_major=("I IV I V", "I vi IV V", "I V vi IV"),
        b_major=("vi IV I V", "IV I ii V"),
        a_minor=("i bVII bVI bVII", "i bIII bVII i"),
        b_minor=("bIII bVII iv i", "bVI bIII bVII i"),
        cadence=("V", "bVII"),
        bass=Bass(32, ("R-------5-------",), lowest=33, level_db=-7.0),
        layers=(
            Layer(
                "picked-guitar",
                25,
                "arpeggio",
                ("0.213.210.213.21", "0.2.132.0.2.132."),
                4,
                57,
                level_db=-4.0,
            ),
        ),
        drums=Drums(
            0,
            {"tambourine": "....x.......x...", "low-tom": "x.......x......."},
            {"tambourine": "..o.x.o...o.x.o.", "low-tom": "x.......x.x....."},
            (
                {"tambourine": "....x.......xxxx", "low-tom": "x.......x.x....."},
                {"tambourine": "....x...x.x.x.x.", "low-tom": "x...........x.x."},
            ),
            crash=False,
            level_db=-6.0,
        ),
        rhythm="straight",
    )
)
_add(
    Genre(
        name="funk",
        keys=(4, 9, 2, 7),
        major="mixolydian",
        minor="dorian",
        a_major=("I9 I9 I9 IV9", "I7 I7 bVII I7"),
        b_major=("IV9 IV9 I9 V9", "IV9 bVII9 IV9 V9"),
        a_minor=("i7 i7 i7 IV9", "i9 i9 iv9 i9"),
        b_minor=("iv9 iv9 bVII9 bVII9", "bVImaj7 bVImaj7 V7 V7"),
        cadence=("V9", "V7"),
        bass=Bass(36, ("R..R..8.R.7R..8.", "R.R...8R..5.7.R8"), lowest=28, gate=0.6, level_db=-2.0),
        layers=(
            Layer("clavinet", 7, "hits", ("x.ox.xo.x.ox..xo", "..x.xo.x..x.xo.x"), 3, 62, 1, -4.0),
            Layer("brass", 61, "hits", ("............x.x.", "......X........."), 3, 65, 1, -8.0),
        ),
        drums=Drums(
            0,
            {"kick": "X..x..x...x.....", "snare": "....X..o.o..X..o", "hat": "xxxxxxxxxxxxxxxx"},
            {
                "kick": "X.x....x..xx....",
                "snare": "....X..o.o..X...",
                "hat": "xxxxxxxxxxxxxx..",
                "open-hat": "..............x.",
            },
            _ROCK_FILLS,
        ),
        rhythm="syncopated",
    )
)
_add(
    Genre(
        name="jazz",
        keys=(10, 5, 3, 0),
        major="major",
        minor="dorian",
        a_major=("Imaj7-VI7 ii7-V7 Imaj7-vi7 ii7-V7", "ii7 V7 Imaj7 VI7", "Imaj7 vi7 ii7 V7"),
        b_major=("III7 VI7 II7 V7", "IVmaj7 iv7-bVII7 iii7-VI7 ii7-V7"),
        a_minor=("i6 iim7b5-V7 i6 iim7b5-V7", "i7 bVImaj7 iim7b5 V7"),
        b_minor=("iv7 bVII7 bIIImaj7 V7", "iv7 i7 iim7b5 V7"),
        cadence=("V7", "V7"),
        bass=Bass(32, walk=True, lowest=31, level_db=-3.0),
        layers=(
            Layer(
                "comping-piano",
                0,
                "hits",
                ("x....x......", ".....x..x...", "x......x...."),
                3,
                60,
                2,
                -7.0,
            ),
        ),
        drums=Drums(
            32,
            {"ride": "X..x.xX..x.x", "pedal-hat": "...x.....x..", "kick": "o..o..o..o.."},
            {"ride": "X..x.xX..x.x", "pedal-hat": "...x.....x..", "snare": ".....o..o..."},
            _SWING_FILLS,
            level_db=-6.0,
        ),
        rhythm="swing",
        ticks_per_beat=3,
        beats=_SWING_BEATS,
        lead_programs={"guitar": 26, "saxophone": 66},
    )
)
_add(
    Genre(
        name="lo-fi",
        keys=(3, 8, 10, 5),
        major="major",
        minor="minor",
        a_major=("IVmaj7 iii7 ii9 Imaj9", "ii9 V9 Imaj9 vi9"),
        b_major=("vi9 ii9 IVmaj7 V9", "IVmaj9 iii7 vi9 vi9"),
        a_minor=("i9 bVImaj7 iv9 v7", "iv9 bVII9 i9 bVImaj7"),
        b_minor=("bVImaj9 v7 iv9 i9", "bIIImaj7 bVImaj7 iv9 v7"),
        cadence=("V9", "v7"),
        bass=Bass(33, ("R-----..R-..5---", "R---......R-5-.."), lowest=31, level_db=-3.0),
        layers=(
            Layer(
                "electric-piano",
                4,
                "hits",
                ("x.....x...x.....", "x..x......x....."),
                4,
                60,
                5,
                -2.0,
            ),
        ),
        drums=Drums(
            8,
            {"kick": "X......x..x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "X.....x...x....x", "snare": "....X.......X..o", "hat": "x.x.x.xxx.x.x.x."},
            (
                {"kick": "X......x", "snare": "....X.....x.X.xx"},
                {"kick": "X.......x.......", "snare": "....X..o..x.xx.x"},
            ),
            crash=False,
            level_db=-6.0,
        ),
        rhythm="sparse",
        brightness_db=-8.0,
        lead_programs={"guitar": 26},
    )
)
_add(
    Genre(
        name="reggae",
        keys=(9, 2, 7, 0),
        major="major",
        minor="minor",
        a_major=("I I IV IV", "I V vi IV", "I ii I ii"),
        b_major=("vi V IV V", "IV I IV V"),
        a_minor=("i i iv iv", "i bVII i bVII"),
        b_minor=("bVI bVII i i", "iv i iv v"),
        cadence=("V", "v"),
        bass=Bass(
            33,
            ("R--.....R-3-5-..", "..R-R-5-..8-5-3-", "R-.R..5-....3-5-"),
            lowest=28,
            level_db=-1.0,
        ),
        layers=(
            Layer("skank-guitar", 27, "hits", ("..x...x...x...x.",), 3, 67, 1, -4.0),
            Layer(
                "bubble-organ", 17, "hits", ("...x...x...x...x", "..xx..xx..xx..xx"), 3, 60, 1, -9.0
            ),
        ),
        drums=Drums(
            0,
            {"kick": "........X.......", "stick": "........X.......", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "........X.......", "stick": "........X..x....", "hat": "x.xxx.xxx.xxx.xx"},
            (
                {
                    "kick": "........X.......",
                    "snare": "x.x..x..x.xx....",
                    "high-tom": "............x.x.",
                },
                {
                    "snare": "......x...xxx.x.",
                    "low-tom": "x..x..........xX",
                    "kick": "........X.......",
                },
            ),
        ),
        rhythm="syncopated",
        brightness_db=-1.0,
    )
)
_add(
    Genre(
        name="rock",
        keys=(4, 9, 2, 7),
        major="mixolydian",
        minor="minor",
        a_major=("I IV bVII IV", "I V IV IV", "I I IV V"),
        b_major=("vi IV I V", "IV IV I V"),
        a_minor=("i bVI bIII bVII", "i i bVII bVI"),
        b_minor=("bVI bVII i i", "iv bVI i bVII"),
        cadence=("V", "bVII"),
        bass=Bass(34, ("R.R.R.R.R.R.R.R.", "R.R.R.R.R.R.5.A."), lowest=28),
        layers=(
            Layer(
                "distorted-guitar",
                30,
                "hits",
                ("X.x.x.x.X.x.x.x.", "X..x..x.X..x..x."),
                3,
                50,
                2,
                -3.0,
            ),
        ),
        drums=Drums(
            16,
            {"kick": "X.....x.X.x.....", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
            {"kick": "X.x...x.X.....x.", "snare": "....X.......X...", "ride": "X.x.X.x.X.x.X.x."},
            _ROCK_FILLS,
            level_db=-6.0,
        ),
        rhythm="straight",
        brightness_db=1.0,
        lead_programs={"guitar": 29},
    )
)
_add(
    Genre(
        name="tango",
        keys=(9, 2, 4, 7),
        major="major",
        minor="minor",
        a_major=("I I V7 V7", "I VI7 ii V7"),
        b_major=("IV I V7 I", "ii V7 I VI7"),
        a_minor=("i i V7 V7", "i iv V7 i", "i bVI iim7b5 V7"),
        b_minor=("iv i V7 i", "bVI bIII iv V7"),
        cadence=("V7", "V7"),
        bass=Bass(
            32,
            ("R...5...R...5...", "R...R...5...A...", "R.....R.5...A..."),
            lowest=31,
            gate=0.6,
            level_db=-4.0,
        ),
        layers=(
            Layer(
                "bandoneon", 23, "hits", ("X...x...X...x...", "X..x..x.X..x..x."), 3, 64, 2, -3.0
            ),
            Layer("pizzicato", 45, "hits", ("x...x...x...x.xx",), 3, 55, 1, -9.0),
        ),
        drums=None,
        rhythm="dotted",
        reverb=0.3,
    )
)
_add(
    Genre(
        name="techno",
        keys=(9, 5, 7, 2),
        major="mixolydian",
        minor="phrygian",
        a_major=("I I I bVII", "I I IV IV"),
        b_major=("IV IV bVII bVII", "vi vi IV IV"),
        a_minor=("i i i i", "i i bII i", "i i bVI bVI"),
        b_minor=("bVI bVI i i", "iv iv bII bII"),
        cadence=("bVII", "bII"),
        bass=Bass(38, ("..RR..RR..RR..R8", "R.RR8.RRR.RR8.R8"), lowest=33, gate=0.6, level_db=-3.0),
        layers=(
            Layer("stab", 90, "hits", ("..x..x....x..x..", "x..x..x..x..x..."), 3, 62, 1, -4.0),
        ),
        drums=Drums(
            25,
            {
                "kick": "X...X...X...X...",
                "clap": "....x.......x...",
                "open-hat": "..x...x...x...x.",
            },
            {
                "kick": "X...X...X...X...",
                "clap": "....x.......x..x",
                "open-hat": "..x...x...x...x.",
                "hat": "xxxxxxxxxxxxxxxx",
            },
            (
                {"kick": "X...X...X.......", "snare": "........x.x.xxxx"},
                {"kick": "X...X...X...X.X.", "clap": "....x...x..x..xx"},
            ),
            level_db=-13.0,
        ),
        rhythm="repetitive",
        brightness_db=2.0,
    )
)
_add(
    Genre(
        name="waltz",
        keys=(0, 7, 2, 5),
        major="major",
        minor="minor",
        a_major=("I I V7 V7", "I vi ii V7", "I V7 V7 I"),
        b_major=("IV I ii V7", "vi iii IV V7"),
        a_minor=("i i V7 V7", "i iv V7 i"),
        b_minor=("bVI bIII iv V7", "iv i V7 i"),
        cadence=("V7", "V7"),
        bass=Bass(43, ("R---........", "R-----......"), lowest=31, level_db=-1.0),
        layers=(
            Layer("strings", 48, "hits", ("....x...x...",), 3, 64, 2, 0.0),
            Layer("horn", 60, "pad", voices=2, centre=57, level_db=-12.0),
        ),
        drums=Drums(
            48,
            {"kick": "x...........", "triangle": "....o...o..."},
            {"kick": "x...........", "triangle": "....x...x...", "snare": "....o...o..."},
            (
                {"kick": "x.......", "snare": "....x...xxxx"},
                {"kick": "x.......x...", "snare": "....x.x.x.x."},
            ),
            crash=False,
            level_db=-5.0,
        ),
        rhythm="waltz",
        beats_per_bar=3,
        reverb=0.35,
    )
)
