"""Reading a file: from blocks of audio to one pilot value and 16 soft bits per cell.

What :mod:`watermark.detect` decides on. A view is one mono signal made from the channels (the mix,
left, right, the difference); it is resampled to 16 kHz and read in blocks with as much context as
the networks look at, so memory does not grow with the file except by 70 bytes per cell of 80 ms
(3 MB an hour).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from watermark.alignment import best_path
from watermark.audio import Waveform
from watermark.embed import QUIET_DBFS, _Resampler
from watermark.models import SEAL_RATE, SealModel

__all__ = ["CellReader", "Reading", "View", "read_view", "view_of"]

View = Literal["mix", "left", "right", "side"]

_BLOCK_S = 20.48


def view_of(block: Waveform, view: View) -> NDArray[np.float32]:
    """One mono signal of a block, (samples,)."""
    samples = block.samples
    if view == "mix" or block.channels == 1:
        signal = samples.mean(axis=0, dtype=np.float32)
    elif view == "left":
        signal = samples[0]
    elif view == "right":
        signal = samples[1]
    else:
        signal = (samples[0] - samples[1]) / 2
    return np.ascontiguousarray(signal, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Reading:
    """Every cell of a file, in time order.

    Attributes:
        start_s: where the cell begins in the file, (cells,) seconds.
        pilot: log odds of being sealed, on the best alignment, (cells,).
        bits: soft bits, positive for 1, (cells, 16); 0 where the cell is silent.
        audible: the cell is above -60 dBFS, (cells,).
        cell_s: length of a cell, seconds.
        duration_s: of the file.
    """

    start_s: NDArray[np.float64]
    pilot: NDArray[np.float32]
    bits: NDArray[np.float32]
    audible: NDArray[np.bool_]
    cell_s: float
    duration_s: float

    def between(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        """Mask of the cells whose middle lies in [start_s, end_s)."""
        middle = self.start_s + self.cell_s / 2
        return (middle >= start_s) & (middle < end_s)

    def on_grid(self, hop_s: float, start_s: float = 0.0) -> NDArray[np.float64]:
        """Bits summed on a regular grid, (windows, 16); a cell is shared by overlap.

        A last window that lacks less than a twentieth is counted.
        """
        count = max(0, int(np.floor((self.duration_s - start_s) / hop_s + 0.05)))
        edges = start_s + hop_s * np.arange(count + 1)
        if not len(self.start_s) or not count:
            return np.zeros((count, self.bits.shape[1]))
        middles = self.start_s + self.cell_s / 2
        # Cells as densities around their middles: the running sum, read off at the grid's edges.
        half = self.cell_s / 2
        between = (middles[1:] + middles[:-1]) / 2
        borders = np.concatenate([[middles[0] - half], between, [middles[-1] + half]])
        sums = np.concatenate([np.zeros((1, self.bits.shape[1])), np.cumsum(self.bits, axis=0)])
        at = np.stack([np.interp(edges, borders, column) for column in sums.T], axis=1)
        return np.diff(at, axis=0)


class CellReader:
    """Streams one view of a file through a model's detector."""

    def __init__(self, model: SealModel, rate: int, *, sign: float = 1.0) -> None:
        self._model, self._sign = model, sign
        self._down = _Resampler(rate, SEAL_RATE)
        self._rate = rate
        self._samples = np.zeros(0, np.float32)
        self._first = 0  # index at 16 kHz of the first kept sample
        self._read = 0  # samples at 16 kHz that are read
        self._pushed = 0  # samples at the file's rate
        cell = model.cell_samples
        self._block = round(_BLOCK_S / model.cell_s) * cell
        self._context = model.context_cells * cell
        self._parts: list[tuple[NDArray[np.float64], ...]] = []

    def push(self, samples: NDArray[np.float32]) -> None:
        """More of the view, at the file's rate."""
        self._pushed += len(samples)
        self._add(self._down.push(samples))
        tail = self._context + self._model.cell_samples
        while self._first + len(self._samples) >= self._read + self._block + tail:
            self._read_block(self._read + self._block)

    def finish(self) -> Reading:
        """The last block, and everything together."""
        self._add(self._down.finish())
        end = self._first + len(self._samples)
        if end > self._read:
            # Silence after the end makes the last cell whole at every alignment.
            self._add(np.zeros(2 * self._model.cell_samples, np.float32))
            self._read_block(end)
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        if not columns:
            columns = [np.zeros(0), np.zeros(0), np.zeros((0, 16)), np.zeros(0)]
        duration = self._pushed / self._rate
        # Cells that lie mostly after the end were padding.
        keep = columns[0] + self._model.cell_s * 0.75 <= duration
        return Reading(
            start_s=columns[0][keep],
            pilot=columns[1][keep].astype(np.float32),
            bits=columns[2][keep].astype(np.float32),
            audible=columns[3][keep].astype(bool),
            cell_s=self._model.cell_s,
            duration_s=duration,
        )

    def _add(self, samples: NDArray[np.float32]) -> None:
        self._samples = np.concatenate([self._samples, np.float32(self._sign) * samples])

    def _read_block(self, end: int) -> None:
        model, cell = self._model, self._model.cell_samples
        start = max(0, self._read - self._context)
        stop = end + self._context + cell
        host = np.ascontiguousarray(self._samples[start - self._first : stop - self._first])
        pilots, bits = model.read(host)
        path = best_path(pilots)
        inner = np.arange((self._read - start) // cell, min(-(-(end - start) // cell), len(path)))
        offsets = np.asarray(model.alignments)[path[inner]]
        begin = inner * cell + offsets  # (cells,) samples into the host
        squares = np.concatenate([[0.0], np.cumsum(np.square(host, dtype=np.float64))])
        finish = np.minimum(begin + cell, len(host))
        level = np.sqrt((squares[finish] - squares[begin]) / cell)
        audible = level > 10 ** (QUIET_DBFS / 20)
        self._parts.append(
            (
                (start + begin) / SEAL_RATE,
                pilots[path[inner], inner].astype(np.float64),
                bits[path[inner], inner].astype(np.float64) * audible[:, None],
                audible.astype(np.float64),
            )
        )
        self._read = end
        drop = max(0, end - self._context) - self._first
        if drop > 0:
            self._samples = self._samples[drop:]
            self._first += drop


def read_view(
    blocks: Iterator[Waveform], model: SealModel, view: View, *, sign: float = 1.0
) -> Reading:
    """One view of a streamed file, read to its end; ``sign`` -1 reads the inverted signal."""
    reader: CellReader | None = None
    for block in blocks:
        if reader is None:
            reader = CellReader(model, block.rate, sign=sign)
        reader.push(view_of(block, view))
    if reader is None:
        reader = CellReader(model, SEAL_RATE)
    return reader.finish()
