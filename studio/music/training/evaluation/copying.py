"""How much of its training tokens a performance repeats.

A run is half a second of one stem's tokens, both codebooks. Tokens are what a performance adds to
what the score lets one expect, so nearly nothing is added by chance alone; what is, stands beside
it: the share of held-out renders, which the model has never seen. Runs in which no note begins are
left out, for all silence is alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studio.music.composer.notation.score import Score
from studio.music.models.house.notes import FRAME_RATE, STEMS
from studio.music.training.evaluation.metrics import CopyingIndex
from studio.music.training.performer.data import PerformanceTracks

__all__ = ["RUN_FRAMES", "Played", "copied"]

RUN_FRAMES = FRAME_RATE // 2
"""Frames of a run: half a second."""

Played = tuple[NDArray[np.int64], Score]
"""Tokens (codebooks x stems, frames) in the language model's order, and the score played."""


def copied(performances: Sequence[Played], folder: Path) -> dict[str, Any]:
    """Shares of runs that the training tracks of `folder` hold too, per stem and over all stems.

    Raises :class:`HouseError` where the folder holds no encoded tracks.
    """
    train = PerformanceTracks(folder, "train")
    held_out: list[Played] = []
    for split in ("validation", "test"):
        tracks = PerformanceTracks(folder, split)
        held_out += zip(tracks.tokens, tracks.scores, strict=True)
    known = list(zip(train.tokens, train.scores, strict=True))
    report: dict[str, Any] = {}
    sums = np.zeros((2, 2), np.int64)  # performances, held-out renders; runs repeated, runs
    for stem in range(len(STEMS)):
        of_stem = [_of_stem(played, stem) for played in known if _plays(played[1], stem)]
        index = CopyingIndex(of_stem, codebooks=2)
        counts = np.array([_count(rows, stem, index) for rows in (performances, held_out)])
        sums += counts
        report[STEMS[stem]] = _shares(counts)
    return {**report, "all": _shares(sums), "training tracks": len(known)}


def _shares(counts: NDArray[np.int64]) -> dict[str, Any]:
    made, other = ((int(hits) / int(runs) if runs else 0.0) for hits, runs in counts)
    return {"performance": made, "held-out renders": other, "runs": int(counts[0, 1])}


def _count(rows: Sequence[Played], stem: int, index: CopyingIndex) -> tuple[int, int]:
    """Runs of the stem that the index holds, and all of its runs in which a note begins."""
    hits = runs = 0
    for played in rows:
        if _plays(played[1], stem):
            tokens = _of_stem(played, stem)
            begins = _begins(played[1], stem, len(tokens))[: len(tokens) - RUN_FRAMES + 1]
            hits += int(index.held(tokens, RUN_FRAMES)[begins].sum())
            runs += int(begins.sum())
    return hits, runs


def _of_stem(played: Played, stem: int) -> NDArray[np.int64]:
    """(frames, codebooks) of one stem."""
    return played[0][stem :: len(STEMS)].T


def _plays(score: Score, stem: int) -> bool:
    return any(part.notes for part in score.stem(STEMS[stem]))


def _begins(score: Score, stem: int, frames: int) -> NDArray[np.bool_]:
    """By the first frame of a run: whether a note of the stem begins in it."""
    onsets = np.zeros(frames + RUN_FRAMES, np.int64)
    for part in score.stem(STEMS[stem]):
        for note in part.notes:
            onsets[min(frames - 1, int(score.seconds(note.start) * FRAME_RATE))] += 1
    total = np.concatenate([[0], np.cumsum(onsets)])
    found: NDArray[np.bool_] = total[RUN_FRAMES : RUN_FRAMES + frames] > total[:frames]
    return found
