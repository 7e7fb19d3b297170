"""Training material of the stem codec: scores rendered as stems, beside their excitation.

A folder holds one track in two files: ``NNNNN.npy`` with the audio, int16 (3, 4, samples): target,
tonal and noise excitation of the four stems; and ``NNNNN.npz`` with envelopes and score features.
Tracks already there are kept, so an interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from studio.core.errors import HouseError
from studio.music.models.house.notes import (
    FRAME,
    FRAME_RATE,
    STEMS,
    TimedNote,
    TimedScore,
    score_features,
)
from studio.music.models.house.stem_codec import Conditions, StemCodec
from studio.music.training.stems.instrument_tables import KITS
from studio.music.training.stems.rendering import StemRenderer
from watermark.util.files import replacing

__all__ = ["SCALE", "StemTracks", "excerpt", "prepare_tracks", "varied"]

SCALE = 16_384
"""int16 samples of a signal of amplitude 1; stems may reach 2."""


def excerpt(score: TimedScore, start_s: float, duration_s: float) -> TimedScore:
    """The notes that begin within a stretch, as a piece of its own."""
    stop_s = start_s + duration_s
    stems = (
        tuple(
            replace(note, start_s=note.start_s - start_s)
            for note in notes
            if start_s <= note.start_s < stop_s
        )
        for notes in score.stems
    )
    return TimedScore(tuple(stems), min(duration_s, score.duration_s - start_s))


def varied(score: TimedScore, rng: random.Random) -> TimedScore:
    """The piece at another tempo, key and loudness, some parts played by other programs.

    So the codec meets every program, kit and tempo, whatever a composer prefers.
    """
    stretch = rng.uniform(0.8, 1.25)
    shift = rng.randint(-5, 5)
    louder = rng.uniform(0.75, 1.15)
    programs: dict[tuple[bool, int], int] = {}

    def program(note: TimedNote) -> int:
        key = (note.percussion, note.program)
        if key not in programs:
            swap = rng.random() < 0.4
            other = rng.choice(KITS) if note.percussion else rng.randrange(112)
            programs[key] = other if swap else note.program
        return programs[key]

    def change(note: TimedNote) -> TimedNote:
        return replace(
            note,
            start_s=note.start_s * stretch,
            length_s=note.length_s * stretch,
            pitch=note.pitch if note.percussion else min(127, max(0, note.pitch + shift)),
            velocity=min(127, max(1, round(note.velocity * louder))),
            program=program(note),
        )

    stems = tuple(tuple(change(note) for note in notes) for notes in score.stems)
    return TimedScore(stems, score.duration_s * stretch)


def prepare_tracks(
    scores: Iterable[tuple[int, Callable[[], TimedScore]]],
    folder: Path,
    codec: StemCodec,
    renderer: StemRenderer,
    *,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Render numbered scores into a folder; how many were new. The codec gives the excitation."""
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for number, compose in scores:
        features_path = folder / f"{number:05d}.npz"
        if features_path.exists():
            continue
        score = compose()
        target = renderer.stems(score)
        played = [codec.excitation.stem(notes, 0, score.samples) for notes in score.stems]
        signals = np.stack([target, *np.stack(played, 1)])  # (3, stems, samples)
        with torch.no_grad():
            levels = codec.envelope(torch.from_numpy(signals.reshape(-1, score.samples)))
        features = score_features(score)
        with replacing(folder / f"{number:05d}.npy") as file:
            np.save(file, np.clip(np.round(signals * SCALE), -32768, 32767).astype(np.int16))
        with replacing(features_path) as file:
            np.savez(
                file,
                levels=levels.reshape(3, len(STEMS), score.frames, -1).numpy().astype(np.float16),
                roll=np.round(features.roll * 255).astype(np.uint8),
                onset=np.round(features.onset * 255).astype(np.uint8),
                place=features.place,
                programs=features.programs,
            )
        made += 1
        if progress is not None:
            progress(made)
    return made


@dataclass(frozen=True, slots=True)
class _Track:
    audio: NDArray[np.int16]
    levels: NDArray[np.float16]
    roll: NDArray[np.uint8]
    onset: NDArray[np.uint8]
    place: NDArray[np.float32]
    programs: NDArray[np.int64]


class StemTracks:
    """Prepared tracks; batches are chosen by a key alone, so that a resumed run repeats them."""

    def __init__(self, folder: Path) -> None:
        self.tracks: list[_Track] = []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as data:
                values = {name: data[name] for name in data.files}
            self.tracks.append(_Track(np.load(path.with_suffix(".npy"), mmap_mode="r"), **values))
        self.sounding = [
            (track, stem)
            for track in range(len(self.tracks))
            for stem in range(len(STEMS))
            if self.tracks[track].levels[0, stem].max() > -8
        ]
        if not self.sounding:
            raise HouseError(f"{folder} holds no prepared tracks")

    @property
    def minutes(self) -> float:
        return float(sum(t.place.shape[1] for t in self.tracks)) / FRAME_RATE / 60

    def whole(self, track_index: int, stem: int) -> tuple[Conditions, torch.Tensor]:
        """Conditions and target envelope of one stem of a whole track, a batch of one."""
        track = self.tracks[track_index]
        return self._gather([(track, stem, 0)], track.place.shape[1])

    def _gather(
        self, rows: list[tuple[_Track, int, int]], frames: int
    ) -> tuple[Conditions, torch.Tensor]:
        def gather(part: Callable[[_Track, int, slice], NDArray[np.generic]]) -> torch.Tensor:
            found = [part(t, stem, slice(a, a + frames)) for t, stem, a in rows]
            return torch.from_numpy(np.stack(found))

        levels = gather(lambda t, stem, at: t.levels[:, stem, at]).float()
        conditions = Conditions(
            torch.tensor([stem for _, stem, _ in rows]),
            gather(lambda t, stem, at: t.roll[stem, at]).float() / 255,
            gather(lambda t, stem, at: t.onset[stem, at]).float() / 255,
            gather(lambda t, stem, at: t.place[stem, at]),
            gather(lambda t, stem, _: t.programs[stem]),
            levels[:, 1],
            levels[:, 2],
        )
        return conditions, levels[:, 0]

    def batch(
        self, count: int, frames: int, key: Iterable[int], *, audio: bool
    ) -> tuple[Conditions, torch.Tensor, torch.Tensor | None]:
        """Conditions, target envelopes (count, frames, bands) and, if asked, signals.

        Signals are (count, 3, samples): target, tonal, noise. Stretches where nothing sounds are
        passed over.
        """
        rng = np.random.default_rng(list(key))
        rows: list[tuple[_Track, int, int]] = []
        while len(rows) < count:
            track_index, stem = self.sounding[int(rng.integers(len(self.sounding)))]
            track = self.tracks[track_index]
            whole = track.place.shape[1]
            if whole < frames:
                continue
            start = int(rng.integers(whole - frames + 1))
            if track.levels[0, stem, start : start + frames].max() > -8:
                rows.append((track, stem, start))

        conditions, target = self._gather(rows, frames)
        signals = None
        if audio:
            found = [
                np.asarray(t.audio[:, stem, a * FRAME : (a + frames) * FRAME])
                for t, stem, a in rows
            ]
            signals = torch.from_numpy(np.stack(found).astype(np.float32) / SCALE)
        return conditions, target, signals
