"""Melodies: motifs that come back, move, grow and close, over the chords of a section.

A theme is a motif of two bars and a plan of what becomes of it in a phrase: repeated, carried to
another step, turned upside down, cut in half, ornamented. The pitches of a phrase are then chosen
together: of all ways through the scale the one is taken that follows the motif's contour best, has
chord tones where the beat is strong, leaves leaps by step, and ends where a phrase should end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from studio.music.composer.notation.rhythm import Feel, Step, recut, steps
from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Chord, Note
from studio.music.composer.parts.cells import RHYTHMS

__all__ = ["Singer", "Theme", "sing"]

# What becomes of a motif of two bars (0, 1) in a phrase of four: bars by their source; "s" carries
# the bar to another step, "i" turns it upside down, "f" repeats its first half, "e" ends.
_PLANS = {
    "verse": (("0", "1", "0s", "e"), ("0", "0s", "1", "e"), ("0", "1", "f", "e"),
              ("0", "1", "1s", "e")),
    "chorus": (("0", "0s", "0", "e"), ("0", "1", "0", "e"), ("0", "0", "0s", "e"),
               ("0", "f", "0s", "e")),
    "bridge": (("0i", "1", "0i", "e"), ("0", "0s", "f", "e"), ("0i", "1i", "1", "e")),
}  # fmt: skip
_CONTOURS = (
    (1, 1, -1, 1),
    (-1, -1, 1, -1),
    (2, -1, -1, 1),
    (1, 2, -1, -1),
    (-2, 1, 1, -1),
    (3, -1, -1, -1),
    (1, -2, 1, 1),
    (0, 1, 0, -1),
    (0, 0, 1, -1),
    (2, 2, -1, -1),
    (-1, 3, -1, -1),
    (4, -1, -1, -1),
    (-3, 1, 1, 1),
    (1, 1, 1, -2),
)
_STEP = 1.75  # semitones of a step of the scale, on average


@dataclass(frozen=True, slots=True)
class Theme:
    """A motif of two bars, with the steps between its notes, and the plan of a phrase of four.

    ``endings`` are the rhythms of an open and a closed phrase end, ``pickup`` leads into the next
    phrase, or is empty. ``shift`` is how many steps a carried bar moves.
    """

    rhythms: tuple[str, str]
    steps: tuple[tuple[int, ...], tuple[int, ...]]
    plan: tuple[str, ...]
    endings: tuple[str, str]
    pickup: str
    shift: int

    @classmethod
    def invent(
        cls, draw: random.Random, *, style: str, metre: str, density: int, kind: str
    ) -> Theme:
        """A new theme for a kind of section."""
        rhythm = RHYTHMS[style]

        def bar() -> str:
            return recut(draw.choice(rhythm.densities[density]), rhythm.metre, metre)

        first = bar()
        second = first if draw.random() < 0.3 else bar()
        contours = tuple(
            draw.choice(_CONTOURS) + draw.choice(_CONTOURS) + draw.choice(_CONTOURS)
            for _ in range(2)
        )
        endings = tuple(recut(draw.choice(rhythm.endings), rhythm.metre, metre) for _ in range(2))
        half = draw.choice(rhythm.pickups)
        pickup = recut("." * len(half) + half, rhythm.metre, metre)
        return cls(
            (first, second),
            (contours[0], contours[1]),
            draw.choice(_PLANS.get(kind, _PLANS["verse"])),
            (endings[0], endings[1]),
            pickup if draw.random() < 0.6 else "",
            draw.choice((-1, 1, -2, 2)),
        )

    def turned(self, draw: random.Random) -> Theme:
        """The same rhythm upside down, with another plan: a bridge that comes from the verse."""
        steps = tuple(tuple(-step for step in row) for row in self.steps)
        return replace(
            self,
            rhythms=self.rhythms[::-1],
            steps=(steps[1], steps[0]),
            plan=draw.choice(_PLANS["bridge"]),
        )


@dataclass(frozen=True, slots=True)
class Singer:
    """Who sings: range, comfortable middle, and how long notes are held.

    ``longest`` is the most ticks a note lasts within a phrase.
    """

    low: int
    centre: int
    high: int
    gate: float = 1.0
    longest: int = 4 * TICKS_PER_BEAT


@dataclass(frozen=True, slots=True)
class _Slot:
    """A note to be: when, over which chord, how strong, and where the motif would put it."""

    start: int
    end: int
    chord: Chord
    strong: bool
    target: float
    step: int
    goal: tuple[int, ...] = ()


def sing(
    theme: Theme,
    bars: Sequence[Sequence[Chord]],
    singer: Singer,
    *,
    metre: str,
    feel: Feel,
    draw: random.Random,
    level: float,
    lift: float = 0.0,
    closes: bool = True,
    ornament: float = 0.0,
    before: int | None = None,
) -> list[Note]:
    """The notes of one phrase over the chords of its bars.

    ``lift`` raises the register in semitones, ``closes`` ends on the chord's root or third,
    ``ornament`` is the chance that a long note is broken up, ``before`` the pitch sung last.
    """
    slots = _slots(theme, bars, singer, metre, feel, draw, lift, closes, ornament)
    pitches = _choose(slots, singer, draw, before)
    bar_ticks = METRES[metre].bar_ticks
    notes = []
    for slot, pitch in zip(slots, pitches, strict=True):
        place = (slot.start - bars[0][0].start) / max(1, len(bars) * bar_ticks)
        arc = 1.0 + 0.06 * (1 - abs(2 * place - 1.2))
        accent = 8 if slot.strong else (0 if slot.start % TICKS_PER_BEAT == 0 else -6)
        velocity = round(level * arc * (90 + accent)) + draw.randint(-4, 4)
        length = max(60, round((slot.end - slot.start) * min(1.0, singer.gate)))
        notes.append(Note(slot.start, length, pitch, max(24, min(122, velocity))))
    return notes


def _slots(
    theme: Theme,
    bars: Sequence[Sequence[Chord]],
    singer: Singer,
    metre: str,
    feel: Feel,
    draw: random.Random,
    lift: float,
    closes: bool,
    ornament: float,
) -> list[_Slot]:
    plan = _plan(theme.plan, len(bars))
    slots: list[_Slot] = []
    level = singer.centre + lift
    for number, (source, row) in enumerate(zip(plan, bars, strict=True)):
        start = row[0].start
        # The line rises towards the third quarter of a phrase and comes down at its end.
        arch = (0.0, 1.5, 3.0, 0.0)[min(3, 4 * number // max(1, len(bars)))]
        target = level + arch - 2.0
        if source == "e":
            pattern = theme.endings[closes]
            contour: tuple[int, ...] = (-1, -1, 1, -1)
            if not closes and theme.pickup:
                pattern = pattern[: len(pattern) // 2] + theme.pickup[len(theme.pickup) // 2 :]
        else:
            index = 1 if source[0] == "1" else 0
            pattern, contour = theme.rhythms[index], theme.steps[index]
            if source.endswith("f"):
                half = len(pattern) // 2
                pattern = pattern[:half] + pattern[:half] if len(pattern) % 2 == 0 else pattern
            if source.endswith("i"):
                contour = tuple(-step for step in contour)
            if source.endswith("s"):
                target += _STEP * theme.shift
        marks = list(steps(pattern, 0, metre, feel))
        if ornament:
            marks = _broken(marks, metre, draw, ornament)
        marks = _shortened(marks, singer.longest)
        for index, mark in enumerate(marks):
            step = contour[index % len(contour)]
            if index:
                target += _STEP * step
            goal: tuple[int, ...] = ()
            at = start + mark.start
            chord = _sounding(row, at, start + mark.end)
            if source == "e" and number == len(bars) - 1:
                main = max(range(len(marks)), key=lambda i: marks[i].end - marks[i].start)
                if index == main:
                    goal = chord.tones[:2] if closes else chord.tones[1:3]
            slots.append(
                _Slot(at, start + mark.end, chord, _is_strong(mark, metre), target, step, goal)
            )
    return slots


def _plan(plan: Sequence[str], count: int) -> list[str]:
    if count == 1:
        return ["0"]
    if count == 2:
        return ["0", "e"]
    return [*plan[: count - 1], "e"] if count <= 4 else [*plan[:3], *plan[1 : count - 3], "e"]


def _broken(marks: Sequence[Step], metre: str, draw: random.Random, chance: float) -> list[Step]:
    """Long notes are now and then struck again half way."""
    found = []
    eighth = METRES[metre].eighth_ticks
    for mark in marks:
        length = mark.end - mark.start
        if length >= 2 * eighth and length <= 2 * TICKS_PER_BEAT and draw.random() < chance:
            middle = mark.start + (length // 2 // eighth or 1) * eighth
            found += [replace(mark, end=middle), replace(mark, start=middle)]
        else:
            found.append(mark)
    return found


def _shortened(marks: Sequence[Step], longest: int) -> list[Step]:
    """Notes that would be held too long move on, on a beat."""
    found = []
    for mark in marks:
        rest = mark
        while rest.end - rest.start > longest:
            cut = rest.start + longest
            cut -= cut % TICKS_PER_BEAT if longest > TICKS_PER_BEAT else 0
            if cut <= rest.start:
                break
            found.append(replace(rest, end=cut))
            rest = replace(rest, start=cut)
        found.append(rest)
    return found


def _is_strong(mark: Step, metre: str) -> bool:
    beats = METRES[metre].beats
    if mark.start % TICKS_PER_BEAT:
        # An off-beat note held over a beat is heard as that beat's, early.
        return mark.end - mark.start > TICKS_PER_BEAT
    beat = mark.start // TICKS_PER_BEAT
    return beat == 0 or (beats == 4 and beat == 2) or mark.end - mark.start >= 2 * TICKS_PER_BEAT


def _sounding(row: Sequence[Chord], start: int, end: int) -> Chord:
    """The chord that a note is heard against: the next one, where most of it lies in that."""
    chord = next((c for c in reversed(row) if c.start <= start), row[0])
    later = next((c for c in row if c.start > start), None)
    if later is not None and end - later.start > later.start - start:
        return later
    return chord


def _choose(
    slots: Sequence[_Slot], singer: Singer, draw: random.Random, before: int | None
) -> list[int]:
    """The cheapest way through the scale, found note by note over pairs of pitches."""
    if not slots:
        return []
    options = [_options(slot, singer) for slot in slots]
    own = [[_own_cost(p, s, draw) for p in row] for s, row in zip(slots, options, strict=True)]
    # states: (pitch before, pitch) -> (cost, path)
    states: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
    for pitch, cost in zip(options[0], own[0], strict=True):
        start = 0.0 if before is None else 0.25 * abs(pitch - before)
        states[(pitch, pitch)] = (cost + start, (pitch,))
    for index in range(1, len(slots)):
        slot, last = slots[index], slots[index - 1]
        grown: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (earlier, previous), (cost, path) in states.items():
            for pitch, extra in zip(options[index], own[index], strict=True):
                total = cost + extra + _move_cost(earlier, previous, pitch, last, slot)
                key = (previous, pitch)
                if key not in grown or total < grown[key][0]:
                    grown[key] = (total, (*path, pitch))
        # Only the best states go on: the others cannot catch up.
        states = dict(sorted(grown.items(), key=lambda item: item[1])[:24])
    return list(min(states.values())[1])


def _options(slot: _Slot, singer: Singer) -> list[int]:
    classes = slot.goal or (slot.chord.tones if slot.strong else slot.chord.scale)
    target = max(singer.low + 2.0, min(singer.high - 2.0, slot.target))
    pitches = [p for p in range(singer.low, singer.high + 1) if p % 12 in classes]
    pitches.sort(key=lambda p: (abs(p - target), p))
    return pitches[: 4 if slot.strong or slot.goal else 6]


def _own_cost(pitch: int, slot: _Slot, draw: random.Random) -> float:
    cost = 0.45 * abs(pitch - slot.target) + 0.5 * draw.random()
    clash = (pitch - 1) % 12 in slot.chord.tones and pitch % 12 not in slot.chord.tones
    if clash and slot.end - slot.start > TICKS_PER_BEAT // 2:
        cost += 3.0  # a semitone above a chord tone, held
    return cost


def _move_cost(earlier: int, previous: int, pitch: int, last: _Slot, slot: _Slot) -> float:
    move = pitch - previous
    size = abs(move)
    cost = (1.4, 0.0, 0.0, 0.5, 0.6, 1.0, 4.0, 1.5, 2.4, 2.6, 5.0, 6.0, 2.6)[size] if size <= 12 \
        else 14.0  # fmt: skip
    if size == 0 and slot.step == 0:
        cost = 0.1
    if move * slot.step < 0:
        cost += 1.2
    leap = previous - earlier
    if abs(leap) > 4 and (move * leap > 0 or abs(move) > 4):
        cost += 2.5  # a leap is left by step, backwards
    if size > 2 and pitch % 12 not in slot.chord.tones:
        cost += 1.5  # what is not of the chord is reached by step
    if size > 2 and previous % 12 not in last.chord.tones:
        cost += 1.2  # and left by step
    if size == 0 and earlier == previous and slot.step != 0:
        cost += 1.5
    return cost
