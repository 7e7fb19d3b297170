"""The lead line: motifs of two bars, repeated and varied over the harmony.

A phrase is four bars: a motif of two bars, then the same rhythm and contour carried to the new
chords, and an ending on a long note. Strong beats take chord tones, the others move by step in the
scale that fits the chord, and a leap is followed by a step back.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from studio.music.composer.notation.composition import Chord, Note
from studio.music.composer.notation.harmony import nearest

__all__ = ["MelodyWriter", "Motif", "Phrase"]

# Rhythms of one bar: x strikes, - holds, . rests. Keyed by (ticks a bar, style), three densities.
_CELLS: dict[tuple[int, str], tuple[tuple[str, ...], ...]] = {
    (16, "straight"): (
        ("x-------x-------", "x-----x-x-------", "x-------x---x---"),
        ("x---x---x-x-x---", "x---x-x-x-------", "x-x-x---x---x---"),
        ("x-x-x-x-x-x-x---", "x-x-x---x-x-x-x-", "x-x-xxx-x-x-x---"),
    ),
    (16, "sparse"): (
        ("x---------------", "x-------x-------", "....x-------x---"),
        ("x-------x-------", "x-----x---------", "....x---x-------"),
        ("x---x---x-------", "x---x---x---x---", "..x-x---x-x-x---"),
    ),
    (16, "flowing"): (
        ("x---x---x---x---", "x-------x---x---", "x---x---x-------"),
        ("x-x-x-x-x---x---", "x---x-x-x-x-x-x-", "x-xxx-x-x-x-x---"),
        ("x-xxx-xxx-x-x-x-", "xxx-xxx-x-x-x-x-", "xxxxx-x-xxxxx-x-"),
    ),
    (16, "syncopated"): (
        ("x-----x---------", "x--x--x---------", "..x---x-x-------"),
        ("x--x--x---x-x---", "..x-x-x---x-x---", "x-x--x--x--x----"),
        ("x--x--x-x--x--x-", "x-xx--x-x-xx--x-", "..x-xxx---x-xxx-"),
    ),
    (16, "dotted"): (
        ("x-----x-x-------", "x-----x-----x---", "x--x----x-------"),
        ("x--xx---x--xx---", "x--x--x-x---x---", "x-----xxx---x---"),
        ("x--xx--xx--xx---", "x-xxx-xxx---x-x-", "x--x--x-x-x-x-xx"),
    ),
    (16, "repetitive"): (
        ("x-------x-------", "x-----x---------", "x-----x-----x---"),
        ("x--x--x---x-----", "x--x--x-x--x--x-", "x-x---x-x-x-----"),
        ("x-xx-xx-x-xx-xx-", "x--x--x-x--x--xx", "xxx-x-x-xxx-x-x-"),
    ),
    (12, "waltz"): (
        ("x-----------", "x-------x---", "x-----------"),
        ("x-------x---", "x---x---x---", "x-----x-x---"),
        ("x---x-x-x-x-", "x-x-x-x-x---", "x-x-x---x-x-"),
    ),
    (12, "swing"): (
        ("x-----x-----", "x--x--x-----", "...x--x-----"),
        ("x--x-xx--x--", "x-xx--x-----", "..xx-xx-x---"),
        ("x-xx-xx-xx--", "x-xx-xx-xx-x", "..xx-xxxxx--"),
    ),
}
_ENDINGS = {
    16: ("x-----------....", "x---x-------....", "x-x-x-------...."),
    12: ("x--------...", "x--x-----...", "x-----------"),
}
_CONTOURS: tuple[tuple[int, ...], ...] = (
    (1, 1, -1, 1),
    (-1, -1, 1, -1),
    (2, -1, -1, 1),
    (1, 2, -1, -1),
    (-2, 1, 1, -1),
    (3, -1, -1, -1),
    (1, -2, 1, 1),
    (0, 1, 0, -1),
    (2, 2, -1, -1),
    (-1, 3, -1, -1),
)


@dataclass(frozen=True, slots=True)
class Motif:
    """Two bars of rhythm and the steps between their notes."""

    rhythms: tuple[str, str]
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """Four bars of lead: a motif, its variation and whether the end closes on the tonic chord."""

    motif: Motif
    ending: str
    closes: bool
    lift: int


class MelodyWriter:
    """Writes phrases over chords in one register; ``random_`` decides what the rules leave open."""

    def __init__(
        self,
        random_: random.Random,
        *,
        style: str,
        density: int,
        centre: int,
        ticks_per_bar: int,
        ticks_per_beat: int,
        tick_frames: int,
        gate: float,
    ) -> None:
        self._random = random_
        self._cells = _CELLS[(ticks_per_bar, style)][density]
        self._centre = centre
        self._ticks = ticks_per_bar
        self._beat = ticks_per_beat
        self._frames = tick_frames
        self._gate = gate
        self._pitch = centre

    def motif(self) -> Motif:
        first = self._random.choice(self._cells)
        second = first if self._random.random() < 0.4 else self._random.choice(self._cells)
        count = first.count("x") + second.count("x")
        contour = self._random.choice(_CONTOURS) + self._random.choice(_CONTOURS)
        steps = tuple(contour[i % len(contour)] for i in range(count))
        return Motif((first, second), steps)

    def phrase(self, motif: Motif, *, closes: bool, lift: int = 0) -> Phrase:
        return Phrase(motif, self._random.choice(_ENDINGS[self._ticks]), closes, lift)

    def write(self, phrase: Phrase, chords: Sequence[Sequence[Chord]], level: float) -> list[Note]:
        """The notes of a phrase; ``chords`` holds the chords of each of its bars in order."""
        notes: list[Note] = []
        self._pitch = self._centre + phrase.lift + self._random.choice((-2, 0, 2))
        for bar, bar_chords in enumerate(chords):
            last = bar == len(chords) - 1 and bar >= 1
            rhythm = phrase.ending if last else phrase.motif.rhythms[bar % 2]
            offset = phrase.motif.rhythms[0].count("x") if bar % 2 else 0
            notes += self._bar(rhythm, phrase, offset, bar_chords, level, last)
        return notes

    def _bar(
        self,
        rhythm: str,
        phrase: Phrase,
        offset: int,
        chords: Sequence[Chord],
        level: float,
        last: bool,
    ) -> list[Note]:
        notes = []
        onsets = [tick for tick, mark in enumerate(rhythm) if mark == "x"]
        start = chords[0].start
        centre = self._centre + phrase.lift
        for index, tick in enumerate(onsets):
            frame = start + tick * self._frames
            chord = next(c for c in reversed(chords) if c.start <= frame)
            strong = tick % (2 * self._beat) == 0 or (self._ticks // self._beat == 3 and tick == 0)
            final = last and index == len(onsets) - 1
            step = phrase.motif.steps[(offset + index) % len(phrase.motif.steps)]
            self._pitch = self._move(step, chord, centre, strong or final, final and phrase.closes)
            stop = tick + 1
            while stop < len(rhythm) and rhythm[stop] == "-":
                stop += 1
            length = max(2, round((stop - tick) * self._frames * min(1.0, self._gate)))
            accent = 8 if strong else (0 if tick % self._beat == 0 else -7)
            velocity = round(level * (92 + accent)) + self._random.randint(-4, 4)
            notes.append(Note(frame, length, self._pitch, max(20, min(127, velocity))))
        return notes

    def _move(self, step: int, chord: Chord, centre: int, strong: bool, close: bool) -> int:
        pitch = self._pitch
        if pitch > centre + 7 and step > 0:
            step = -step
        if pitch < centre - 7 and step < 0:
            step = -step
        ladder = [p for p in range(pitch - 14, pitch + 15) if p % 12 in chord.scale]
        here = min(range(len(ladder)), key=lambda i: (abs(ladder[i] - pitch), i))
        target = ladder[max(0, min(len(ladder) - 1, here + step))]
        if strong:
            tones = (
                (chord.tones[0], chord.tones[min(1, len(chord.tones) - 1)])
                if close
                else chord.tones
            )
            target = nearest(target, tones)
        while target > centre + 12:
            target -= 12
        while target < centre - 12:
            target += 12
        return target
