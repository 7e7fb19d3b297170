"""Genres of swing and blues; see :mod:`studio.music.composer.styles.idiom`."""

from __future__ import annotations

from studio.music.composer.styles.idiom import Bass, Drums, Harmony, Layer, Style

__all__ = ["STYLES"]

_BLUES_HAT = "x.xx.xx.xx.x"

STYLES = (
    Style(
        name="blues",
        keys=(4, 9, 7, 2, 0),
        home=(72, 120),
        metre="12/8",
        major=Harmony(
            "blues-major",
            "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7; I7 I7 I7 I7 IV7 IV7 I7 VI7 ii7 V7 I7 V7;"
            "I7 IV7 I7 V7; I7 I7 IV7 V7",
            "I7 IV7 I7 I7 IV7 IV7 I7 I7 V9 IV9 I7 V7; I9 IV9 I9 I9 IV9 IV9 I9 VI7 II9 V9 I9 V9;"
            "I7 IV7 I7-VI7 ii7-V7; IV7 I7 V7 I7",
            "IV7 IV7 I7 I7 II7 II7 V7 V7; IV9 I7 II7 V7",
            "V7",
            "7",
        ),
        minor=Harmony(
            "blues-minor",
            "i7 iv7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7; i7 i7 i7 i7 iv7 iv7 i7 i7 V7 iv7 i7 V7;"
            "i7 iv7 i7 V7; i7 i7 bVI7 V7",
            "i7 i7 i7 i7 iv9 iv9 i7 i7 bVI7 V7 i7 i7; i7 iv7 i7 i7 iv7 iv7 i7 i7 V7 bVI7 i7 V7;"
            "iv7 i7 bVI7-V7 i7",
            "iv7 iv7 i7 i7 bVI7 bVI7 V7 V7; iv7 i7 bVI7 V7",
            "V7",
            "7",
        ),
        bass=Bass(
            33,
            (
                "R..3..5..7..",
                "R.R3.35.57.5",
                "R..8..7..5..",
                "R-.R-.5-.7-.",
                "R..5..6..5..|R..8..7..A..",
            ),
        ),
        layers=(
            Layer(
                "shuffle-guitar",
                27,
                "hits",
                ("x.ox.ox.ox.o", "x.xx.xx.xx.x", "...x-.....x-", "X-....x.x..."),
                3,
                54,
                1,
                -6.0,
                -0.4,
            ),
            Layer("blues-organ", 18, "pad", voices=3, centre=64, level_db=-11.0, pan=0.4, enter=3),
        ),
        drums=Drums(
            0,
            (
                {"hat": _BLUES_HAT, "kick": "X.....X....x", "snare": "...X.....X.."},
                {"ride": _BLUES_HAT, "kick": "X....xX.....", "snare": "...X.o...X.o"},
                {"hat": "x..x..x..x..", "kick": "X..x..X..x.x", "snare": "...X.....X.."},
                {"ride": "x.xx.xx.xx.x", "kick": "X.x...X.x...", "stick": "...X.....X.."},
            ),
            "triplet",
        ),
        rhythm="triplet",
        bars=12,
        lead_programs={"guitar": 29},
    ),
    Style(
        name="gospel",
        keys=(8, 3, 5, 1, 0),
        home=(58, 84),
        metre="12/8",
        major=Harmony(
            "major",
            "I IV I V7; I-I7 IV-iv I-vi ii7-V7; I-iii7 vi7 ii7 V7sus4-V7; I IV-bVII I-vi7 ii7-V7",
            "IV V iii7-VI7 ii7-V7; I-I7 IV-#ivdim7 I-VI7 ii7-V7; IV-V I-vi ii7-V7 I;"
            "IVmaj7 iii7-VI7 ii9 V13",
            "vi7 III7 vi7 II7; IV iv I VI7; bVI bVII I I7",
            "V13",
            "69",
        ),
        minor=Harmony(
            "minor",
            "i iv i V7; i-i7 iv7 bVI-V7 i; i bVII bVI V7; i-bVI iv-V7 i iv-V7",
            "iv7 bVII bIII-bVI iim7b5-V7; bVI bVII i i7; iv-V7 i-bVI iim7b5-V7 i",
            "bVI bIII iv V7; iv i II7 V7",
            "V7",
            "9",
        ),
        bass=Bass(
            33, ("R-.R-.5-.A-.", "R----.5-.6-5", "R-.R.35-.5.6", "R--8-.5--A--"), level_db=-3.0
        ),
        layers=(
            Layer(
                "gospel-piano",
                1,
                "hits",
                ("x-.x.xx-.x.x", "X--x--X--x-x", "x-xx-xx-xx-x"),
                4,
                62,
                2,
                -5.0,
                -0.25,
            ),
            Layer("gospel-organ", 16, "pad", voices=4, centre=66, level_db=-9.0, pan=0.35),
            Layer("gospel-choir", 52, "pad", voices=3, centre=69, level_db=-6.0, enter=3),
        ),
        drums=Drums(
            0,
            (
                {"hat": "x.xx.xx.xx.x", "kick": "X....xX.....", "snare": "...X.....X.."},
                {
                    "ride": "x.xx.xx.xx.x",
                    "kick": "X.....X.x...",
                    "snare": "...X.....X.o",
                    "tambourine": "...x.....x..",
                },
                {
                    "hat": "xxxxxxxxxxxx",
                    "kick": "X.....X....x",
                    "snare": "...X.....X..",
                    "clap": "...x.....x..",
                },
            ),
            "triplet",
        ),
        rhythm="triplet",
        reverb=0.3,
        bands={"medium": (86, 104), "fast": (126, 144)},
    ),
    Style(
        name="jazz",
        keys=(10, 5, 3, 0, 8),
        home=(110, 176),
        feel="swing",
        major=Harmony(
            "major",
            "Imaj7-VI7 ii7-V7 Imaj7-vi7 ii7-V7; Imaj7 VI7 ii7 V7; Imaj7 vi7 ii9 V13;"
            "Imaj7-#idim7 ii7-#iidim7 iii7-VI7 ii7-V7; Imaj7 iv7-bVII7 Imaj7 ii7-V7",
            "ii7 V7 Imaj7 VI7; ii9 V13 iii7 VI7; IVmaj7 iv7-bVII7 iii7-VI7 ii7-V7;"
            "Imaj7-I7 IVmaj7-iv7 iii7-VI7 ii7-V7",
            "III7 III7 VI7 VI7 II7 II7 V7 V7; IVmaj7 iv7 iii7 bIII7; v7 I7 IVmaj7 iv7-bVII7",
            "V13",
            "69",
        ),
        minor=Harmony(
            "dorian",
            "i6 iim7b5-V7 i6 iim7b5-V7; i7 bVImaj7 iim7b5 V7; i6-i7 bVI7-V7 i6 iim7b5-V7;"
            "i9 iv9 i9 V7#9",
            "iv7 bVII7 bIIImaj7 V7; iv7-bVII7 bIIImaj7-bVImaj7 iim7b5-V7 i6; bVI7 V7 i6 i7",
            "iv7 iv7 i7 i7 bVI7 bVI7 V7 V7; iv7 i7 iim7b5 V7; bVImaj7 iv7 bII7 V7",
            "V7#9",
            "6",
        ),
        bass=Bass(32, walk=True, lowest=31, level_db=-3.0),
        layers=(
            Layer(
                "comping-piano",
                0,
                "hits",
                (
                    "x.....x.........",
                    "......x.....x...",
                    "x-....x...x.....",
                    "..x.....x-....x.",
                    "....x-....x.....|x.....x.....x-..",
                ),
                4,
                61,
                2,
                -7.0,
                -0.35,
            ),
            Layer("horn-section", 66, "counter", centre=59, level_db=-8.0, pan=0.35, enter=3),
        ),
        drums=Drums(
            32,
            (
                {
                    "ride": "X...x.x.X...x.x.",
                    "pedal-hat": "....x.......x...",
                    "kick": "o...o...o...o...",
                },
                {
                    "ride": "X...x.x.X...x.x.",
                    "pedal-hat": "....x.......x...",
                    "snare": "......o.......o.",
                },
                {
                    "ride": "X.x.x.x.X...x.x.",
                    "pedal-hat": "....x.......x...",
                    "snare": "..o.......o.....",
                },
                {
                    "hat": "....X.......X...",
                    "snare": "o.ooo.ooo.ooo.oo",
                    "kick": "x.......x.......",
                },
            ),
            "swing",
            level_db=-6.0,
        ),
        rhythm="swing",
        loose=9,
        bands={"fast": (126, 176)},
        lead_programs={"guitar": 26, "saxophone": 66},
    ),
)
