"""The alignment of each cell: a best path through the pilot's scores.

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
    totals = np.empty((cells, alignments))  # of the best path that ends there
    totals[0] = gain[0]
    circle = np.empty(alignments + 2)  # the last total with its neighbours across the ends
    step = np.empty(alignments)
    for c in range(1, cells):
        last = totals[c - 1]
        circle[1:-1], circle[0], circle[-1] = last, last[-1], last[0]
        np.maximum(circle[:-2], circle[2:], out=step)
        step -= _STEP
        np.maximum(step, last, out=step)
        np.maximum(step, last.max() - _JUMP, out=step)
        np.add(step, gain[c], out=totals[c])
    path = np.empty(cells, np.int64)
    at = path[-1] = int(totals[-1].argmax())
    for c in range(cells - 1, 0, -1):
        last = totals[c - 1]
        stay, below, above = last[at], last[at - 1] - _STEP, last[(at + 1) % alignments] - _STEP
        best = max(stay, below, above)
        jump = int(last.argmax())
        if last[jump] - _JUMP > best:
            at = jump
        elif best > stay:
            at = (at - 1) % alignments if below == best else (at + 1) % alignments
        path[c - 1] = at
    return path
