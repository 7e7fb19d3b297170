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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from studio.errors import ConfigError

if TYPE_CHECKING:
    from studio.composer import Composition

__all__ = [
    "FRAME",
    "FRAME_RATE",
    "PROGRAM_SLOTS",
    "RATE",
    "STEMS",
    "ScoreFeatures",
    "TimedNote",
    "TimedScore",
    "note_gain",
    "score_features",
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


def note_gain(note: TimedNote) -> float:
    """Linear gain of a note: its part's level, and its velocity squared (the soundfont's law)."""
    return float(10 ** (note.level_db / 20) * (note.velocity / 127) ** 2)


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
    def from_composition(cls, piece: Composition) -> TimedScore:
        """The notes of a composition on the frame grid."""
        stems: dict[str, list[TimedNote]] = {name: [] for name in STEMS}
        pans = iter((-0.45, 0.45, -0.25, 0.25, 0.0) * 4)
        for part in piece.parts:
            stem = part.role if part.role in STEMS[:3] else "harmony"
            pan = next(pans) if stem == "harmony" else 0.0
            for note in part.notes:
                timed = TimedNote(
                    note.start / FRAME_RATE,
                    note.length / FRAME_RATE,
                    note.pitch,
                    note.velocity,
                    part.program,
                    part.percussion,
                    part.level_db,
                    pan,
                )
                stems[stem].append(timed)
        return cls.of(stems, duration_s=piece.duration_s)

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
        return self.roll.shape[1]

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
