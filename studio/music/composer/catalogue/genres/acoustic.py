"""The genres of acoustic ensembles; see :mod:`studio.music.composer.catalogue.genres.idiom`."""

from __future__ import annotations

from studio.music.composer.catalogue.genres.idiom import Bass, Drums, Genre, Layer

__all__ = ["ACOUSTIC"]

_SWING_BEATS = {"slow": (51, 45), "medium": (33, 30), "fast": (24, 21)}
_LIGHT_FILLS = (
    {"stick": "....x.......x.xx", "low-tom": "..........x....."},
    {"stick": "....x.....x.x.x.", "low-tom": "..............xx"},
)
_SWING_FILLS = (
    {"ride": "x..x........", "snare": "......x.xx.X", "kick": "x..........x"},
    {"ride": "x..x........", "snare": "......xxx...", "low-tom": ".........xxX"},
)

ACOUSTIC = (
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
    ),
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
    ),
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
    ),
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
    ),
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
    ),
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
    ),
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
    ),
)
