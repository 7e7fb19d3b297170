"""Which alignment each cell was sealed on: a path through the pilot's answers.

The networks read only on the grid they wrote on, so the reader tries every alignment and has, per
cell, one pilot value for each. A cut file keeps one alignment throughout; played a little fast or
slow it drifts; spliced, it jumps. The best path (Viterbi) pays a little for a step to the
neighbouring alignment and a lot for a jump.

>>> pilot = np.full((16, 100), -4.0, np.float32)
>>> pilot[2, :50] = pilot[10, 50:] = 6.0                 # a splice in the middle
>>> path = best_path(pilot)
>>> path[0], path[-1], int(np.abs(np.diff(path)).astype(bool).sum())
(np.int64(2), np.int64(10), 1)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_path"]

_CLIP = 30.0  # log odds: no cell outweighs all others
_STEP = 20.0  # cost of a step to a neighbouring alignment (they are 5 ms apart, in a circle)
_JUMP = 120.0  # cost of any other move; both chosen for bit accuracy after crop, MP3 and Opus


def best_path(pilot: NDArray[np.float32]) -> NDArray[np.int64]:
    """The alignment of every cell, (cells,), from pilot log odds (alignments, cells)."""
    alignments, cells = pilot.shape
    if alignments == 1 or cells == 0:
        return np.zeros(cells, np.int64)
    gain = np.clip(pilot, -_CLIP, _CLIP).T.astype(np.float64)  # (cells, alignments)
    back = np.zeros((cells, alignments), np.int64)
    total = gain[0].copy()
    index = np.arange(alignments)
    for c in range(1, cells):
        best = int(total.argmax())
        options = np.stack(
            [
                total,
                np.roll(total, 1) - _STEP,  # from the alignment below
                np.roll(total, -1) - _STEP,  # from the alignment above
                np.full(alignments, total[best] - _JUMP),
            ]
        )
        choice = options.argmax(axis=0)  # (alignments,)
        sources = np.stack(
            [index, np.roll(index, 1), np.roll(index, -1), np.full(alignments, best)]
        )
        back[c] = sources[choice, index]
        total = options[choice, index] + gain[c]
    path = np.empty(cells, np.int64)
    path[-1] = int(total.argmax())
    for c in range(cells - 1, 0, -1):
        path[c - 1] = back[c, path[c]]
    return path
