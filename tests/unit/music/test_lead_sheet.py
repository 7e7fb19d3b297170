"""Lead sheets: what composer and model agree on, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from studio.core.errors import ConfigError
from studio.music.composer import GENRES, MOODS, TEMPI, LeadSheet, compose, write_lead_sheet
from studio.music.composer.lead_sheet import CLOCK_SIZES, END, PITCHES, SheetChord, lead_sheet_of

SHEET = LeadSheet.parse("A-minor:28:4x4:intro=Am7|Dm7:A=Am7|Dm7-E7|Fmaj7|Am7")


@pytest.mark.parametrize("genre", sorted(GENRES))
def test_every_piece_has_a_lead_sheet_that_says_what_it_plays(genre: str):
    for number, (mood, tempo) in enumerate((m, t) for m in MOODS for t in TEMPI):
        piece = compose(seed=number, genre=genre, mood=mood, lead="piano", tempo=tempo)
        sheet = lead_sheet_of(piece)
        assert LeadSheet.parse(sheet.text) == sheet
        assert " " not in sheet.text
        assert "," not in sheet.text  # tags are parted by both
        frames = sheet.frames(0, piece.frames)
        assert (frames.clock >= 0).all()
        assert (frames.clock < CLOCK_SIZES).all()
        for chord in piece.chords:
            here = frames.pitches[chord.start : chord.start + chord.length]
            assert set(np.flatnonzero(here[0, :12])) == set(chord.tones)
            assert (here == here[0]).all()
            assert np.flatnonzero(here[0, 12:24]).tolist() == [chord.root]
        tick = frames.clock[:, 0] % 16
        assert tick.max() == piece.beats_per_bar * piece.ticks_per_beat - 1
        assert (
            np.flatnonzero((tick == 0) & (frames.clock[:, 1] == 0)) % piece.bar_frames == 0
        ).all()


def test_frames_tell_bar_section_next_chord_and_the_end():
    bar = SHEET.bar_frames
    frames = SHEET.frames(0, SHEET.bars * bar)
    assert frames.clock[::bar, 3].tolist() == [0, 1, 0, 1, 2, 3]
    assert frames.clock[::bar, 4].tolist() == [0, 0, 1, 1, 1, END]
    assert (frames.clock[:, 2] == 7).all()
    half = 3 * bar + bar // 2  # Dm7 gives way to E7 in the middle of the fourth bar
    roots = frames.pitches[:, 12:24].argmax(1)
    assert (roots[half - 1], roots[half]) == (2, 4)
    assert frames.pitches[half - 1, 24:36].argmax() == 4
    scale = np.flatnonzero(frames.pitches[0, 36:PITCHES])
    assert scale.tolist() == [0, 2, 4, 5, 7, 9, 11]  # A minor


def test_a_window_is_a_part_of_the_whole_and_a_piece_goes_on_after_its_introduction():
    whole = SHEET.frames(0, 2000)
    part = SHEET.frames(300, 400)
    assert np.array_equal(part.clock, whole.clock[300:700])
    assert np.array_equal(part.pitches, whole.pitches[300:700])
    total, intro = SHEET.bars * SHEET.bar_frames, 2 * SHEET.bar_frames
    assert np.array_equal(whole.clock[total : total + 50], whole.clock[intro : intro + 50])


def test_what_tags_say_is_on_the_sheet_and_the_rest_is_drawn_by_the_seed():
    waltz = write_lead_sheet(4, ["genre/waltz", "tempo/slow", "lead/violin"])
    assert waltz.beats_per_bar == 3
    assert waltz.bpm < 70
    assert waltz == write_lead_sheet(4, ["tempo/slow", "genre/waltz"])
    assert len({write_lead_sheet(seed, ["genre/waltz"]).text for seed in range(12)}) > 6
    assert len({write_lead_sheet(seed, []).beats_per_bar for seed in range(40)}) == 2
    # A tag the composer has no rules for (of another model) changes nothing.
    assert write_lead_sheet(4, ["genre/choral"]) == write_lead_sheet(4, [])


@pytest.mark.parametrize(
    "text",
    [
        "", "A-minor", "H-minor:28:4x4:A=Am", "A-minor:28:5x4:A=Am", "A-minor:27:4x4:A=Am",
        "A-minor:28:4x4", "A-minor:28:4x4:C=Am", "A-minor:28:4x4:A=Am|", "A-minor:28:4x4:A=Xm",
        "A-minor:28:4x4:A=Am-Dm-Em", "A-odd:28:4x4:A=Am", "A-minor:9999:4x4:A=Am",
        "A-minor:28:4x4:A=" + "|".join(["Am"] * 13), "A-minor:x:4x4:A=Am",
    ],
)  # fmt: skip
def test_what_is_no_lead_sheet_is_refused(text: str):
    with pytest.raises(ConfigError):
        LeadSheet.parse(text)


def test_a_chord_is_named_by_its_tones():
    for name in ("Am7", "Db", "Gmaj9", "Bdim7", "Ebsus4", "F5"):
        chord = SheetChord.parse(name)
        assert SheetChord.of_tones(chord.tones) == chord
