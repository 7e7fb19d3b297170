"""Bass, chords, colours and drums: the parts that carry harmony and groove."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from studio.music.composer.catalogue.genres.idiom import Bass, Groove, Layer
from studio.music.composer.notation.composition import Chord, Note
from studio.music.composer.notation.harmony import (
    approach,
    interval,
    leading_semitone,
    nearest_within,
)
from studio.music.composer.styles.idiom import DRUM_KEYS

__all__ = ["Grid", "arpeggio", "bass_line", "counter_line", "drum_bar", "hits", "pad"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The regular steps of a piece: frames a tick, ticks a beat, ticks a bar."""

    tick_frames: int
    ticks_per_beat: int
    ticks_per_bar: int

    @property
    def bar_frames(self) -> int:
        return self.tick_frames * self.ticks_per_bar


def _chord_at(chords: Sequence[Chord], frame: int) -> Chord:
    return next(chord for chord in reversed(chords) if chord.start <= frame)


def _velocity(base: float, level: float, random_: random.Random, spread: int = 4) -> int:
    return max(12, min(127, round(base * level) + random_.randint(-spread, spread)))


def _held_until(pattern: str, tick: int) -> int:
    """The first tick after a stroke and the dashes that hold it."""
    stop = tick + 1
    while stop < len(pattern) and pattern[stop] == "-":
        stop += 1
    return stop


def hits(
    layer: Layer,
    pattern: str,
    chords: Sequence[Chord],
    voicings: dict[int, tuple[int, ...]],
    grid: Grid,
    gate: float,
    level: float,
    random_: random.Random,
) -> list[Note]:
    """One bar of struck chords. ``voicings`` maps a chord's start to its pitches."""
    notes = []
    base = {"X": 100, "x": 84, "o": 56}
    for tick, mark in enumerate(pattern):
        if mark not in base:
            continue
        frame = chords[0].start + tick * grid.tick_frames
        chord = _chord_at(chords, frame)
        length = max(2, round(layer.gate * grid.tick_frames * min(1.3, gate)))
        length = min(length, chord.start + chord.length - frame)
        velocity = _velocity(base[mark], level, random_)
        notes += [Note(frame, length, p, velocity) for p in voicings[chord.start]]
    return notes


def arpeggio(
    pattern: str,
    chords: Sequence[Chord],
    voicings: dict[int, tuple[int, ...]],
    grid: Grid,
    level: float,
    random_: random.Random,
) -> list[Note]:
    """One bar of broken chords; each digit of the pattern is a voice counted from below."""
    notes = []
    for tick, mark in enumerate(pattern):
        if not mark.isdigit():
            continue
        frame = chords[0].start + tick * grid.tick_frames
        chord = _chord_at(chords, frame)
        pitches = voicings[chord.start]
        octave, index = divmod(int(mark), len(pitches))
        stop = _held_until(pattern, tick)
        length = max(2, (stop - tick) * grid.tick_frames)
        base = 90 if tick % grid.ticks_per_beat == 0 else 78
        notes.append(
            Note(frame, length, pitches[index] + 12 * octave, _velocity(base, level, random_))
        )
    return notes


def pad(
    chords: Sequence[Chord],
    voicings: dict[int, tuple[int, ...]],
    level: float,
    random_: random.Random,
) -> list[Note]:
    """Sustained chords, one for each change of harmony."""
    notes = []
    for chord in chords:
        velocity = _velocity(76, level, random_, 2)
        notes += [Note(chord.start, chord.length, p, velocity) for p in voicings[chord.start]]
    return notes


def counter_line(
    lead: Sequence[Note],
    chords: Sequence[Chord],
    centre: int,
    grid: Grid,
    level: float,
    random_: random.Random,
) -> list[Note]:
    """A second voice in quarter notes below the lead: chord tones in contrary motion.

    Parallel fifths and octaves with the lead are avoided where another chord tone is near.
    """
    beat = grid.tick_frames * grid.ticks_per_beat
    notes: list[Note] = []
    previous, above_before = centre, None
    start, end = chords[0].start, chords[-1].start + chords[-1].length
    for frame in range(start, end, beat):
        chord = _chord_at(chords, frame)
        above = next((n.pitch for n in reversed(lead) if n.start <= frame < n.end + beat), None)
        options = [p for p in range(centre - 9, centre + 10) if p % 12 in chord.tones]

        pitch = min(
            options, key=lambda p: (_counter_cost(p, centre, previous, above, above_before), p)
        )
        notes.append(Note(frame, max(2, beat - 2), pitch, _velocity(80, level, random_)))
        previous, above_before = pitch, above
    return notes


def _counter_cost(
    pitch: int, centre: int, previous: int, above: int | None, above_before: int | None
) -> float:
    move = pitch - previous
    cost = abs(move) + (2.0 if move == 0 else 0.0) + 0.2 * abs(pitch - centre)
    if above is None or above_before is None:
        return cost
    if (above - above_before) * move > 0:
        cost += 3.0
    interval = (above - pitch) % 12
    if move != 0 and interval in (0, 7) and (above_before - previous) % 12 == interval:
        cost += 6.0  # parallel fifths or octaves
    return cost


def bass_line(
    bass: Bass,
    pattern: str,
    chords: Sequence[Chord],
    following: Chord | None,
    grid: Grid,
    gate: float,
    level: float,
    random_: random.Random,
    previous: int,
) -> list[Note]:
    """One bar of bass. ``previous`` is the pitch before; roots are taken in the nearest octave."""
    if bass.walk:
        return _walk(bass, chords, following, grid, level, random_, previous)
    notes: list[Note] = []
    for tick, mark in enumerate(pattern):
        if mark in "-.":
            continue
        frame = chords[0].start + tick * grid.tick_frames
        chord = _chord_at(chords, frame)
        root = bass.lowest + (chord.root - bass.lowest) % 12
        stop = _held_until(pattern, tick)
        full = (stop - tick) * grid.tick_frames
        length = max(2, round(full * (bass.gate * min(1.1, gate) if stop == tick + 1 else 1.0)))
        length = min(length, chord.start + chord.length - frame)
        pitch = _bass_pitch(mark, root, chord, following)
        base = 98 if tick % grid.ticks_per_beat == 0 else 88
        notes.append(Note(frame, length, pitch, _velocity(base, level, random_)))
    return notes


def _bass_pitch(mark: str, root: int, chord: Chord, following: Chord | None) -> int:
    if mark == "R":
        return root
    if mark == "8":
        return root + 12
    if mark == "3":
        return root + interval(chord.tones, (3, 4), 7)
    if mark == "5":
        return root + interval(chord.tones, (6, 7), 7)
    if mark == "7":
        return root + interval(chord.tones, (9, 10, 11), 9)
    target = chord if following is None else following
    return approach(root, target.root, target.scale)


def _walk(
    bass: Bass,
    chords: Sequence[Chord],
    following: Chord | None,
    grid: Grid,
    level: float,
    random_: random.Random,
    previous: int,
) -> list[Note]:
    """Quarter notes: the root on a change, chord tones after it, a semitone into the next root."""
    beat = grid.tick_frames * grid.ticks_per_beat
    notes = []
    start = chords[0].start
    beats = grid.ticks_per_bar // grid.ticks_per_beat
    for index in range(beats):
        frame = start + index * beat
        chord = _chord_at(chords, frame)
        later = next((c for c in chords if c.start > frame), following)
        changes = later is not None and later.start == frame + beat
        low, high = bass.lowest, bass.lowest + 19
        if chord.start == frame:
            pitch = nearest_within(previous, chord.root, low, high)
        elif changes and later is not None:
            goal = nearest_within(previous, later.root, low, high)
            pitch = leading_semitone(goal, previous, low)
        else:
            options = [p for p in range(low, high) if p % 12 in chord.tones and p != previous]
            options.sort(key=lambda p: (abs(p - previous), p))
            pitch = random_.choice(options[:2])
        notes.append(Note(frame, beat - 1, pitch, _velocity(92, level, random_)))
        previous = pitch
    return notes


def drum_bar(
    groove: Groove, start: int, grid: Grid, level: float, random_: random.Random, lag: int = 0
) -> list[Note]:
    """One bar of a groove. ``lag`` delays snare and clap by whole frames, for a lazy beat."""
    base = {"X": 112, "x": 92, "o": 52}
    notes = []
    for name, pattern in groove.items():
        for tick, mark in enumerate(pattern):
            if mark in base:
                late = lag if name in ("snare", "clap") else 0
                frame = start + tick * grid.tick_frames + late
                velocity = _velocity(base[mark], level, random_, 5)
                notes.append(Note(frame, max(2, grid.tick_frames - 1), DRUM_KEYS[name], velocity))
    return notes
