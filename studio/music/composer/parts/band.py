"""Bass lines, accompaniment and counter-melodies, a bar or a section at a time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

from studio.music.composer.notation.harmony import (
    approach,
    interval,
    leading_semitone,
    nearest,
    nearest_within,
    voice,
)
from studio.music.composer.notation.rhythm import Feel, steps
from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Chord, Note
from studio.music.composer.styles.idiom import Bass, Layer

__all__ = ["bass_bar", "bass_run", "counter_line", "layer_bar", "voicings"]

_BASE = {"X": 104, "x": 86, "o": 58, "u": 66}
_STRUM_TICKS = 11  # between two strings of a strummed chord


def voicings(layer: Layer, chords: Sequence[Chord]) -> dict[int, tuple[int, ...]]:
    """Pitches of every chord for a layer, by the chord's start, with the least movement."""
    found: dict[int, tuple[int, ...]] = {}
    previous: tuple[int, ...] | None = None
    for chord in chords:
        if layer.kind == "power":
            low = layer.centre - 6
            root = low + (chord.root - low) % 12
            fifth = interval(chord.tones, (6, 7, 8), 7)
            previous = (root, root + fifth, root + 12)
        else:
            count = min(layer.voices, len(chord.tones) + 1, 4)
            close = voice(chord.tones, count, layer.centre, previous)
            previous = close
            # More voices than that are the lowest ones again, an octave higher.
            doubled = [p + 12 for p in close if p + 12 not in close][: layer.voices - count]
            found[chord.start] = tuple(sorted((*close, *doubled)))
            continue
        found[chord.start] = previous
    return found


def _turned(pitches: tuple[int, ...], turn: int) -> tuple[int, ...]:
    """The next inversion: the lowest voice an octave up, and down again the next time."""
    if turn % 2 == 0 and pitches[0] + 12 not in pitches:
        return tuple(sorted((*pitches[1:], pitches[0] + 12)))
    if turn % 2 and pitches[-1] - 12 not in pitches:
        return tuple(sorted((*pitches[:-1], pitches[-1] - 12)))
    return pitches


def _at(chords: Sequence[Chord], tick: int) -> Chord:
    return next((chord for chord in reversed(chords) if chord.start <= tick), chords[0])


def _touch(base: float, level: float, draw: random.Random, spread: int = 4) -> int:
    return max(12, min(124, round(base * level) + draw.randint(-spread, spread)))


def layer_bar(
    layer: Layer,
    pattern: str,
    bar: int,
    chords: Sequence[Chord],
    voiced: Mapping[int, tuple[int, ...]],
    *,
    metre: str,
    feel: Feel,
    gate: float,
    level: float,
    draw: random.Random,
    until: int | None = None,
    loose: int = 0,
    longest: int = 4 * TICKS_PER_BEAT,
) -> list[Note]:
    """One bar of an accompaniment, up to tick ``until`` of the bar.

    A chord that would be held for more than ``longest`` ticks is taken again half way; a sustained
    one then moves its lowest voice up, so that no picture stands still.
    """
    start = chords[0].start
    stop = start + (METRES[metre].bar_ticks if until is None else until)
    notes: list[Note] = []
    if layer.kind == "pad":
        for chord in chords:
            whole = min(chord.end, stop) - chord.start
            pieces = max(1, -(-whole // longest))
            pitches = voiced[chord.start]
            for piece in range(pieces):
                at = chord.start + whole * piece // pieces
                length = chord.start + whole * (piece + 1) // pieces - at
                if length > 60:
                    velocity = _touch(76, level, draw, 2)
                    notes += [Note(at, length, p, velocity) for p in pitches]
                pitches = _turned(pitches, piece)
        return notes
    for step in steps(pattern, bar, metre, feel):
        at = start + step.start
        if at >= stop:
            break
        chord = _at(chords, at)
        pitches = voiced[chord.start]
        stray = max(-step.start, draw.randint(-loose, loose)) if loose else 0
        if step.mark.isdigit():
            octave, index = divmod(int(step.mark), len(pitches))
            length = max(60, step.end - step.start)
            base = 90 if step.start % TICKS_PER_BEAT == 0 else 78
            pitch = pitches[index] + 12 * octave
            both = (pitch, pitch + 12) if layer.kind == "octaves" else (pitch,)
            velocity = _touch(base, level, draw)
            notes += [Note(at + stray, min(length, stop - at), p, velocity) for p in both]
            continue
        length = step.end - step.start
        if step.short:
            length = round(step.step * layer.gate * min(1.3, gate))
        length = max(50, min(length, chord.end - at, stop - at))
        velocity = _touch(_BASE[step.mark], level, draw)
        if length > longest:
            half = length // 2
            notes += [Note(at + stray + half, length - half, p, velocity) for p in pitches]
            length = half - 20
        if layer.kind == "strum":
            order = sorted(pitches, reverse=step.mark == "u")
            if step.mark == "u":
                order = order[:3]  # an upstroke catches the high strings
            for string, pitch in enumerate(order):
                late = string * _STRUM_TICKS
                if length - late > 40:
                    softer = max(12, velocity - 2 * string)
                    notes.append(Note(at + stray + late, length - late, pitch, softer))
        else:
            notes += [Note(at + stray, length, p, velocity) for p in pitches]
    return notes


def bass_bar(
    bass: Bass,
    pattern: str,
    bar: int,
    chords: Sequence[Chord],
    following: Chord | None,
    previous: int,
    *,
    metre: str,
    feel: Feel,
    gate: float,
    level: float,
    draw: random.Random,
    until: int | None = None,
    loose: int = 0,
    longest: int = 4 * TICKS_PER_BEAT,
) -> list[Note]:
    """One bar of bass. ``previous`` is the pitch before it, ``following`` the next bar's chord."""
    if bass.walk:
        return _walk(bass, chords, following, previous, metre, level, draw, until, loose)
    start = chords[0].start
    stop = start + (METRES[metre].bar_ticks if until is None else until)
    notes: list[Note] = []
    struck: set[int] = set()
    for step in steps(pattern, bar, metre, feel):
        at = start + step.start
        if at >= stop:
            break
        chord = _at(chords, at)
        full = step.end - step.start
        length = round(full * bass.gate * min(1.1, gate)) if step.short else full
        length = max(50, min(length, chord.end - at, stop - at))
        pitch = _bass_pitch(step.mark, _root(bass, chord), chord, following)
        if chord.start not in struck and step.mark not in "R8":
            pitch = _root(bass, chord)  # a chord begins on its root, whatever the pattern says
        struck.add(chord.start)
        stray = max(-step.start, draw.randint(-loose, loose)) if loose else 0
        base = 98 if step.start % TICKS_PER_BEAT == 0 else 88
        velocity = _touch(base, level, draw)
        if length > longest:
            half = length // 2
            other = _bass_pitch("5", _root(bass, chord), chord, following)
            notes.append(Note(at + stray + half, length - half, other, velocity))
            length = half
        notes.append(Note(at + stray, length, pitch, velocity))
    return sorted(notes, key=lambda n: n.start)


def _root(bass: Bass, chord: Chord) -> int:
    root = chord.root if chord.bass is None else chord.bass
    return bass.lowest + (root - bass.lowest) % 12


def _bass_pitch(mark: str, root: int, chord: Chord, following: Chord | None) -> int:
    if mark == "R":
        return root
    if mark == "8":
        return root + 12
    if mark == "3":
        return root + interval(chord.tones, (3, 4), 7)
    fifth = interval(chord.tones, (6, 7, 8), 7)
    if mark == "5":
        return root + fifth
    if mark == "L":
        return root + fifth - 12 if root + fifth - 12 >= 24 else root + fifth
    if mark == "7":
        return root + interval(chord.tones, (9, 10, 11), 10)
    if mark in "246":
        wanted = {"2": (2, 1), "4": (5, 6), "6": (9, 8)}[mark]
        return root + next((i for i in wanted if (root + i) % 12 in chord.scale), wanted[0])
    target = chord if following is None else following
    return approach(root, target.root, target.scale)


def _walk(
    bass: Bass,
    chords: Sequence[Chord],
    following: Chord | None,
    previous: int,
    metre: str,
    level: float,
    draw: random.Random,
    until: int | None,
    loose: int,
) -> list[Note]:
    """A note a beat: the root on a change, chord tones after it, a step into the next root."""
    notes = []
    start = chords[0].start
    low, high = bass.lowest, bass.lowest + 19
    direction = draw.choice((-1, 1))
    for index in range(METRES[metre].beats):
        at = start + index * TICKS_PER_BEAT
        if until is not None and index * TICKS_PER_BEAT >= until:
            break
        chord = _at(chords, at)
        later = next((c for c in chords if c.start > at), following)
        changes = later is not None and (
            later.start == at + TICKS_PER_BEAT or index == METRES[metre].beats - 1
        )
        if chord.start == at:
            pitch = nearest_within(previous, chord.root, low, high)
        elif changes and later is not None:
            goal = nearest_within(previous, later.root, low, high)
            pitch = leading_semitone(goal, previous, low)
            if pitch == previous:
                pitch = goal + (2 if pitch > goal else -2)
        else:
            options = [
                p
                for p in range(low, high)
                if p % 12 in (chord.tones if index % 2 == 0 else chord.scale) and p != previous
            ]
            options.sort(key=lambda p: (abs(p - previous - 3 * direction), p))
            pitch = draw.choice(options[:2])
        stray = draw.randint(0, loose) if loose else 0
        notes.append(Note(at + stray, TICKS_PER_BEAT - 50, pitch, _touch(92, level, draw)))
        previous = pitch
    return notes


def bass_run(
    bass: Bass, chord: Chord, target: Chord, stop: int, *, level: float, draw: random.Random
) -> list[Note]:
    """Four notes of the scale in the last beats before ``stop`` that walk into the next root."""
    goal = nearest(_root(bass, target), (target.root if target.bass is None else target.bass,))
    up = draw.random() < 0.6 or goal - 7 < 24
    side = range(goal - 9, goal) if up else range(goal + 9, goal, -1)
    ladder = [p for p in side if p % 12 in chord.scale][-4:]
    if up:
        ladder = [p for p in ladder if p >= 24]
    length = TICKS_PER_BEAT // 2
    first = stop - len(ladder) * length
    return [
        Note(first + i * length, length - 30, p, _touch(88 + 4 * i, level, draw))
        for i, p in enumerate(ladder)
    ]


def counter_line(
    lead: Sequence[Note],
    bars: Sequence[Sequence[Chord]],
    centre: int,
    *,
    metre: str,
    level: float,
    draw: random.Random,
) -> list[Note]:
    """A second line of chord tones: slow while the lead sings, moving where the lead rests.

    It moves against the lead where it can; parallel fifths, octaves and unisons with the lead are
    avoided, and so is crossing it.
    """
    whole = METRES[metre]
    notes: list[Note] = []
    previous: int | None = None
    above_before: int | None = None
    for row in bars:
        start = row[0].start
        for beat in range(whole.beats):
            at = start + beat * TICKS_PER_BEAT
            chord = _at(row, at)
            resting = not any(n.start < at + TICKS_PER_BEAT and n.end > at + 60 for n in lead)
            begins = beat == 0 or chord.start == at or (whole.beats == 4 and beat == 2)
            if not (begins or resting) and notes:
                last = notes[-1]
                notes[-1] = Note(
                    last.start, at + TICKS_PER_BEAT - 20 - last.start, last.pitch, last.velocity
                )
                continue
            above = next((n.pitch for n in reversed(lead) if n.start <= at < n.end + 240), None)
            classes = chord.tones if begins or not resting else chord.scale
            options = [p for p in range(centre - 9, centre + 10) if p % 12 in classes]
            pitch = min(
                options,
                key=lambda p: (
                    _counter_cost(p, centre, previous, above, above_before, resting),
                    p,
                ),
            )
            velocity = _touch(82 if resting else 74, level, draw)
            notes.append(Note(at, TICKS_PER_BEAT - 20, pitch, velocity))
            previous, above_before = pitch, above
    return _joined(notes)


def _joined(notes: Sequence[Note]) -> list[Note]:
    """Repeated pitches that touch become one note of at most two beats."""
    found: list[Note] = []
    for note in notes:
        last = found[-1] if found else None
        if (
            last is not None
            and last.pitch == note.pitch
            and note.start - last.end <= 40
            and note.end - last.start <= 2 * TICKS_PER_BEAT
        ):
            found[-1] = Note(last.start, note.end - last.start, last.pitch, last.velocity)
        else:
            found.append(note)
    return found


def _counter_cost(
    pitch: int,
    centre: int,
    previous: int | None,
    above: int | None,
    above_before: int | None,
    resting: bool,
) -> float:
    cost = 0.25 * abs(pitch - centre)
    if above is not None and pitch % 12 == above % 12:
        cost += 4.0  # the lead's own note adds nothing
    if above is not None and abs(pitch - above) in (1, 2):
        cost += 5.0
    if previous is None:
        return cost
    move = pitch - previous
    cost += abs(move) + (3.0 if move == 0 and resting else 0.8 if move == 0 else 0.0)
    if above is None or above_before is None:
        return cost
    if (above - above_before) * move > 0:
        cost += 2.0
    interval = (above - pitch) % 12
    if move != 0 and above != above_before and interval in (0, 7):
        if (above_before - previous) % 12 == interval:
            cost += 30.0  # parallel fifths or octaves
        elif (above - above_before) * move > 0:
            cost += 4.0  # hidden ones
    return cost


def parallels(upper: Sequence[tuple[int, int]], lower: Sequence[tuple[int, int]]) -> int:
    """How often two lines move together in fifths or octaves; rows of (tick, pitch).

    >>> parallels([(0, 72), (480, 74)], [(0, 65), (480, 67)])
    1
    """
    there = dict(lower)
    pairs = [(pitch, there[tick]) for tick, pitch in upper if tick in there]
    return sum(
        1
        for (a, b), (c, d) in pairwise(pairs)
        if a != c and b != d and (a - b) % 12 == (c - d) % 12 and (a - b) % 12 in (0, 7)
    )
