"""The chords of every bar: fixed, found for a melody, or the genre's own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from studio.core.errors import ConfigError
from studio.music.composer.notation.fixed import ChordBar, Fixed, TypedNote
from studio.music.composer.notation.harmony import SCALES, parse_roman, scale_for
from studio.music.composer.notation.score import TICKS_PER_BEAT, Chord, Metre, Section
from studio.music.composer.notation.spelling import ChordName, chord_name
from studio.music.composer.styles.idiom import Harmony, Progression, Style, progressions

__all__ = ["Changes"]

_MAJOR = ("I", "ii", "iii", "IV", "V7", "vi")
_MINOR = ("i", "iv", "V7", "bVI", "bIII", "bVII", "iidim")


@dataclass(frozen=True, slots=True)
class Changes:
    """Writes the chords of a piece in one key."""

    style: Style
    harmony: Harmony
    tonic: int
    mode: str
    metre: Metre
    fixed: Fixed
    draw: random.Random

    def bars(
        self, sections: Sequence[Section], final_tick: int, end_tick: int
    ) -> tuple[tuple[Chord, ...], ...]:
        """The chords of every bar; the last one begins at ``final_tick`` and rings to the end.

        Raises :class:`ConfigError` for fixed chords that do not fit the metre; it names the bar.
        """
        longest = {
            kind: max((s.bars for s in sections if s.kind == kind), default=4)
            for kind in ("verse", "chorus", "bridge")
        }
        chosen = {
            "verse": self._choose(self.harmony.verse, longest["verse"]),
            "chorus": self._choose(self.harmony.chorus, longest["chorus"]),
            "bridge": self._choose(self.harmony.bridge, longest["bridge"]),
        }
        chosen["intro"], chosen["ending"] = chosen["verse"], chosen["chorus"]
        rows: list[list[Chord]] = []
        for index, section in enumerate(sections):
            fixed = self.fixed.chords_of(section.name)
            melody = self.fixed.melody_of(section.name)
            following = sections[index + 1].kind if index + 1 < len(sections) else ""
            for bar in range(section.bars):
                start = (section.first_bar + bar) * self.metre.bar_ticks
                if fixed and fixed[bar % len(fixed)]:
                    where = f"{section.name}, bar {bar % len(fixed) + 1}"
                    rows.append(self._fixed(fixed[bar % len(fixed)], start, where))
                elif bar < len(melody) and (typed := melody[bar]) is not None:
                    before = rows[-1][-1].tones if rows else ()
                    rows.append(self._under(typed, start, before))
                else:
                    source = chosen[section.kind]
                    names = [ChordName(r.tones(self.tonic)) for r in source[bar % len(source)]]
                    leads_on = bar == section.bars - 1 and following not in ("", "ending")
                    if leads_on and section.bars % len(source) and len(names) == 1:
                        names.append(self._cadence())
                    rows.append(self._row(names, start))
        return self._closed(rows, sections, final_tick, end_tick)

    def _choose(self, text: str, bars: int) -> Progression:
        """A progression that fits a section: none of twelve bars where there is no room for it."""
        known = progressions(text)
        fitting = [p for p in known if len(p) <= max(4, bars)] or list(known)
        if self.style.bars == 12 and bars >= 12:
            fitting = [p for p in known if len(p) == 12] or fitting
        return self.draw.choice(fitting)

    def _cadence(self) -> ChordName:
        return ChordName(parse_roman(self.harmony.cadence).tones(self.tonic))

    def _home(self) -> ChordName:
        steps = SCALES[self.mode]
        numeral = "I" if 4 in steps else "i"
        return ChordName(parse_roman(numeral + self.harmony.final).tones(self.tonic))

    def _chord(self, name: ChordName, start: int, length: int) -> Chord:
        return Chord(
            start,
            length,
            chord_name(name.tones, self.tonic, self.mode, name.bass),
            name.tones,
            scale_for(self.tonic, self.mode, name.tones),
            name.bass,
        )

    def _row(self, names: Sequence[ChordName], start: int) -> list[Chord]:
        """One or two chords in a bar; the second begins in its middle, or on beat three of 3/4."""
        if len(names) == 1:
            return [self._chord(names[0], start, self.metre.bar_ticks)]
        first = (self.metre.beats + 1) // 2 * TICKS_PER_BEAT
        rest = self.metre.bar_ticks - first
        return [self._chord(names[0], start, first), self._chord(names[1], start + first, rest)]

    def _fixed(self, bar: ChordBar, start: int, where: str) -> list[Chord]:
        starts = [self._place(chord.slot, chord.slots, where) for chord in bar]
        ends = [*starts[1:], self.metre.bar_ticks]
        return [
            self._chord(chord.name, start + begin, end - begin)
            for chord, begin, end in zip(bar, starts, ends, strict=True)
        ]

    def _place(self, slot: int, slots: int, where: str) -> int:
        """The tick of a place of a bar; whole beats, or eighth notes of a bar that is so divided.

        Raises :class:`ConfigError`.
        """
        beats, eighths = self.metre.beats, self.metre.beats * self.metre.eighths
        if slots == 2 and beats == 3:
            return slot * 2 * TICKS_PER_BEAT
        if eighths % slots:
            fits = [
                str(n) for n in range(1, eighths + 1) if eighths % n == 0 or (n, beats) == (2, 3)
            ]
            raise ConfigError(
                f"{where}: {slots} places for chords do not fit a bar of {self.metre.name}; "
                f"write {', '.join(fits[:-1])} or {fits[-1]}"
            )
        return slot * self.metre.bar_ticks // slots

    def _under(self, melody: Sequence[TypedNote], start: int, before: Sequence[int]) -> list[Chord]:
        """The chord of the key that a bar of typed melody asks for."""
        numerals = _MAJOR if 4 in SCALES[self.mode] else _MINOR
        options = [ChordName(parse_roman(n).tones(self.tonic)) for n in numerals]

        def fit(name: ChordName) -> float:
            total = 0.0
            for note in melody:
                weight = note.length / note.slots * (1.6 if note.slot == 0 else 1.0)
                total += weight if note.pitch % 12 in name.tones[:3] else -0.6 * weight
            if before and tuple(before[:3]) == name.tones[:3]:
                total -= 0.12
            if name.tones[0] == self.tonic:
                total += 0.1
            return total

        return self._row([max(options, key=lambda name: (fit(name), -options.index(name)))], start)

    def _closed(
        self,
        rows: list[list[Chord]],
        sections: Sequence[Section],
        final_tick: int,
        end_tick: int,
    ) -> tuple[tuple[Chord, ...], ...]:
        """The last chord is the key's own, and what leads there is the genre's cadence.

        Fixed chords stay as they are: the piece then ends on the last of them.
        """
        bar_ticks = self.metre.bar_ticks
        last_bar = final_tick // bar_ticks
        rows = rows[: last_bar + 1]
        given = self._is_fixed(sections, last_bar)
        named = [chord for row in rows[-1:] for chord in row]
        if given:
            at = next((c for c in reversed(named) if c.start <= final_tick), named[0])
            final = ChordName(at.tones, at.bass)
        else:
            final = self._home()
        kept = [
            replace(chord, length=min(chord.length, final_tick - chord.start))
            for chord in rows[-1]
            if chord.start < final_tick
        ]
        rows[-1] = [*kept, self._chord(final, final_tick, end_tick - final_tick)]
        if given:
            return tuple(map(tuple, rows))
        if kept:
            rows[-1][len(kept) - 1] = self._chord(self._cadence(), kept[-1].start, kept[-1].length)
        elif last_bar and not self._is_fixed(sections, last_bar - 1):
            before = rows[-2]
            rows[-2] = self._row(
                [ChordName(before[0].tones, before[0].bass), self._cadence()], before[0].start
            )
        return tuple(map(tuple, rows))

    def _is_fixed(self, sections: Sequence[Section], bar: int) -> bool:
        section = next(s for s in sections if s.first_bar <= bar < s.first_bar + s.bars)
        fixed = self.fixed.chords_of(section.name)
        return bool(fixed) and bool(fixed[(bar - section.first_bar) % len(fixed)])
