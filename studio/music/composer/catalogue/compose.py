"""From four tags and a seed to a whole piece: form, harmony, then every part.

>>> piece = compose(seed=1, genre="waltz", mood="happy", lead="flute", tempo="medium")
>>> piece.beats_per_bar, 25 < piece.duration_s < 45
(3, True)
>>> piece == compose(seed=1, genre="waltz", mood="happy", lead="flute", tempo="medium")
True
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from studio.core.errors import HouseError
from studio.music.composer.catalogue import accompaniment as acc
from studio.music.composer.catalogue.genres import GENRES
from studio.music.composer.catalogue.genres.idiom import Drums, Genre, Groove, Layer
from studio.music.composer.catalogue.melody import MelodyWriter, Motif
from studio.music.composer.catalogue.moods import LEADS, MOODS, Lead, Mood
from studio.music.composer.notation.composition import (
    FRAMES_PER_SECOND,
    Chord,
    Composition,
    Mix,
    Note,
    Part,
    Section,
)
from studio.music.composer.notation.harmony import (
    nearest,
    parse_progression,
    parse_roman,
    scale_for,
    voice,
)

__all__ = ["TEMPI", "compose"]

TEMPI = ("slow", "medium", "fast")
"""Tempo bands in beats a minute: slow 57 to 69, medium 90 to 108, fast 125 to 188. No beat length
of one band is twice one of another, so that an octave error cannot hide a wrong tempo; the one
exception is drum and bass, whose fastest beat (188) is half of a medium one (94)."""

_TARGET_S = 32.0
_FORMS = {
    2: ("A", "B"),
    3: ("A", "B", "A'"),
    4: ("A", "A'", "B", "A'"),
    5: ("A", "A'", "B", "A", "A'"),
    6: ("A", "A'", "B", "B'", "A", "A'"),
    7: ("A", "A'", "B", "B'", "A", "B", "A'"),
}
_SECTION_LEVEL = {"intro": 0.84, "A": 0.94, "A'": 0.97, "B": 1.04, "B'": 1.06}
_COLOURS: dict[str, Layer] = {
    "warm-pad": Layer("warm-pad", 89, "pad", voices=3, centre=64, level_db=-8.0),
    "low-drone": Layer("low-drone", 44, "pad", voices=2, centre=45, level_db=-2.0),
    "brass-stabs": Layer(
        "brass-stabs", 61, "hits", ("X..x..x.........", "X.....x...x....."), 3, 67, 2, -8.0
    ),
    "glockenspiel": Layer(
        "glockenspiel",
        9,
        "arpeggio",
        ("..0...2...1...2.", "2...1...2...0..."),
        3,
        84,
        level_db=-4.0,
    ),
    "slow-strings": Layer("slow-strings", 49, "pad", voices=2, centre=67, level_db=-7.0),
}
_RHYTHM_COLOUR = {"happy": "..x...x...x...x.", "energetic": "xoxoxoxoxoxoxoxo"}


def compose(*, seed: int, genre: str, mood: str, lead: str, tempo: str) -> Composition:
    """Compose one piece of about 32 s.

    Names are those of the tags without their kind. Raises :class:`HouseError` for a name that the
    composer does not know.
    """
    for name, known in ((genre, GENRES), (mood, MOODS), (lead, LEADS), (tempo, TEMPI)):
        if name not in known:
            raise HouseError(f"the composer does not know {name!r}; it knows {', '.join(known)}")
    return _Composer(seed, GENRES[genre], MOODS[mood], LEADS[lead], tempo).compose()


class _Composer:
    def __init__(self, seed: int, genre: Genre, mood: Mood, lead: Lead, tempo: str) -> None:
        self.seed, self.genre, self.mood, self.lead, self.tempo = seed, genre, mood, lead, tempo
        choose = self._stream("plan")
        self.beat_frames = choose.choice(genre.beats[tempo])
        self.grid = acc.Grid(
            self.beat_frames // genre.ticks_per_beat,
            genre.ticks_per_beat,
            genre.ticks_per_beat * genre.beats_per_bar,
        )
        self.tonic = choose.choice(genre.keys)
        self.mode = genre.major if mood.major else genre.minor
        self.form = self._plan_form()
        self.bars = self.form[-1].first_bar + self.form[-1].bars
        self.chords = self._plan_chords(choose)

    def _stream(self, purpose: str) -> random.Random:
        """Its own random stream for each purpose, so that parts do not depend on each other."""
        return random.Random(f"{self.seed}/{purpose}")

    # Form and harmony ------------------------------------------------------------------------

    def _plan_form(self) -> tuple[Section, ...]:
        bar_s = self.grid.bar_frames / FRAMES_PER_SECOND
        if self.genre.name == "blues":
            # Choruses of twelve bars; only the fast tempi have time for two.
            names = ("A",) if 24 * bar_s > 52 else ("A", "B")
            return tuple(Section(name, 12 * i, 12) for i, name in enumerate(names))
        phrases = max(2, round(_TARGET_S / (4 * bar_s)))
        intro = 0
        if phrases >= 4:  # there is time for two bars of introduction
            intro, phrases = 2, max(3, round((_TARGET_S - 2 * bar_s) / (4 * bar_s)))
        phrases = min(phrases, max(_FORMS))
        sections = [Section("intro", 0, intro)] if intro else []
        sections += [Section(name, intro + 4 * i, 4) for i, name in enumerate(_FORMS[phrases])]
        return tuple(sections)

    def _plan_chords(self, choose: random.Random) -> list[list[Chord]]:
        genre, major = self.genre, self.mood.major
        a = parse_progression(choose.choice(genre.a_major if major else genre.a_minor))
        b = parse_progression(choose.choice(genre.b_major if major else genre.b_minor))
        bars = []
        for section in self.form:
            source = b if section.name.startswith("B") else a
            bars += [source[i % len(source)] for i in range(section.bars)]
        # The piece ends on a cadence: the genre's dominant in the last half bar but one, then home.
        tonic = parse_roman(("I" if major else "i") + self._tonic_colour())
        dominant = parse_roman(genre.cadence[0 if major else 1])
        bars[-2] = [bars[-2][0], dominant]
        bars[-1] = [tonic]
        chords = []
        for index, bar in enumerate(bars):
            start = index * self.grid.bar_frames
            beats = (
                [genre.beats_per_bar]
                if len(bar) == 1
                else [genre.beats_per_bar - genre.beats_per_bar // 2, genre.beats_per_bar // 2]
            )
            row = []
            for roman, length in zip(bar, beats, strict=True):
                tones = roman.tones(self.tonic)
                scale = scale_for(self.tonic, self.mode, tones)
                row.append(Chord(start, length * self.beat_frames, roman.symbol, tones, scale))
                start += length * self.beat_frames
            chords.append(row)
        return chords

    def _tonic_colour(self) -> str:
        """The added notes that this genre's final chord takes: a sixth in jazz, none in baroque."""
        name = self.genre.name
        if name == "jazz":
            return "6"
        if name in ("bossa-nova", "lo-fi", "ambient", "drum-and-bass"):
            return "maj9" if self.mood.major else "9"
        return "7" if name in ("blues", "funk") else ""

    # Parts ------------------------------------------------------------------------------------

    def compose(self) -> Composition:
        genre = self.genre
        lead = self._lead_part()
        parts = [lead, self._bass_part()]
        parts += [self._layer_part(layer, lead) for layer in genre.layers]
        parts.append(self._layer_part(_fit(_COLOURS[self.mood.colour], self.grid), lead))
        drums = self._drum_part()
        if drums is not None:
            parts.append(drums)
        mix = Mix(
            genre.brightness_db + self.mood.brightness_db,
            round(max(0.0, genre.reverb + self.mood.reverb), 3),
        )
        return Composition(
            seed=self.seed,
            genre=genre.name,
            mood=self.mood.name,
            lead=self.lead.name,
            tempo=self.tempo,
            tonic=self.tonic,
            mode=self.mode,
            beat_frames=self.beat_frames,
            ticks_per_beat=genre.ticks_per_beat,
            beats_per_bar=genre.beats_per_bar,
            bars=self.bars,
            sections=self.form,
            chords=tuple(chord for bar in self.chords for chord in bar),
            parts=tuple(part for part in parts if part.notes),
            mix=mix,
        )

    def _level(self, section: Section) -> float:
        return self.mood.velocity * _SECTION_LEVEL[section.name]

    def _lead_part(self) -> Part:
        random_ = self._stream("lead")
        writer = MelodyWriter(
            random_,
            style=self.genre.rhythm,
            density=self.mood.density,
            centre=self.lead.centre + self.mood.register,
            ticks_per_bar=self.grid.ticks_per_bar,
            ticks_per_beat=self.grid.ticks_per_beat,
            tick_frames=self.grid.tick_frames,
            gate=self.mood.gate,
        )
        motifs: dict[str, Motif] = {name: writer.motif() for name in ("A", "B")}
        notes: list[Note] = []
        for section in self.form:
            level = self._level(section)
            key = "B" if section.name.startswith("B") else "A"
            if section.name == "intro":
                # A pickup in the second bar: the lead is heard within the first seconds.
                phrase = writer.phrase(motifs["A"], closes=False)
                notes += writer.write(phrase, self.chords[1:2], level)
                continue
            for first in range(section.first_bar, section.first_bar + section.bars, 4):
                last = first + 4 >= self.bars
                closes = last or section.name.endswith("'")
                phrase = writer.phrase(motifs[key], closes=closes, lift=3 if key == "B" else 0)
                notes += writer.write(phrase, self.chords[first : first + 4], level)
        notes = self._hold_last(notes)
        program = self.genre.lead_programs.get(self.lead.name, self.lead.program)
        return Part("lead", program, self.lead.level_db, _tidy(notes))

    def _hold_last(self, notes: list[Note]) -> list[Note]:
        """The last bar is one long chord tone: the piece comes home."""
        start = (self.bars - 1) * self.grid.bar_frames
        final = [n for n in notes if n.start >= start]
        if not final:
            return notes
        pitch = nearest(final[-1].pitch, self.chords[-1][0].tones[:1])
        kept = [n for n in notes if n.start < start]
        return [*kept, Note(start, self.grid.bar_frames, pitch, final[0].velocity)]

    def _bass_part(self) -> Part:
        random_ = self._stream("bass")
        bass = self.genre.bass
        main = random_.choice(bass.patterns) if bass.patterns else ""
        other = random_.choice(bass.patterns) if bass.patterns else ""
        notes: list[Note] = []
        previous = bass.lowest + 7
        for section in self.form:
            pattern = other if section.name.startswith("B") else main
            for bar in range(section.first_bar, section.first_bar + section.bars):
                following = self.chords[bar + 1][0] if bar + 1 < self.bars else None
                row = self.chords[bar]
                if bar == self.bars - 1:
                    root = bass.lowest + (row[0].root - bass.lowest) % 12
                    new = [
                        Note(
                            row[0].start, self.grid.bar_frames, root, round(92 * self.mood.velocity)
                        )
                    ]
                else:
                    new = acc.bass_line(
                        bass,
                        pattern,
                        row,
                        following,
                        self.grid,
                        self.mood.gate,
                        self._level(section),
                        random_,
                        previous,
                    )
                if new:
                    previous = new[-1].pitch
                notes += new
        return Part("bass", bass.program, bass.level_db, _tidy(notes))

    def _layer_part(self, layer: Layer, lead: Part) -> Part:
        random_ = self._stream(layer.role)
        main = random_.choice(layer.patterns) if layer.patterns else ""
        other = random_.choice(layer.patterns) if layer.patterns else ""
        voicings = self._voicings(layer)
        notes: list[Note] = []
        for section in self.form:
            level = self._level(section)
            pattern = other if section.name.startswith("B") else main
            for bar in range(section.first_bar, section.first_bar + section.bars):
                row = self.chords[bar]
                if bar == self.bars - 1:
                    notes += acc.pad(row, voicings, level, random_)
                elif layer.kind == "hits":
                    notes += acc.hits(
                        layer, pattern, row, voicings, self.grid, self.mood.gate, level, random_
                    )
                elif layer.kind == "arpeggio":
                    notes += acc.arpeggio(pattern, row, voicings, self.grid, level, random_)
                elif layer.kind == "counter":
                    notes += acc.counter_line(
                        lead.notes, row, layer.centre, self.grid, level, random_
                    )
                else:
                    notes += acc.pad(row, voicings, level, random_)
        return Part(layer.role, self._program(layer), layer.level_db, _tidy(notes))

    def _program(self, layer: Layer) -> int:
        """Comping steps aside where the lead is the same instrument."""
        lead = self.genre.lead_programs.get(self.lead.name, self.lead.program)
        return (
            {0: 26, 81: 90, 24: 0}.get(layer.program, layer.program)
            if layer.program == lead
            else layer.program
        )

    def _voicings(self, layer: Layer) -> dict[int, tuple[int, ...]]:
        voicings: dict[int, tuple[int, ...]] = {}
        previous: tuple[int, ...] | None = None
        for bar in self.chords:
            for chord in bar:
                tones = chord.tones
                if layer.program == 30:
                    tones = (
                        chord.tones[0],
                        chord.tones[2] if len(chord.tones) > 2 else chord.tones[1],
                    )
                    root = layer.centre - 10 + (chord.root - layer.centre + 10) % 12
                    previous = (root, root + (tones[1] - tones[0]) % 12, root + 12)
                elif layer.role == "low-drone":
                    root = layer.centre - 6 + (chord.root - layer.centre + 6) % 12
                    previous = (root, root + 12)
                else:
                    previous = voice(tones, layer.voices, layer.centre, previous)
                voicings[chord.start] = previous
        return voicings

    def _drum_part(self) -> Part | None:
        drums = self.genre.drums
        colour = _RHYTHM_COLOUR.get(self.mood.name)
        if drums is None and colour is None:
            return None
        random_ = self._stream("drums")
        notes: list[Note] = []
        lag = 1 if self.genre.name == "lo-fi" else 0
        for section in self.form:
            level = self._level(section)
            for bar in range(section.first_bar, section.first_bar + section.bars):
                start = bar * self.grid.bar_frames
                if bar == self.bars - 1:
                    if drums is not None:
                        ending = {"kick": "X", "crash": "x"} if drums.crash else {"kick": "x"}
                        notes += acc.drum_bar(ending, start, self.grid, level, random_)
                    continue
                groove = self._groove(drums, section, bar, random_) if drums is not None else {}
                if colour is not None:
                    groove = {**groove, "tambourine": _fit_pattern(colour, self.grid)}
                notes += acc.drum_bar(groove, start, self.grid, level, random_, lag)
        kit, level_db = (
            (0, -12.0) if drums is None else (drums.kit, drums.level_db + self.mood.drums_db)
        )
        return Part("drums", kit, level_db, _tidy(notes), percussion=True)

    def _groove(self, drums: Drums, section: Section, bar: int, random_: random.Random) -> Groove:
        """The groove of a bar: a fill ends each phrase of four, a crash opens a new section."""
        within = bar - section.first_bar
        groove = dict(drums.b if section.name.startswith("B") else drums.a)
        if within % 4 == 3 or (section.name == "intro" and within == section.bars - 1):
            fill = random_.choice(drums.fills)
            half = self.grid.ticks_per_bar // 2
            # Time-keeping goes on until the fill takes over in the second half of the bar.
            kept = {name: pattern[:half] for name, pattern in groove.items() if name not in fill}
            groove = {**kept, **fill}
        if drums.crash and within == 0 and bar > 0 and section.name in ("A", "B"):
            groove["crash"] = "x"
        if self.mood.name == "calm" and "snare" in groove:
            # Side stick instead of snare: the backbeat stays, its weight goes.
            snare = groove.pop("snare")
            groove["stick"] = snare.replace("o", ".") if "stick" not in groove else groove["stick"]
        return groove


def _fit_pattern(pattern: str, grid: acc.Grid) -> str:
    """A pattern of four beats of sixteenths recut for three beats, or for beats of triplets.

    >>> _fit_pattern("x.xxx...x.x.x...", acc.Grid(10, 3, 12))
    'x.xx..x.xx..'
    """
    if grid.ticks_per_beat == 3:
        beats = [pattern[i : i + 4] for i in range(0, 16, 4)]
        # The off-beat eighth, or else the last sixteenth, becomes the last triplet.
        return "".join(b[0] + b[1] + (b[3] if b[2] == "." else b[2]) for b in beats)
    return pattern[: grid.ticks_per_bar]


def _fit(layer: Layer, grid: acc.Grid) -> Layer:
    return replace(layer, patterns=tuple(_fit_pattern(p, grid) for p in layer.patterns))


def _tidy(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Sort, and end a note where its own pitch is struck again, so that no note is left hanging."""
    ordered = sorted(notes, key=lambda n: (n.start, n.pitch, n.length))
    following: dict[int, int] = {}
    kept: list[Note] = []
    for note in reversed(ordered):
        limit = following.get(note.pitch)
        if limit == note.start:
            continue
        length = note.length if limit is None else min(note.length, limit - note.start)
        following[note.pitch] = note.start
        kept.append(replace(note, length=length))
    return tuple(reversed(kept))
