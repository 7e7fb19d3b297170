"""Scores as MIDI files, read back by mido."""

from __future__ import annotations

import io
from dataclasses import replace

import mido
import pytest

from studio.music.composer.arrange import compose_score
from studio.music.composer.notation.harmony import SCALES
from studio.music.composer.notation.midi import score_midi
from studio.music.composer.notation.score import Note, Part
from studio.music.composer.notation.spelling import key_fifths
from tests.support.performers import small_score


def read(content: bytes) -> mido.MidiFile:
    return mido.MidiFile(file=io.BytesIO(content), charset="utf-8")


def notes_of(track: mido.MidiTrack) -> list[tuple[int, int, int, int]]:
    """(start, length, pitch, velocity) in ticks, by start; a note left sounding is an error."""
    now, sounding, found = 0, {}, []
    for message in track:
        now += message.time
        if message.type == "note_on":
            assert message.note not in sounding
            sounding[message.note] = (now, message.velocity)
        elif message.type == "note_off":
            start, velocity = sounding.pop(message.note)
            found.append((start, now - start, message.note, velocity))
    assert not sounding
    return sorted(found)


def metas(track: mido.MidiTrack, kind: str) -> list[mido.MetaMessage]:
    return [message for message in track if message.type == kind]


def test_every_note_of_every_part_is_read_back_at_its_tick():
    score = small_score()
    file = read(score_midi(score, title="A"))
    assert file.ticks_per_beat == 480
    assert len(file.tracks) == 1 + len(score.parts)
    for part, track in zip(score.parts, file.tracks[1:], strict=True):
        wanted = sorted((n.start, n.length, n.pitch, n.velocity) for n in part.notes)
        assert notes_of(track) == wanted
    assert file.length == pytest.approx(score.duration_s, abs=0.01)


@pytest.mark.parametrize("genre", ["genre/jazz", "genre/waltz"])
def test_a_composed_score_has_programs_pans_and_drums_on_channel_ten(genre):
    score = compose_score((genre,), 3, 12)
    file = read(score_midi(score, title="A"))
    channels = []
    for part, track in zip(score.parts, file.tracks[1:], strict=True):
        (program,) = metas(track, "program_change")
        controls = {m.control: m.value for m in metas(track, "control_change")}
        assert program.program == part.program
        assert (controls[10] > 64) == (part.pan > 0.01)
        assert (program.channel == 9) == part.percussion
        assert {m.channel for m in track if m.type == "note_on"} == {program.channel}
        assert len(notes_of(track)) == len(part.notes)
        channels.append(program.channel)
    assert len(set(channels)) == len(channels)


def test_title_texts_key_metre_and_tempo_are_told():
    score = replace(small_score(), tonic=2, mode="dorian", bpm=96.5)
    file = read(score_midi(score, title="Añoranza", texts=("Output 01", "Credit: Zoë")))
    conductor = file.tracks[0]
    assert metas(conductor, "track_name")[0].name == "Añoranza"
    texts = [message.text for message in metas(conductor, "text")]
    assert texts[:2] == ["Output 01", "Credit: Zoë"]
    assert "Chord C" in texts
    assert [m.text for m in metas(conductor, "marker")] == ["verse"]
    assert metas(conductor, "key_signature")[0].key == "Am"  # D dorian: no accidentals
    (metre,) = metas(conductor, "time_signature")
    assert (metre.numerator, metre.denominator) == (4, 4)
    assert mido.tempo2bpm(metas(conductor, "set_tempo")[0].tempo) == pytest.approx(96.5, abs=1e-3)


def test_a_compound_metre_keeps_its_beat_of_a_dotted_quarter_note():
    score = replace(small_score(), metre="6/8", bpm=80.0)
    file = read(score_midi(score, title="A"))
    (metre,) = metas(file.tracks[0], "time_signature")
    assert (metre.numerator, metre.denominator) == (6, 8)
    (tempo,) = metas(file.tracks[0], "set_tempo")
    second = mido.tick2second(480, file.ticks_per_beat, tempo.tempo)
    assert second == pytest.approx(60 / 80, abs=1e-5)


def test_a_key_struck_again_ends_its_note_before():
    part = Part("lead", "lead", 0, 0.0, 0.0, (Note(0, 900, 60, 80), Note(480, 240, 60, 90)))
    file = read(score_midi(replace(small_score(), parts=(part,)), title="A"))
    assert notes_of(file.tracks[1]) == [(0, 480, 60, 80), (480, 240, 60, 90)]


def test_more_parts_than_channels_go_to_another_port():
    part = small_score().parts[0]
    file = read(score_midi(replace(small_score(), parts=(part,) * 17), title="A"))
    places = [
        (metas(track, "midi_port")[0].port, metas(track, "program_change")[0].channel)
        for track in file.tracks[1:]
    ]
    assert len(set(places)) == 17
    assert all(channel != 9 for _, channel in places)


def test_every_key_can_be_written():
    for mode in SCALES:
        for tonic in range(12):
            assert -7 <= key_fifths(tonic, mode)[0] <= 7
            score_midi(replace(small_score(), tonic=tonic, mode=mode), title="A")
