"""From a plan to a score: lead, counter-melodies, bass, accompaniment and drums.

>>> score = compose_score(["genre/jazz", "mood/happy", "lead/flute"], seed=4, duration_s=10)
>>> score.duration_s, score.sections[0].name, score.stem("lead")[0].program
(10.0, 'chorus', 73)
>>> score == compose_score(["genre/jazz", "mood/happy", "lead/flute"], seed=4, duration_s=10)
True
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from studio.music.composer.notation.fixed import Fixed
from studio.music.composer.notation.harmony import nearest
from studio.music.composer.notation.rhythm import recut
from studio.music.composer.notation.score import TICKS_PER_BEAT, Mix, Note, Part, Score, Section
from studio.music.composer.parts import drumming
from studio.music.composer.parts.band import bass_bar, bass_run, counter_line, layer_bar, voicings
from studio.music.composer.parts.stage import LONGEST_S, Stage, cut, monophonic
from studio.music.composer.parts.theme import Singer, Theme, sing
from studio.music.composer.planning.plan import plan_piece
from studio.music.composer.styles.idiom import Drums, Groove, Layer

__all__ = ["Arranger", "compose_score"]

# What an accompaniment plays where the lead is its own instrument.
_INSTEAD = {
    0: 4, 1: 4, 4: 0, 8: 9, 9: 8, 12: 11, 16: 19, 18: 16, 21: 20, 23: 21, 24: 26, 25: 24, 26: 4,
    27: 26, 29: 30, 42: 43, 46: 8, 48: 49, 57: 60, 60: 57, 61: 62, 65: 66, 66: 65, 68: 71, 72: 73,
    78: 75, 80: 81, 81: 80, 90: 81, 109: 68, 110: 48,
}  # fmt: skip


def compose_score(
    tags: Sequence[str],
    seed: int,
    duration_s: float | None = None,
    fixed: Fixed | None = None,
) -> Score:
    """Compose a whole piece.

    Args:
        tags: At most one tag of each kind (``genre/jazz``). The seed draws a genre where none is
            asked for; without a mood the genre stays as it is, without a lead one of its own
            instruments plays.
        seed: The same request and seed give the same score.
        duration_s: Length in seconds, 3 to 600; that of the fixed form, or 32, where it is None.
        fixed: What the artist fixes; nothing by default.

    Raises:
        HouseError: A tag is unknown to the composer.
        ConfigError: What is fixed cannot be, or contradicts itself; the text names the bar.
    """
    return Arranger(plan_piece(tags, seed, duration_s, fixed or Fixed())).score()


class Arranger(Stage):
    """Writes the parts of a planned piece."""

    def stem(self, name: str, lead: Part) -> list[Part]:
        """The parts of one stem; `lead` is the melody that an accompaniment goes with."""
        if name == "lead":
            parts = [self._lead()]
        elif name == "bass":
            parts = [self._bass()]
        elif name == "drums":
            drums = self._drums()
            parts = [] if drums is None else [drums]
        else:
            parts = self._accompaniment(lead)
        return [part for part in parts if part.notes]

    def score(self) -> Score:
        """The whole piece."""
        plan = self.plan
        lead = self._lead()
        parts = [lead, self._bass(), *self._accompaniment(lead)]
        drums = self._drums()
        if drums is not None:
            parts.append(drums)
        mix = Mix(
            plan.style.brightness_db + plan.mood.brightness_db,
            round(max(0.0, plan.style.reverb + plan.mood.reverb), 3),
        )
        return Score(
            tags=plan.tags,
            seed=plan.seed,
            genre=plan.style.name,
            mood=plan.mood.name,
            lead=plan.lead.name,
            tempo=plan.tempo,
            tonic=plan.tonic,
            mode=plan.mode,
            bpm=plan.bpm,
            metre=plan.metre.name,
            duration_s=plan.duration_s,
            sections=plan.sections,
            chords=tuple(chord for bar in plan.bars for chord in bar),
            parts=tuple(part for part in parts if part.notes),
            mix=mix,
            feel=plan.feel.name,
        )

    # Lead ---------------------------------------------------------------------------------------

    def _lead(self) -> Part:
        plan, lead = self.plan, self.plan.lead
        draw = self.stream("lead")
        singer = Singer(
            lead.low,
            max(lead.low + 7, min(lead.high - 9, lead.centre + plan.mood.register)),
            lead.high,
            plan.mood.gate if lead.sustains else 1.0,
            self.ticks(LONGEST_S),
        )
        themes = self._themes(draw)
        notes: list[Note] = []
        times: dict[str, int] = {}
        for section in plan.sections:
            typed = plan.fixed.melody_of(section.name)
            if typed:
                notes += self._typed(section)
            if typed and None not in typed:
                continue
            times[section.kind] = times.get(section.kind, 0) + 1
            sung = self._sung(section, themes, singer, draw, times[section.kind], notes)
            notes += [n for n in sung if not typed or self._is_open(section, n.start)]
        notes = [n for n in notes if n.start < plan.final_tick]
        if not self._typed_end():
            before = notes[-1].pitch if notes else singer.centre
            tones = plan.bars[-1][-1].tones
            pitch = nearest(before, tones[:1] if draw.random() < 0.7 else tones[:2])
            pitch += 12 * ((pitch < lead.low) - (pitch > lead.high))
            notes = [cut(n, plan.final_tick) for n in notes]
            level = self.level(plan.sections[-1], 0)
            notes.append(self.final(pitch, round(94 * level)))
        program = plan.style.lead_programs.get(lead.name, lead.program)
        return self.part("lead", "lead", program, lead.level_db, 0.0, monophonic(notes))

    def _themes(self, draw: random.Random) -> dict[str, Theme]:
        plan = self.plan
        density = plan.mood.density
        verse = Theme.invent(
            draw, style=plan.style.rhythm, metre=plan.metre.name, density=density, kind="verse"
        )
        chorus = Theme.invent(
            draw, style=plan.style.rhythm, metre=plan.metre.name, density=density, kind="chorus"
        )
        return {"verse": verse, "chorus": chorus, "bridge": verse.turned(draw),
                "intro": chorus, "ending": chorus}  # fmt: skip

    def _sung(
        self,
        section: Section,
        themes: dict[str, Theme],
        singer: Singer,
        draw: random.Random,
        time: int,
        sung: Sequence[Note],
    ) -> list[Note]:
        plan = self.plan
        lift = {"chorus": float(plan.style.lift), "bridge": 2.0}.get(section.kind, 0.0)
        choruses = [s for s in plan.sections if s.kind == "chorus"]
        if section.kind == "chorus" and len(choruses) > 1 and section == choruses[-1]:
            lift += 2.0
        notes: list[Note] = []
        first = section.first_bar
        stop = min(first + section.bars, plan.final_bar + (self.until(plan.final_bar) != 0))
        if section.kind == "intro":
            first = stop - (stop - first + 1) // 2  # the lead comes in half way
        while first < stop:
            count = min(4, stop - first)
            if 4 < stop - first < 6:
                count = stop - first - 2  # five bars are three and two
            level = self.level(section, first - section.first_bar)
            heard = notes or sung
            notes += sing(
                themes[section.kind],
                plan.bars[first : first + count],
                singer,
                metre=plan.metre.name,
                feel=plan.feel,
                draw=draw,
                level=level,
                lift=lift,
                closes=first + count >= stop and section.kind != "intro",
                ornament=0.0 if time == 1 else min(0.4, 0.15 * time),
                before=heard[-1].pitch if heard else None,
            )
            first += count
        return notes

    def _is_open(self, section: Section, tick: int) -> bool:
        """Whether the artist left the bar at a tick to the composer."""
        rows = self.plan.fixed.melody_of(section.name)
        bar = tick // self.plan.metre.bar_ticks - section.first_bar
        return rows[bar % len(rows)] is None

    def _typed(self, section: Section) -> list[Note]:
        """The artist's own notes, as typed."""
        plan = self.plan
        bar_ticks = plan.metre.bar_ticks
        notes = []
        rows = plan.fixed.melody_of(section.name)
        for bar in range(section.bars):
            row = rows[bar % len(rows)]
            start = (section.first_bar + bar) * bar_ticks
            level = self.level(section, bar)
            for note in row or ():
                size = bar_ticks // note.slots
                begin = plan.feel.warp(note.slot * size)
                end = plan.feel.warp((note.slot + note.length) * size)
                accent = 6 if note.slot == 0 else 0
                velocity = max(24, min(122, round((90 + accent) * level)))
                notes.append(Note(start + begin, max(60, end - begin - 10), note.pitch, velocity))
        return notes

    def _typed_end(self) -> bool:
        """Whether the artist's melody reaches the last chord."""
        plan = self.plan
        section = plan.sections[-1]
        rows = plan.fixed.melody_of(section.name)
        return bool(rows) and bool(rows[(plan.final_bar - section.first_bar) % len(rows)])

    # Bass ---------------------------------------------------------------------------------------

    def _bass(self) -> Part:
        plan, bass = self.plan, self.plan.style.bass
        draw = self.stream("bass")
        chosen = self.patterns(bass.patterns, draw)
        notes: list[Note] = []
        previous = bass.lowest + 7
        for section in plan.sections:
            pattern = chosen[section.kind]
            after = self.following(section)
            for bar in range(section.first_bar, min(section.first_bar + section.bars,
                                                    plan.final_bar + 1)):  # fmt: skip
                row = plan.bars[bar]
                following = plan.bars[bar + 1][0] if bar + 1 < len(plan.bars) else None
                level = self.level(section, bar - section.first_bar)
                until = self.played(bar)
                if until == 0:
                    continue
                new = bass_bar(
                    bass, pattern, bar, row, following, previous,
                    metre=plan.metre.name, feel=plan.feel, gate=plan.mood.gate, level=level,
                    draw=draw, until=until, loose=plan.style.loose // 2,
                    longest=self.ticks(LONGEST_S),
                )  # fmt: skip
                turns = bar == section.first_bar + section.bars - 1 and after is not None
                if turns and bass.runs and not bass.walk and until is None:
                    stop = (bar + 1) * plan.metre.bar_ticks
                    last = row[-1]
                    if following is not None and plan.metre.beats >= 3 and draw.random() < 0.6:
                        run = bass_run(bass, last, following, stop, level=level, draw=draw)
                        begin = run[0].start if run else stop
                        if begin >= last.start:
                            new = [cut(n, begin) for n in new if n.start < begin] + run
                notes += new
                previous = new[-1].pitch if new else previous
        final = plan.bars[-1][-1]
        root = final.root if final.bass is None else final.bass
        pitch = bass.lowest + (root - bass.lowest) % 12
        level = self.level(plan.sections[-1], 0)
        notes = [cut(n, plan.final_tick) for n in notes if n.start < plan.final_tick]
        notes.append(self.final(pitch, round(96 * level)))
        return self.part("bass", "bass", bass.program, bass.level_db, 0.0, monophonic(notes))

    # Accompaniment ------------------------------------------------------------------------------

    def _accompaniment(self, lead: Part) -> list[Part]:
        plan = self.plan
        layers = list(plan.style.layers)
        if colour := plan.mood.colour:
            fitting = tuple(recut(p, "4/4", plan.style.metre) for p in colour.patterns)
            layers.append(replace(colour, patterns=fitting))
        parts: list[Part] = []
        taken = [lead.program]
        for layer in layers:
            program = layer.program
            while program in taken and program in _INSTEAD:
                program = _INSTEAD[program]
                if program == layer.program:
                    break
            taken.append(program)
            make = self._counter if layer.kind == "counter" else self._layer
            parts.append(make(replace(layer, program=program), lead))
        return parts

    def _counter(self, layer: Layer, lead: Part) -> Part:
        plan = self.plan
        draw = self.stream(layer.role)
        notes: list[Note] = []
        for section in plan.sections:
            if self.intensity(section) < layer.enter:
                continue
            stop = min(section.first_bar + section.bars, plan.final_bar)
            bars = plan.bars[section.first_bar : stop]
            if bars:
                level = self.level(section, 0)
                notes += counter_line(
                    lead.notes, bars, layer.centre, metre=plan.metre.name, level=level, draw=draw
                )
        if notes:
            notes = [cut(n, plan.final_tick) for n in notes]
            pitch = nearest(notes[-1].pitch, plan.bars[-1][-1].tones[1:3])
            notes.append(self.final(pitch, round(78 * self.level(plan.sections[-1], 0))))
        return self.part(
            layer.role, "harmony", layer.program, layer.level_db, layer.pan, monophonic(notes)
        )

    def _layer(self, layer: Layer, lead: Part) -> Part:
        plan = self.plan
        draw = self.stream(layer.role)
        chosen = self.patterns(layer.patterns, draw)
        chords = [chord for bar in plan.bars for chord in bar]
        voiced = voicings(layer, chords)
        notes: list[Note] = []
        for section in plan.sections:
            if self.intensity(section) < layer.enter:
                continue
            for bar in range(section.first_bar, min(section.first_bar + section.bars,
                                                    plan.final_bar + 1)):  # fmt: skip
                until = self.played(bar)
                if until == 0:
                    continue
                notes += layer_bar(
                    layer, chosen[section.kind], bar, plan.bars[bar], voiced,
                    metre=plan.metre.name, feel=plan.feel, gate=plan.mood.gate,
                    level=self.level(section, bar - section.first_bar), draw=draw,
                    until=until, loose=plan.style.loose, longest=self.ticks(LONGEST_S),
                )  # fmt: skip
        if notes:
            notes = [cut(n, plan.final_tick) for n in notes if n.start < plan.final_tick]
            velocity = round(80 * self.level(plan.sections[-1], 0))
            strum = layer.kind in ("strum", "arpeggio")
            for index, pitch in enumerate(sorted(voiced[plan.final_tick])):
                final = self.final(pitch, velocity)
                late = min(index * (40 if strum else 0), final.length - 60)
                notes.append(replace(final, start=final.start + late, length=final.length - late))
        return self.part(layer.role, "harmony", layer.program, layer.level_db, layer.pan, notes)

    # Drums --------------------------------------------------------------------------------------

    def _drums(self) -> Part | None:
        plan, drums = self.plan, self.plan.style.drums
        colour = {
            name: recut(pattern, "4/4", plan.metre.name)
            for name, pattern in plan.mood.percussion.items()
        }
        if drums is None:
            if not colour:
                return None
            drums = Drums(0, (dict.fromkeys(colour, "."),), "light", crash=False, level_db=-12.0)
        draw = self.stream("drums")
        grooves = self._grooves(drums, draw)
        notes: list[Note] = []
        for section in plan.sections:
            groove = {**grooves[section.kind], **colour}
            if self.intensity(section) < drums.enter:
                groove = dict(colour)
            notes += self._drummed(section, drums, groove, draw)
        if plan.style.drums is not None:
            level = self.level(plan.sections[-1], 0)
            ring = min(self.last_end - plan.final_tick, 3 * TICKS_PER_BEAT)
            notes += drumming.last_stroke(drums, plan.final_tick, level, draw, ring)
        level_db = drums.level_db + (plan.mood.drums_db if plan.style.drums is not None else 0.0)
        return self.part("drums", "drums", drums.kit, level_db, 0.0, notes, percussion=True)

    def _grooves(self, drums: Drums, draw: random.Random) -> dict[str, Groove]:
        native = self.plan.style.metre
        cut: list[Groove] = [
            {name: recut(p, native, self.plan.metre.name) for name, p in groove.items()}
            for groove in drums.grooves
        ]
        if self.plan.mood.drums_db <= -2.0:
            cut = [drumming.soften(groove) for groove in cut]
        first = draw.randrange(len(cut))
        rest = [groove for i, groove in enumerate(cut) if i != first] or cut
        draw.shuffle(rest)
        verse, chorus, bridge = cut[first], rest[0], rest[-1]
        return {"intro": verse, "verse": verse, "chorus": chorus, "bridge": bridge,
                "ending": chorus}  # fmt: skip

    def _drummed(
        self, section: Section, drums: Drums, groove: Groove, draw: random.Random
    ) -> list[Note]:
        plan = self.plan
        notes: list[Note] = []
        after = self.following(section)
        for bar in range(section.first_bar, min(section.first_bar + section.bars,
                                                plan.final_bar + 1)):  # fmt: skip
            within = bar - section.first_bar
            start = bar * plan.metre.bar_ticks
            level = self.level(section, within)
            until = self.until(bar)
            if until == 0:
                continue
            beats = self._fill_beats(section, after, within, draw)
            playing = plan.style.drums is not None
            leads_home = bar == plan.final_bar - 1 and plan.final_tick % plan.metre.bar_ticks == 0
            if leads_home:
                beats = 2
            if beats and playing and until is None:
                notes += drumming.fill(
                    drums, groove, bar, start, beats, metre=plan.metre.name, feel=plan.feel,
                    level=level, draw=draw, loose=plan.style.loose // 2,
                )  # fmt: skip
            else:
                notes += drumming.bar_of_drums(
                    groove, bar, start, metre=plan.metre.name, feel=plan.feel, level=level,
                    draw=draw, until=until, lag=drums.lag, loose=plan.style.loose // 2,
                )  # fmt: skip
            arrives = within == 0 and bar > 0 and section.kind in ("chorus", "verse", "bridge")
            if drums.crash and playing and arrives and plan.mood.drums_db > -2.0:
                velocity = max(12, min(120, round(98 * level)))
                notes.append(Note(start, 2 * TICKS_PER_BEAT, 49, velocity))
        return notes

    def _fill_beats(
        self, section: Section, after: Section | None, within: int, draw: random.Random
    ) -> int:
        """How many beats of a bar are a fill: more of them before a chorus."""
        beats = self.plan.metre.beats
        if within == section.bars - 1 and after is not None:
            most = beats if after.kind == "chorus" else max(1, beats // 2)
            return draw.choice((max(1, most // 2), most))
        if within % 4 == 3 and draw.random() < 0.7:
            return 1
        return 0
