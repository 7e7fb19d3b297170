"""What all parts share: who plays when, dynamics, cutting of notes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from studio.music.composer.notation.rhythm import recut
from studio.music.composer.notation.score import TICKS_PER_BEAT, Note, Part, Section
from studio.music.composer.planning.plan import Plan
from studio.music.composer.styles.levels import LEVELS

__all__ = ["LONGEST_S", "Stage", "cut", "monophonic", "tidy"]

_LEVELS = {"intro": 0.84, "verse": 0.92, "chorus": 1.04, "bridge": 0.93, "ending": 1.02}
_INTENSITY = {"intro": 1, "verse": 2, "chorus": 3, "bridge": 2, "ending": 3}
LONGEST_S = 2.2  # the longest note before the last chord
_TAIL_S = 0.35  # between the last note's end and the end of the piece


@dataclass
class Stage:
    """A plan as the players see it."""

    plan: Plan

    def stream(self, purpose: str) -> random.Random:
        """Its own random stream for each purpose, so that parts do not depend on each other."""
        return random.Random(f"{self.plan.seed}/{purpose}")

    def ticks(self, seconds: float) -> int:
        return int(seconds * self.plan.bpm * TICKS_PER_BEAT / 60.0)

    @cached_property
    def last_end(self) -> int:
        """No note sounds later."""
        plan = self.plan
        return max(plan.final_tick + TICKS_PER_BEAT // 2, plan.end_tick - self.ticks(_TAIL_S))

    # Form ---------------------------------------------------------------------------------------

    def intensity(self, section: Section) -> int:
        return 3 if self.plan.short else _INTENSITY[section.kind]

    def level(self, section: Section, bar: int) -> float:
        """How loud a bar of a section is played: each grows a little into the next."""
        level = _LEVELS[section.kind]
        if section.kind == "bridge":
            level += 0.1 * bar / max(1, section.bars - 1)
        elif bar == section.bars - 1 and section.kind != "ending":
            level += 0.04
        last = [s for s in self.plan.sections if s.kind == "chorus"]
        if section.kind == "chorus" and len(last) > 1 and section == last[-1]:
            level += 0.05
        return level * self.plan.mood.velocity

    def following(self, section: Section) -> Section | None:
        after = section.first_bar + section.bars
        return next((s for s in self.plan.sections if s.first_bar == after), None)

    def until(self, bar: int) -> int | None:
        """The tick of a bar at which the last chord takes over."""
        plan = self.plan
        return plan.final_tick % plan.metre.bar_ticks if bar == plan.final_bar else None

    @cached_property
    def stops(self) -> frozenset[int]:
        """Bars whose last beat is left to the drums, before a chorus."""
        draw = self.stream("stops")
        return frozenset(
            section.first_bar + section.bars - 1
            for section in self.plan.sections
            if (after := self.following(section)) is not None
            and after.kind == "chorus"
            and section.bars >= 4
            and draw.random() < 0.4
            and self.plan.style.drums is not None
        )

    def played(self, bar: int) -> int | None:
        until = self.until(bar)
        if until is None and bar in self.stops:
            return self.plan.metre.bar_ticks - TICKS_PER_BEAT
        return until

    # The last chord -----------------------------------------------------------------------------

    def final_length(self) -> int:
        whole = self.last_end - self.plan.final_tick
        return min(whole, TICKS_PER_BEAT) if self.plan.style.ending == "button" else whole

    def final(self, pitch: int, velocity: int) -> Note:
        return Note(self.plan.final_tick, self.final_length(), pitch, max(24, min(122, velocity)))

    def patterns(self, patterns: Sequence[str], draw: random.Random) -> dict[str, str]:
        """A pattern for each kind of section; verse and chorus differ where there are two."""
        if not patterns:
            return dict.fromkeys(_LEVELS, "")
        native = self.plan.style.metre
        made = [recut(pattern, native, self.plan.metre.name) for pattern in patterns]
        draw.shuffle(made)
        verse, chorus, bridge = made[0], made[1 % len(made)], made[2 % len(made)]
        return {"intro": verse, "verse": verse, "chorus": chorus, "bridge": bridge,
                "ending": chorus}  # fmt: skip

    # Parts --------------------------------------------------------------------------------------

    def part(
        self,
        role: str,
        stem: str,
        program: int,
        level_db: float,
        pan: float,
        notes: Sequence[Note],
        percussion: bool = False,
    ) -> Part:
        end = self.plan.end_tick if percussion else self.last_end
        kept = [cut(note, end) for note in notes if 0 <= note.start < end - 20]
        drums, bass, harmony = LEVELS[self.plan.style.name]
        moved = {"drums": drums, "bass": bass, "lead": 0.0, "harmony": harmony}[stem]
        return Part(role, stem, program, level_db + moved, pan, tidy(kept), percussion)


def cut(note: Note, end: int) -> Note:
    """A note that ends at a tick at the latest."""
    return note if note.end <= end else replace(note, length=max(1, end - note.start))


def monophonic(notes: Sequence[Note]) -> list[Note]:
    """One voice: each note ends where the next begins."""
    ordered = sorted(notes, key=lambda n: n.start)
    found: list[Note] = []
    for note in ordered:
        if found and note.start - found[-1].start < 30:
            continue  # a pickup and what it leads to, in the same place
        if found:
            found[-1] = cut(found[-1], note.start)
        found.append(note)
    return found


def tidy(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Sorted; a note ends where its own pitch is struck again, so that none is left hanging."""
    following: dict[int, int] = {}
    kept: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.start, n.pitch, n.length), reverse=True):
        limit = following.get(note.pitch)
        if limit is not None and limit - note.start < 20:
            continue
        length = note.length if limit is None else min(note.length, limit - note.start)
        following[note.pitch] = note.start
        kept.append(replace(note, length=length))
    return tuple(sorted(kept, key=lambda n: (n.start, n.pitch)))
