"""A score as a standard MIDI file (type 1).

The first track holds title, texts, key, metre, tempo, the sections as markers and the chords as
texts. One track for each part follows, with its program, pan and volume; drums are on channel 10.
Times are exact: a tick of the file is a tick of the score.

>>> from studio.music.composer.notation.score import Mix, Note, Part, Score
>>> score = Score(
...     tags=("genre/waltz",), seed=1, genre="waltz", mood="calm", lead="flute", tempo="medium",
...     tonic=0, mode="major", bpm=96.5, metre="3/4", duration_s=4.0, sections=(), chords=(),
...     parts=(Part("lead", "lead", 73, 0.0, 0.0, (Note(0, 480, 72, 90),)),), mix=Mix(0.0, 0.2))
>>> score_midi(score, title="Calm waltz")[:4]
b'MThd'
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import mido

from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Part, Score
from studio.music.composer.notation.spelling import key_fifths

__all__ = ["score_midi"]

_DRUMS = 9  # channel 10, counted from 1
_MELODIC = tuple(channel for channel in range(16) if channel != _DRUMS)
_PAN, _VOLUME = 10, 7
_LEAD_VOLUME = 90  # of a part at 0 dB, so that louder ones have room

_MAJOR = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR = ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")


def score_midi(score: Score, *, title: str, texts: Sequence[str] = ()) -> bytes:
    """The MIDI file of a score. ``texts`` are text events at its beginning.

    Text is UTF-8. Metres whose beat is a dotted quarter note keep that beat: the file counts 320
    ticks to a quarter note then, otherwise 480.
    """
    compound = METRES[score.metre].compound
    quarter = TICKS_PER_BEAT * 2 // 3 if compound else TICKS_PER_BEAT
    file = mido.MidiFile(type=1, ticks_per_beat=quarter, charset="utf-8")
    end = round(score.ticks(score.duration_s))
    file.tracks.append(_conductor(score, title, texts, quarter, end))
    melodic = 0
    for part in score.parts:
        port, channel = 0, _DRUMS
        if not part.percussion:
            port, place = divmod(melodic, len(_MELODIC))
            channel, melodic = _MELODIC[place], melodic + 1
        file.tracks.append(_track(part, port, channel, end))
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def _conductor(
    score: Score, title: str, texts: Sequence[str], quarter: int, end: int
) -> mido.MidiTrack:
    metre = METRES[score.metre]
    numerator, denominator = (int(number) for number in score.metre.split("/"))
    tempo = round(60e6 / score.bpm * quarter / TICKS_PER_BEAT)  # microseconds to a quarter note
    fifths, minor = key_fifths(score.tonic, score.mode)
    key = f"{_MINOR[fifths + 7]}m" if minor else _MAJOR[fifths + 7]
    events: list[tuple[int, Any]] = [
        (0, mido.MetaMessage("track_name", name=title)),
        *((0, mido.MetaMessage("text", text=text)) for text in texts),
        (0, mido.MetaMessage("key_signature", key=key)),
        (
            0,
            mido.MetaMessage(
                "time_signature",
                numerator=numerator,
                denominator=denominator,
                clocks_per_click=36 if metre.compound else 24,
            ),
        ),
        (0, mido.MetaMessage("set_tempo", tempo=tempo)),
        *(
            (section.first_bar * score.bar_ticks, mido.MetaMessage("marker", text=section.name))
            for section in score.sections
        ),
        *(
            (chord.start, mido.MetaMessage("text", text=f"Chord {chord.symbol}"))
            for chord in score.chords
        ),
    ]
    return _timed(events, end)


def _track(part: Part, port: int, channel: int, end: int) -> mido.MidiTrack:
    volume = round(_LEAD_VOLUME * 10 ** (part.level_db / 40))  # General MIDI: 40 log10 decibels
    pan = min(127, max(0, round(64 + 63 * part.pan)))
    events: list[tuple[int, Any]] = [
        (0, mido.MetaMessage("track_name", name=f"{part.role} ({part.stem})")),
        (0, mido.MetaMessage("midi_port", port=port)),
        (0, mido.Message("program_change", channel=channel, program=part.program)),
        (0, _control(channel, _VOLUME, min(127, max(1, volume)))),
        (0, _control(channel, _PAN, pan)),
    ]
    # A key struck again ends its own note before.
    ends: dict[int, int] = {}  # index in `offs` of the last note of each pitch
    offs: list[tuple[int, int]] = []  # tick, pitch
    ons: list[tuple[int, Any]] = []
    for note in sorted(part.notes, key=lambda note: note.start):
        last = ends.get(note.pitch)
        if last is not None and offs[last][0] > note.start:
            offs[last] = (note.start, note.pitch)
        ends[note.pitch] = len(offs)
        offs.append((min(note.end, end), note.pitch))
        ons.append(
            (note.start, mido.Message("note_on", channel=channel, note=note.pitch,
                                      velocity=note.velocity))
        )  # fmt: skip
    events += [(at, mido.Message("note_off", channel=channel, note=pitch)) for at, pitch in offs]
    return _timed([*events, *ons], end)


def _control(channel: int, control: int, value: int) -> mido.Message:
    return mido.Message("control_change", channel=channel, control=control, value=value)


def _timed(events: Sequence[tuple[int, Any]], end: int) -> mido.MidiTrack:
    """A track of events at ticks; at the same tick in the order given, so offs come before ons."""
    track, now = mido.MidiTrack(), 0
    for at, event in sorted(events, key=lambda pair: pair[0]):
        track.append(event.copy(time=at - now))
        now = at
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track
