"""The lead sheet as text: read, refused with the bar named, written and read again."""

from __future__ import annotations

import pytest

from studio.core.errors import ConfigError
from studio.music.composer.arrange import compose_score
from studio.music.composer.notation.sheet import MAX_SHEET_CHARACTERS, read_sheet, sheet_of
from studio.music.composer.planning.plan import plan_piece
from studio.music.composer.planning.transpose import transposed
from studio.music.composer.styles import STYLES


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_what_the_composer_wrote_is_read_back_and_gives_the_same_piece(genre):
    tags = [f"genre/{genre}"]
    score = compose_score(tags, 5, 30)
    again = compose_score(tags, 5, 30, read_sheet(sheet_of(score)))
    assert (again.bpm, again.metre, again.tonic, again.mode) == (
        score.bpm, score.metre, score.tonic, score.mode,
    )  # fmt: skip
    assert again.sections == score.sections
    beats = range(0, score.chords[-1].start, 480)
    assert [again.chord_at(t).symbol for t in beats] == [score.chord_at(t).symbol for t in beats]


def test_fixed_things_are_in_the_score_and_the_rest_is_composed():
    sheet = read_sheet(
        "key: F# minor\ntempo: 96\nmetre: 6/8\nform: verse 4, ending 2\n"
        "chords verse: F#m | D A | Bm7 | C#7"
    )
    score = compose_score(["genre/folk"], 3, None, sheet)
    assert (score.tonic, score.mode, score.bpm, score.metre) == (6, "minor", 96.0, "6/8")
    assert [section.name for section in score.sections] == ["verse", "ending"]
    heard = [score.chord_at(bar * score.bar_ticks).symbol for bar in range(4)]
    assert heard == ["F#m", "D", "Bm7", "C#7"]
    assert score.stem("bass") and score.stem("lead")


def test_a_typed_melody_is_played_note_by_note():
    sheet = read_sheet("melody: C#5 - B4 - | A4 - - - | F#4 . . . | A4 B4 C#5 -")
    score = compose_score(["genre/rock", "lead/flute"], 3, 20, sheet)
    chorus = next(section for section in score.sections if section.kind == "chorus")
    first = chorus.first_bar * score.bar_ticks
    played = [
        (note.start - first, note.pitch % 12)
        for note in score.part("lead").notes
        if first <= note.start < first + 4 * score.bar_ticks
    ]
    assert [pitch for _, pitch in played] == [1, 11, 9, 6, 9, 11, 1]
    wanted = [0, 960, 1920, 3840, 5760, 6240, 6720]
    assert all(abs(start - place) < 60 for (start, _), place in zip(played, wanted, strict=True))


def test_notes_are_held_over_bar_lines_and_repeated_bars_are_copied():
    fixed = read_sheet("melody chorus: C5 D5 | - E5 | % ; chords: Am - F | %")
    bars = fixed.melody_of("chorus2")
    assert [(n.slot, n.length) for n in bars[0]] == [(0, 1), (1, 2)]
    assert bars[1] == bars[2]
    assert fixed.chords_of("verse")[0] == fixed.chords_of("verse")[1]
    assert [chord.slot for chord in fixed.chords_of("bridge")[0]] == [0, 2]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("chords verse: C | H7", "line 1, bar 2: 'H7' is no chord"),
        ("key: C\ntempo: fast", "line 2: a tempo is a number"),
        ("tempo: 400", "outside 50 to 200"),
        ("tempo: nan", "a tempo is a number"),
        ("metre: 7/8", "is not a metre"),
        ("key: X minor", "is no note name"),
        ("key: C sad", "is not a mode"),
        ("feel: rubato", "is not a feel"),
        ("form: verse 4, solo 8", "'solo' is not a section"),
        ("form: verse -4", "no part of a form"),
        ("form: verse 999", "at most 200 bars"),
        ("chords solo: C", "'solo' is not a section"),
        ("melody: - C4", "none sounds here"),
        ("melody: C4 D4 | - - -", "bar 2: a note of a bar with 2 entries"),
        ("melody: C4 | H4", "bar 2: 'H4' is no note"),
        ("melody: C9", "outside A0 to C8"),
        ("melody: C4 | | D4", "bar 2: it is empty"),
        ("melody: " + "C4 " * 25, "at most 24"),
        ("chords: " + "C | " * 300 + "C", "at most 200"),
        ("chords: - C", "begins with a chord"),
        ("lyrics: la la", "'lyrics' is not known"),
        ("Yesterday", "a name and a colon"),
        ("tempo: 90; tempo: 91", "tempo is given twice"),
        ("chords: C\nchords: D", "chords is given twice"),
        ("x" * (MAX_SHEET_CHARACTERS + 1), "at most 8000 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, complaint):
    with pytest.raises(ConfigError) as refused:
        read_sheet(text)
    assert complaint in str(refused.value)
    assert len(str(refused.value)) < 300


def test_octaves_go_with_the_letter():
    bar = read_sheet("melody: B#4 C5 Cb5 B4").melody_of("verse")[0]
    assert [note.pitch for note in bar] == [72, 72, 71, 71]


def test_an_empty_text_fixes_nothing():
    assert read_sheet("").empty
    assert read_sheet("\n ; \n").empty


def notes_of(score, bar):
    lead = next(part for part in score.stem("lead") if part.role == "lead")
    first = bar * score.bar_ticks
    return [note.pitch for note in lead.notes if first <= note.start < first + score.bar_ticks]


def test_an_open_bar_is_the_composers():
    text = (
        "key: F# minor\ntempo: 96\nform: verse 4, ending 2\n"
        "chords verse: F#m | ? | Bm7 | C#7\nmelody verse: C#5 - B4 A4 | ? | A4 - F#4 - | ?"
    )
    score = compose_score(["genre/folk"], 3, None, read_sheet(text))
    assert [score.chord_at(bar * score.bar_ticks).symbol for bar in (0, 2, 3)] == [
        "F#m", "Bm7", "C#7",
    ]  # fmt: skip
    assert notes_of(score, 0) == [73, 71, 69] and notes_of(score, 2) == [69, 66]
    assert notes_of(score, 1), "the composer sings where the artist left room"
    silent = text.replace("| ? | A4", "| . | A4")
    closed = compose_score(["genre/folk"], 3, None, read_sheet(silent))
    assert notes_of(closed, 1) == [], "a rest is a rest"


def test_a_bar_is_as_long_as_its_metre_already_when_it_is_planned():
    with pytest.raises(ConfigError, match="verse, bar 2: 7 places for notes do not fit"):
        plan_piece(["genre/folk"], 1, 20, read_sheet("melody verse: C4 | C4 D4 E4 F4 G4 A4 B4"))


@pytest.mark.parametrize("steps", [-5, -1, 1, 4, 11])
def test_a_sheet_moves_to_another_key_and_back(steps):
    text = (
        "key: F# minor\ntempo: 96\nform: verse 4, ending 2\nchords verse: F#m | D A/C# | ? | C#7\n"
        "melody verse: C#5 - B#4 A4 | F#4 . . | ? | %"
    )
    moved = transposed(text, steps)
    there, here = read_sheet(moved), read_sheet(text)
    assert there.tonic == (here.tonic + steps) % 12 and there.bpm == here.bpm
    pitches = [[note.pitch for note in bar or ()] for bar in here.melody_of("verse")]
    assert [
        [note.pitch - steps for note in bar or ()] for bar in there.melody_of("verse")
    ] == pitches
    assert read_sheet(transposed(moved, -steps)) == here


def test_keys_are_spelled_as_musicians_do():
    assert transposed("key: F minor", 1) == "key: F# minor"
    assert transposed("key: A; chords: A | F#m", 1).endswith("chords: Bb | Gm")


def test_notes_that_leave_the_piano_are_refused():
    with pytest.raises(ConfigError, match="bar 1"):
        transposed("melody: C8", 1)
