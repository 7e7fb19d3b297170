"""The lead sheet of a piece: metre, tempo, key, form and chords - what a band agrees on beforehand.

The composer writes one from tags and a seed; the house model is told it frame by frame while it
plays, so that its music keeps time and changes harmony where music does. Melody, accompaniment,
bass lines and drums are the model's own.

A lead sheet is one line of text without spaces, which is also how the model receives it and how a
release records it:

>>> sheet = LeadSheet.parse("A-minor:28:4x4:intro=Am7|Dm7:A=Am7|Dm7-E7|Fmaj7|Am7")
>>> sheet.beats_per_bar, sheet.bars, round(sheet.bpm, 1), sheet.seconds
(4, 6, 107.1, 13.44)
>>> sheet.text
'A-minor:28:4x4:intro=Am7|Dm7:A=Am7|Dm7-E7|Fmaj7|Am7'
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import ConfigError
from studio.music.composer.compose import TEMPI, compose
from studio.music.composer.composition import FRAMES_PER_SECOND, Composition
from studio.music.composer.genres import GENRES
from studio.music.composer.harmony import QUALITIES, SCALES
from studio.music.composer.moods import LEADS, MOODS

__all__ = ["LeadSheet", "SheetChord", "SheetFrames", "lead_sheet_of", "write_lead_sheet"]

PITCH_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
SECTION_NAMES = ("intro", "A", "A'", "B", "B'")
END = len(SECTION_NAMES)
"""Section number of the last bar, on which a piece comes home."""

_SUFFIXES = {
    name.removeprefix("M") if name != "m" else "m": intervals
    for name, intervals in QUALITIES.items()
}
_SUFFIX_OF = {intervals: suffix for suffix, intervals in _SUFFIXES.items()}
_CHORD = re.compile(r"^([A-G]b?)(.*)$")
_HEAD = re.compile(r"^([A-G]b?)-([a-z-]+)$")
_GRIDS = ((4, 4), (4, 3), (3, 4), (3, 3))  # (beats in a bar, ticks in a beat)
MAX_TICKS, MAX_TICK_FRAMES, MAX_SECTION_BARS = 16, 24, 12


@dataclass(frozen=True, slots=True)
class SheetChord:
    """A chord by name (``Am7``): root and tones as pitch classes, the root first."""

    name: str
    tones: tuple[int, ...]

    @classmethod
    def parse(cls, name: str) -> SheetChord:
        """Raises :class:`ConfigError` for anything that is no chord."""
        match = _CHORD.match(name)
        if match is None or match[1] not in PITCH_NAMES or match[2] not in _SUFFIXES:
            raise ConfigError(f"{name!r} is no chord of a lead sheet")
        root = PITCH_NAMES.index(match[1])
        return cls(name, tuple((root + interval) % 12 for interval in _SUFFIXES[match[2]]))

    @classmethod
    def of_tones(cls, tones: Sequence[int]) -> SheetChord:
        intervals = tuple((tone - tones[0]) % 12 for tone in tones)
        return cls(PITCH_NAMES[tones[0]] + _SUFFIX_OF[intervals], tuple(tones))

    @property
    def root(self) -> int:
        return self.tones[0]


Bar = tuple[SheetChord, ...]


@dataclass(frozen=True, slots=True)
class SheetFrames:
    """A stretch of a lead sheet on the codec's grid, one row per frame of 20 ms.

    ``clock`` (frames, 5): metre and tick in the bar, frame in the tick, frames per tick, bar in
    the section, section. ``pitches`` (frames, 48): chord tones, root, next chord's root, scale of
    the key, each as twelve zeros and ones.
    """

    clock: NDArray[np.int64]
    pitches: NDArray[np.float32]


CLOCK_SIZES = (
    len(_GRIDS) * MAX_TICKS,
    MAX_TICK_FRAMES,
    MAX_TICK_FRAMES,
    MAX_SECTION_BARS,
    END + 1,
)
"""How many values each column of :attr:`SheetFrames.clock` can take."""

PITCHES = 48


@dataclass(frozen=True, slots=True)
class LeadSheet:
    """Key, tempo, metre, and the chords of every bar by section. Hashable; written by the composer.

    ``beat_frames`` is the length of a beat in frames of 20 ms.
    """

    tonic: int
    mode: str
    beat_frames: int
    beats_per_bar: int
    ticks_per_beat: int
    sections: tuple[tuple[str, tuple[Bar, ...]], ...]

    def __post_init__(self) -> None:
        if (self.beats_per_bar, self.ticks_per_beat) not in _GRIDS:
            raise ConfigError(f"no metre of {self.beats_per_bar} beats by {self.ticks_per_beat}")
        ticks, rest = divmod(self.beat_frames, self.ticks_per_beat)
        if rest or not 1 <= ticks < MAX_TICK_FRAMES:
            raise ConfigError(f"a beat of {self.beat_frames} frames is not on the grid")
        if self.mode not in SCALES:
            raise ConfigError(f"unknown mode {self.mode!r}")
        if not self.sections:
            raise ConfigError("a lead sheet has at least one section")
        for name, bars in self.sections:
            if name not in SECTION_NAMES or not 1 <= len(bars) <= MAX_SECTION_BARS:
                raise ConfigError(f"section {name!r} of {len(bars)} bars cannot be")
            if any(len(bar) not in (1, 2) for bar in bars):
                raise ConfigError("a bar has one chord or two")

    @classmethod
    def parse(cls, text: str) -> LeadSheet:
        """Read :attr:`text`. Raises :class:`ConfigError` for anything else."""
        return _parse(text)

    @property
    def text(self) -> str:
        head = (
            f"{PITCH_NAMES[self.tonic]}-{self.mode}:{self.beat_frames}:"
            f"{self.beats_per_bar}x{self.ticks_per_beat}"
        )
        parts = [
            f"{name}=" + "|".join("-".join(chord.name for chord in bar) for bar in bars)
            for name, bars in self.sections
        ]
        return ":".join([head, *parts])

    @property
    def words(self) -> str:
        """Key, tempo and metre, for a person to read.

        >>> LeadSheet.parse("A-minor:27:4x3:A=Am7").words
        'A minor, 111 beats a minute, 4/4 with a swing'
        """
        swing = " with a swing" if self.ticks_per_beat == 3 else ""
        mode = self.mode.replace("-", " ")
        return (
            f"{PITCH_NAMES[self.tonic]} {mode}, {self.bpm:.0f} beats a minute, "
            f"{self.beats_per_bar}/4{swing}"
        )

    @property
    def bpm(self) -> float:
        return 60 * FRAMES_PER_SECOND / self.beat_frames

    @property
    def bars(self) -> int:
        return sum(len(bars) for _, bars in self.sections)

    @property
    def bar_frames(self) -> int:
        return self.beats_per_bar * self.beat_frames

    @property
    def seconds(self) -> float:
        return self.bars * self.bar_frames / FRAMES_PER_SECOND

    def frames(self, start: int, count: int) -> SheetFrames:
        """`count` frames from frame `start` on; after its last bar a piece takes up again.

        It then goes on after the introduction.
        """
        whole = _expand(self)
        total = len(whole.clock)
        intro = sum(len(bars) for name, bars in self.sections if name == "intro") * self.bar_frames
        index = np.arange(start, start + count)
        index = np.where(index < total, index, intro + (index - total) % (total - intro))
        return SheetFrames(whole.clock[index], whole.pitches[index])


def _parse_bar(text: str) -> Bar:
    return tuple(SheetChord.parse(chord) for chord in text.split("-"))


@lru_cache(maxsize=4096)
def _parse(text: str) -> LeadSheet:
    try:
        key, beat, metre, *sections = text.split(":")
        head = _HEAD.match(key)
        beats, ticks = metre.split("x")
        if head is None or head[1] not in PITCH_NAMES:
            raise ValueError("its key cannot be read")
        parsed = []
        for section in sections:
            name, bars = section.split("=")
            parsed.append((name, tuple(map(_parse_bar, bars.split("|")))))
        tonic = PITCH_NAMES.index(head[1])
        return LeadSheet(tonic, head[2], int(beat), int(beats), int(ticks), tuple(parsed))
    except ValueError as exc:
        raise ConfigError(f"{text[:80]!r} is no lead sheet: {exc}") from exc


@lru_cache(maxsize=4096)
def _expand(sheet: LeadSheet) -> SheetFrames:
    """The whole piece, frame by frame."""
    bar_frames, beats = sheet.bar_frames, sheet.beats_per_bar
    tick_frames = sheet.beat_frames // sheet.ticks_per_beat
    total = sheet.bars * bar_frames
    in_bar = np.arange(total) % bar_frames
    grid = _GRIDS.index((beats, sheet.ticks_per_beat)) * MAX_TICKS
    clock = np.zeros((total, len(CLOCK_SIZES)), np.int64)
    clock[:, 0] = grid + in_bar // tick_frames
    clock[:, 1] = in_bar % tick_frames
    clock[:, 2] = tick_frames
    chords: list[tuple[int, SheetChord]] = []
    start = 0
    for name, bars in sheet.sections:
        for number, bar in enumerate(bars):
            clock[start : start + bar_frames, 3] = number
            clock[start : start + bar_frames, 4] = SECTION_NAMES.index(name)
            first = (beats - beats // 2) * sheet.beat_frames
            chords += [(start + place, c) for place, c in zip((0, first), bar, strict=False)]
            start += bar_frames
    clock[total - bar_frames :, 4] = END
    pitches = np.zeros((total, PITCHES), np.float32)
    ends = [place for place, _ in chords[1:]] + [total]
    following = [chord for _, chord in chords[1:]] + [chords[-1][1]]
    for (place, chord), end, after in zip(chords, ends, following, strict=True):
        pitches[place:end, list(chord.tones)] = 1
        pitches[place:end, 12 + chord.root] = 1
        pitches[place:end, 24 + after.root] = 1
    pitches[:, [36 + (sheet.tonic + degree) % 12 for degree in SCALES[sheet.mode]]] = 1
    return SheetFrames(clock, pitches)


def write_lead_sheet(seed: int, tags: Iterable[str]) -> LeadSheet:
    """The lead sheet the composer writes for these tags and this seed.

    Where no tag says genre, mood or tempo (or the composer does not know it), it draws one: for
    its harmony, its mode and its beat alone, nothing else of it reaches the music.

    >>> write_lead_sheet(3, ["genre/waltz", "mood/calm", "tempo/slow"]).beats_per_bar
    3
    """
    draw = random.Random(f"{seed}/lead sheet")
    # Drawn in any case, so that naming one thing does not change what is drawn for another.
    names = {
        "genre": draw.choice(list(GENRES)),
        "mood": draw.choice(list(MOODS)),
        "tempo": draw.choice(TEMPI),
        "lead": next(iter(LEADS)),  # no part of a lead sheet depends on it
    }
    known: dict[str, Collection[str]] = {"genre": GENRES, "mood": MOODS, "tempo": TEMPI}
    for tag in tags:
        kind, _, name = tag.partition("/")
        if name in known.get(kind, ()):
            names[kind] = name
    return lead_sheet_of(compose(seed=seed, **names))


def lead_sheet_of(piece: Composition) -> LeadSheet:
    """The lead sheet of a composed piece."""
    starts = {chord.start: SheetChord.of_tones(chord.tones) for chord in piece.chords}
    half = (piece.beats_per_bar - piece.beats_per_bar // 2) * piece.beat_frames
    sections = []
    for section in piece.sections:
        bars = []
        for bar in range(section.first_bar, section.first_bar + section.bars):
            places = (bar * piece.bar_frames, bar * piece.bar_frames + half)
            bars.append(tuple(starts[place] for place in places if place in starts))
        sections.append((section.name, tuple(bars)))
    return LeadSheet(
        piece.tonic,
        piece.mode,
        piece.beat_frames,
        piece.beats_per_bar,
        piece.ticks_per_beat,
        tuple(sections),
    )
