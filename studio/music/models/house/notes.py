"""A score as the stem codec sees it: notes in seconds, and features on the frame grid.

The codec works at 50 frames a second and 48 kHz, so a frame has 960 samples. Notes start at any
sample. :class:`TimedScore` holds the notes of each stem; :func:`score_features` puts them on the
frame grid for the networks.

>>> score = TimedScore.of({"bass": [TimedNote(0.01, 0.5, 40, 127, 33)]}, duration_s=1.0)
>>> score.frames, score.samples
(50, 48000)
>>> features = score_features(score)
>>> features.roll.shape
(4, 50, 128)
>>> float(features.roll[1, 0, 40]), float(features.roll[1, 1, 40])  # half of frame 0 sounds
(0.5, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import ConfigError

__all__ = [
    "FRAME",
    "FRAME_RATE",
    "PROGRAM_SLOTS",
    "RATE",
    "STEMS",
    "ScoreFeatures",
    "TimedNote",
    "TimedScore",
    "Voice",
    "level_gain",
    "pan_gains",
    "score_features",
    "voices",
]

RATE = 48_000
"""Sample rate in Hz."""

FRAME_RATE = 50
"""Frames per second."""

FRAME = RATE // FRAME_RATE
"""Samples of a frame."""

STEMS = ("drums", "bass", "lead", "harmony")
"""Names of the stems, in the order of every array with a stem axis."""

PROGRAM_SLOTS = 4
"""Programs of a stem that the networks are told; more share the last slot's place in line."""

# fmt: off
PROGRAM_DB = (
    -4.4, -8.5, -4.9, -8.8, 2.2, -3.8, -11, -2.7, -6.2, -5.5, -2.6, -5.2, -5.6, -12, -4.4, -11.2,
    -1.4, 2.5, 2, 2, 1.8, -2, -1, -3.4, -1.6, -10.3, -3.6, -3.6, -6.8, 0.1, -1.7, 3.4,
    2.8, 2.3, 2.5, 2.3, 0.2, -2, -4, 9.7, 3.3, 3.3, 2.3, 3, 2.7, -4.5, -3.7, -12,
    1.6, 4.2, 4.9, 5.6, 2.3, 1.5, 0.8, -4.9, 4, 10, 10, 5.6, 2.9, 4.5, 0.6, 0.5,
    2.4, 5.1, -0.2, 0.2, 4, 4.4, 5.8, 0.7, 5.4, 4.6, 6.1, 4.5, 5, 3.3, 10, 9.3,
    5.4, 3.7, -2.4, 3.8, 2, 7.7, -4.3, 0.7, -2.6, -0.6, -2.9, 5.1, 1.2, 7.3, 1.1, 4.1,
    1.4, -3.1, -8, -2.8, 0.7, 4.4, -1.7, -2.3, -7.5, -6.4, -12, -6.2, -9.3, 6.3, 2.9, 3.3,
    -5.1, -12, -7.5, -12, -5.7, -10.8, 0.7, -1.3, -5.2, -4.9, -3.2, -1.1, 2.1, -6.4, 5.4, 0.3,
)
# fmt: on
"""Loudness of the soundfont's 128 programs in the register they are used in, in dB about the mean.

Three quarters of it are taken back, so that a part's level means about the same for every
instrument; all of it would exaggerate the attack of those that decay.
"""

NO_PROGRAM = 256
"""Fills the program slots that a stem does not use."""


class ComposedPart(Protocol):
    """What is read of a part of the composer's score."""

    @property
    def stem(self) -> str: ...
    @property
    def program(self) -> int: ...
    @property
    def level_db(self) -> float: ...
    @property
    def pan(self) -> float: ...
    @property
    def percussion(self) -> bool: ...
    @property
    def notes(self) -> Sequence[Any]: ...


class ComposedScore(Protocol):
    """What is read of the composer's score."""

    @property
    def duration_s(self) -> float: ...
    @property
    def parts(self) -> Sequence[ComposedPart]: ...
    def seconds(self, tick: float) -> float: ...


@dataclass(frozen=True, slots=True)
class TimedNote:
    """One note in seconds.

    ``program`` counts from 0 (General MIDI); with ``percussion`` it names a drum kit and ``pitch``
    a drum sound. ``level_db`` is the part's level, 0 being a lead; ``pan`` goes from -1 to 1.
    """

    start_s: float
    length_s: float
    pitch: int
    velocity: int
    program: int
    percussion: bool = False
    level_db: float = 0.0
    pan: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise ConfigError(f"a note cannot start at {self.start_s} s")
        if not (math.isfinite(self.length_s) and self.length_s > 0):
            raise ConfigError(f"a note cannot last {self.length_s} s")
        for name in ("pitch", "velocity", "program"):
            if not 0 <= getattr(self, name) <= 127:
                raise ConfigError(f"a note's {name} must be 0 to 127, not {getattr(self, name)}")
        if not -1 <= self.pan <= 1:
            raise ConfigError(f"pan must be -1 to 1, not {self.pan}")

    @property
    def onset(self) -> int:
        """The first sample of the note."""
        return round(self.start_s * RATE)

    @property
    def end_s(self) -> float:
        return self.start_s + self.length_s


def level_gain(note: TimedNote) -> float:
    """Linear gain of a note's part: its level, less three quarters of the program's own level."""
    trim = 0.0 if note.percussion else -0.75 * PROGRAM_DB[note.program]
    return float(10 ** ((note.level_db + trim) / 20))


@dataclass(frozen=True, slots=True)
class Voice:
    """One note as it is played; times in samples.

    ``length`` is the time to the note-off, at least one block of the synthesiser. ``cut`` is the
    time after which a drum of the same exclusive class stops this one (an open hat closed), or
    None.
    """

    note: TimedNote
    onset: int
    length: int
    cut: int | None = None


_BLOCK = 64
_EXCLUSIVE = {
    key: group for group in ((42, 44, 46), (71, 72), (73, 74), (78, 79), (80, 81)) for key in group
}


def voices(notes: Iterable[TimedNote]) -> tuple[Voice, ...]:
    """The notes of a stem as they are played, sorted by onset.

    A note ends at the latest where its part strikes the same key again.
    """
    return _voices(tuple(notes))


@lru_cache(maxsize=32)
def _voices(notes: tuple[TimedNote, ...]) -> tuple[Voice, ...]:
    ordered = sorted(notes, key=lambda n: (n.onset, n.program, n.pitch))
    following: dict[tuple[bool, int, int], int] = {}
    closing: dict[tuple[int, tuple[int, ...]], int] = {}
    out = []
    for note in reversed(ordered):
        key = (note.percussion, note.program, note.pitch)
        length = round(note.length_s * RATE)
        if key in following:
            length = min(length, following[key] - note.onset)
        following[key] = note.onset
        cut = None
        group = _EXCLUSIVE.get(note.pitch) if note.percussion else None
        if group is not None:
            cut = closing.get((note.program, group))
            cut = None if cut is None or cut <= note.onset else cut - note.onset
            closing[note.program, group] = note.onset
        out.append(Voice(note, note.onset, max(_BLOCK, round(length / _BLOCK) * _BLOCK), cut))
    return tuple(reversed(out))


CUT_DB_PER_S = 112.0
"""How fast a drum stops that another drum of its class cuts (measured, FluidSynth 2.3.1)."""


def pan_gains(pan: float) -> tuple[float, float]:
    """Left and right gains of constant power; (1, 1) in the middle.

    >>> pan_gains(0.0), pan_gains(-1.0)
    ((1.0, 1.0), (1.4142, 0.0))
    """
    angle = (pan + 1) * math.pi / 4
    gains = (round(math.sqrt(2) * f(angle), 4) + 0.0 for f in (math.cos, math.sin))
    left, right = gains
    return left, right


@dataclass(frozen=True, slots=True)
class TimedScore:
    """The notes of every stem, sorted by start, and the length of the piece in seconds."""

    stems: tuple[tuple[TimedNote, ...], ...]
    duration_s: float

    def __post_init__(self) -> None:
        if len(self.stems) != len(STEMS):
            raise ConfigError(f"a score has {len(STEMS)} stems, not {len(self.stems)}")
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ConfigError(f"a score cannot last {self.duration_s} s")

    @classmethod
    def of(cls, stems: Mapping[str, Iterable[TimedNote]], *, duration_s: float) -> TimedScore:
        """A score from notes by name of the stem. Raises :class:`ConfigError`."""
        if unknown := set(stems) - set(STEMS):
            raise ConfigError(f"unknown stem {', '.join(sorted(unknown))}")
        order = [
            tuple(sorted(stems.get(name, ()), key=lambda n: (n.start_s, n.program, n.pitch)))
            for name in STEMS
        ]
        return cls(tuple(order), duration_s)

    @classmethod
    def from_score(cls, score: ComposedScore) -> TimedScore:
        """The notes of a score of the composer."""
        stems: dict[str, list[TimedNote]] = {name: [] for name in STEMS}
        for part in score.parts:
            for note in part.notes:
                start = score.seconds(note.start)
                timed = TimedNote(
                    start,
                    score.seconds(note.start + note.length) - start,
                    note.pitch,
                    note.velocity,
                    part.program,
                    part.percussion,
                    part.level_db,
                    part.pan,
                )
                stems[part.stem].append(timed)
        return cls.of(stems, duration_s=score.duration_s)

    @property
    def frames(self) -> int:
        """Whole frames that hold the piece."""
        return math.ceil(round(self.duration_s * FRAME_RATE, 6))

    @property
    def samples(self) -> int:
        return self.frames * FRAME

    def only(self, *names: str) -> TimedScore:
        """The same piece with the notes of the named stems alone."""
        kept = (notes if n in names else () for n, notes in zip(STEMS, self.stems, strict=True))
        return replace(self, stems=tuple(kept))


@dataclass(frozen=True, slots=True)
class ScoreFeatures:
    """What the networks are told of a score, per stem and frame.

    * ``roll`` (stems, frames, 128): velocity / 127 of the sounding note, times the share of the
      frame that it sounds, so that starts and ends within a frame are seen;
    * ``onset`` (stems, frames, 128): velocity / 127 where a note starts in the frame;
    * ``place`` (stems, frames): where in the frame the first of these starts, 0 to 1;
    * ``programs`` (stems, 4): programs of the stem, kits from 128 upwards, 256 for none.
    """

    roll: NDArray[np.float32]
    onset: NDArray[np.float32]
    place: NDArray[np.float32]
    programs: NDArray[np.int64]

    @property
    def frames(self) -> int:
        return int(self.roll.shape[1])

    def window(self, first: int, last: int) -> ScoreFeatures:
        """Frames `first` to `last` (exclusive)."""
        part = slice(first, last)
        return replace(
            self, roll=self.roll[:, part], onset=self.onset[:, part], place=self.place[:, part]
        )


def score_features(score: TimedScore) -> ScoreFeatures:
    """Put a score on the frame grid."""
    frames = score.frames
    roll = np.zeros((len(STEMS), frames, 128), np.float32)
    onset = np.zeros((len(STEMS), frames, 128), np.float32)
    place = np.zeros((len(STEMS), frames), np.float32)
    programs = np.full((len(STEMS), PROGRAM_SLOTS), NO_PROGRAM, np.int64)
    for stem, notes in enumerate(score.stems):
        used = sorted({n.program + (128 if n.percussion else 0) for n in notes})[:PROGRAM_SLOTS]
        programs[stem, : len(used)] = used
        for note in reversed(notes):  # so that the first onset of a frame has the last word
            start = note.onset / FRAME
            end = start + note.length_s * FRAME_RATE
            first = int(start)
            last = min(math.ceil(end), frames)
            if first >= frames:
                continue
            at = np.arange(first, last)
            share = np.minimum(at + 1, end) - np.maximum(at, start)
            loud = np.float32(note.velocity / 127)
            column = roll[stem, first:last, note.pitch]
            np.maximum(column, loud * share.astype(np.float32), out=column)
            onset[stem, first, note.pitch] = max(onset[stem, first, note.pitch], loud)
            place[stem, first] = start - first
    return ScoreFeatures(roll, onset, place, programs)
