"""Read a file: one pilot value and 16 soft bits per cell.

What :mod:`watermark.detection.detect` decides on. A view is one mono signal made from the
channels: their mix, each channel, the difference of the first two. It is resampled to 16 kHz and
read in blocks with as much context as the networks look at, so memory does not grow with the file
except by 110 bytes per cell of 80 ms (5 MB an hour and view). Several views are read in one pass
over the file.

**Coarse to fine.** A block is first read at every second alignment. Only where that shows more
contrast than unmarked music mostly does is it read at all of them: the pilot answers 5 ms beside
its place nearly as clearly, the bits do not.

**Rivals.** A seal lies on one alignment, and read 20 ms or more beside it the pilot denies. What
merely pulses (the frames of a coarse codec, a tremolo, a ticking clock) excites the pilot at
several alignments alike, and noise at all. So with every cell go the pilot's answers at five
alignments from a quarter to three quarters of a cell away from its own: what the evidence is
measured against.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watermark.audio.dsp import QUIET_DBFS, Resampler, mix_down
from watermark.audio.waveform import Waveform
from watermark.detection.alignment import best_path
from watermark.models.base import SEAL_RATE, SealModel

__all__ = [
    "CellReader",
    "Readout",
    "View",
    "channel_views",
    "contrast",
    "read_views",
    "signal_of",
]

View = str
"""``mix``; ``left``, ``right``, ``channel 3``, …; ``side``, half of left less right."""

_BLOCK_S = 20.48
_CLIP = 12.0  # log odds; a cell counts at most this much in a score
_REFINE_FROM = 1.2  # contrast of a coarse block from which all alignments are read
_SPREAD_FLOOR = 0.5  # log odds: rivals that all agree do not make a small contrast a large one


# Offsets in samples (cells,), pilot (cells,), rivals (cells, 5), bits (cells, 16), and the rivals'
# bits (cells, 5, 16).
_Aligned = tuple[
    NDArray[np.int64],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.float32],
]


@dataclass(frozen=True, slots=True)
class Readout:
    """Every cell of a file, in time order.

    Attributes:
        start_s: where the cell begins in the file, (cells,) seconds.
        pilot: log odds of being sealed, on the best alignment, (cells,).
        rivals: the same on alignments a quarter of a cell or more away, (cells, 5); (cells, 0)
            for a model whose evidence is the pilot itself.
        bits: soft bits, positive for 1, (cells, 16); 0 where the cell is silent.
        rival_bits: the soft bits on the rivals' alignments, (cells, rivals, 16), half precision
            (they are most of an hours-long file's memory): where somebody
            sealed the file once more on another grid, that seal denies ours to the pilot, and ours
            is still to be read there.
        audible: the cell is above -60 dBFS, (cells,).
        cell_s: length of a cell, seconds.
        duration_s: of the file.
    """

    start_s: NDArray[np.float64]
    pilot: NDArray[np.float32]
    rivals: NDArray[np.float32]
    bits: NDArray[np.float32]
    rival_bits: NDArray[np.float16]
    audible: NDArray[np.bool_]
    cell_s: float
    duration_s: float

    @property
    def middle_s(self) -> NDArray[np.float64]:
        """The middle of each cell, seconds."""
        return self.start_s + self.cell_s / 2

    def between(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        """Mask of the cells whose middle lies in [start_s, end_s)."""
        middle = self.middle_s
        return (middle >= start_s) & (middle < end_s)

    def beside(self, rival: int) -> Readout:
        """The file as it reads on the alignment of one of its :attr:`rivals`."""
        later = self.cell_s * (rival + 2) / 8  # as in _on_path
        bits = self.rival_bits[:, rival].astype(np.float32)
        return replace(self, start_s=self.start_s + later, bits=bits)

    def score(self, start_s: float = 0.0, end_s: float = np.inf) -> float:
        """The evidence that a stretch is sealed; see :func:`contrast`.

        A stretch with less than half a second of sound scores as surely unmarked.
        """
        # Cells lie within one cell of their index: look only at those that can be inside.
        first = max(0, int(start_s / self.cell_s) - 2)
        last = None if np.isinf(end_s) else max(first, int(end_s / self.cell_s) + 2)
        middle = self.middle_s[first:last]
        use = self.audible[first:last] & (middle >= start_s) & (middle < end_s)
        if int(use.sum()) * self.cell_s < 0.5:
            return -_CLIP
        return contrast(self.pilot[first:last][use], self.rivals[first:last][use])

    def on_grid(self, hop_s: float, start_s: float = 0.0) -> NDArray[np.float64]:
        """Bits summed on a regular grid, (windows, 16); a cell is shared by overlap.

        A last window that lacks less than a twentieth is counted.
        """
        count = max(0, int(np.floor((self.duration_s - start_s) / hop_s + 0.05)))
        edges = start_s + hop_s * np.arange(count + 1)
        if not len(self.start_s) or not count:
            return np.zeros((count, self.bits.shape[1]))
        middles = self.middle_s
        # Cells as densities around their middles: the running sum, read off at the grid's edges.
        half = self.cell_s / 2
        between = (middles[1:] + middles[:-1]) / 2
        borders = np.concatenate([[middles[0] - half], between, [middles[-1] + half]])
        sums = np.concatenate([np.zeros((1, self.bits.shape[1])), np.cumsum(self.bits, axis=0)])
        edges = np.clip(edges, borders[0], borders[-1])
        cell = np.clip(np.searchsorted(borders, edges, "right") - 1, 0, len(borders) - 2)
        inside = (edges - borders[cell]) / np.maximum(borders[cell + 1] - borders[cell], 1e-9)
        at = sums[cell] + inside[:, None] * (sums[cell + 1] - sums[cell])
        return np.asarray(np.diff(at, axis=0))


def contrast(pilot: NDArray[np.floating], rivals: NDArray[np.floating]) -> float:
    """How far a stretch's mean pilot log odds stand above those of its best rival.

    In standard deviations of single rival cells, so that audio which excites the pilot at random
    (coarse codecs) needs more. Without rivals, the mean pilot itself.

    Args:
        pilot: (cells,) log odds; limited to +-12 here.
        rivals: (cells, rivals).
    """
    own = float(np.clip(pilot, -_CLIP, _CLIP).mean())
    if rivals.shape[1] == 0:
        return own
    far = np.clip(rivals, -_CLIP, _CLIP)
    return (own - float(far.mean(axis=0).max())) / (float(far.std()) + _SPREAD_FLOOR)


class CellReader:
    """Streams mono audio at 16 kHz through a model's detector."""

    def __init__(self, model: SealModel) -> None:
        self._model = model
        self._samples = np.zeros(0, np.float32)
        self._first = 0  # index of the first kept sample
        self._read = 0  # samples that are read
        cell = model.cell_samples
        self._block = round(_BLOCK_S / model.cell_s) * cell
        self._context = model.context_cells * cell
        self._parts: list[tuple[NDArray[np.floating], ...]] = []

    def push(self, samples: NDArray[np.float32]) -> None:
        """More of it."""
        self._add(samples)
        tail = self._context + self._model.cell_samples
        while self._first + len(self._samples) >= self._read + self._block + tail:
            self._read_block(self._read + self._block)

    def finish(self, duration_s: float) -> Readout:
        """The last block, and everything together; the file's own duration is given."""
        end = self._first + len(self._samples)
        if end > self._read:
            # Silence after the end makes the last cell whole at every alignment.
            self._add(np.zeros(2 * self._model.cell_samples, np.float32))
            self._read_block(end)
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        if not columns:
            rivals = np.zeros((0, 5 if self._model.contrasted else 0))
            bits = [np.zeros((0, 16)), np.zeros((*rivals.shape, 16))]
            columns = [np.zeros(0), np.zeros(0), rivals, *bits, np.zeros(0)]
        # Cells that lie mostly after the end were padding.
        keep = columns[0] + self._model.cell_s * 0.75 <= duration_s
        return Readout(
            start_s=columns[0][keep].astype(np.float64),
            pilot=columns[1][keep].astype(np.float32),
            rivals=columns[2][keep].astype(np.float32),
            bits=columns[3][keep].astype(np.float32),
            rival_bits=columns[4][keep].astype(np.float16),
            audible=columns[5][keep].astype(bool),
            cell_s=self._model.cell_s,
            duration_s=duration_s,
        )

    def _add(self, samples: NDArray[np.float32]) -> None:
        self._samples = np.concatenate([self._samples, samples])

    def _read_block(self, end: int) -> None:
        cell = self._model.cell_samples
        start = max(0, self._read - self._context)
        stop = end + self._context + cell
        host = np.ascontiguousarray(self._samples[start - self._first : stop - self._first])
        inner = slice((self._read - start) // cell, -(-(end - start) // cell))
        offsets, pilot, rivals, bits, rival_bits = self._aligned(host, inner)
        index = inner.start + np.arange(len(pilot))
        begin = index * cell + offsets  # (cells,) samples into the host
        squares = np.concatenate([[0.0], np.cumsum(np.square(host, dtype=np.float64))])
        finish = np.minimum(begin + cell, len(host))
        level = np.sqrt((squares[finish] - squares[begin]) / cell)
        audible = level > 10 ** (QUIET_DBFS / 20)
        self._parts.append(
            (
                (start + begin) / SEAL_RATE,
                pilot,
                rivals,
                bits * audible[:, None],
                (rival_bits * audible[:, None, None]).astype(np.float16),
                audible,
            )
        )
        self._read = end
        drop = max(0, end - self._context) - self._first
        if drop > 0:
            self._samples = self._samples[drop:]
            self._first += drop

    def _aligned(self, host: NDArray[np.float32], inner: slice) -> _Aligned:
        """The cells of ``inner`` on their alignments."""
        model = self._model
        if model.coarse_alignments is None:
            return _on_path(*model.read(host), model.alignments, model, inner)
        logits = model.read_coarse(host)
        coarse = _on_path(*logits, model.coarse_alignments, model, inner)
        if contrast(coarse[1], coarse[2]) < _REFINE_FROM:
            return coarse
        return _on_path(*model.read(host, logits), model.alignments, model, inner)


def _on_path(
    pilots: NDArray[np.float32],
    bits: NDArray[np.float32],
    alignments: tuple[int, ...],
    model: SealModel,
    inner: slice,
) -> _Aligned:
    path = best_path(pilots)[inner]
    cells = np.arange(inner.start, inner.start + len(path))
    steps = len(alignments) * np.arange(2, 7) // 8 if model.contrasted else np.zeros(0, np.int64)
    far = (path[:, None] + steps) % len(alignments)
    return (
        np.asarray(alignments)[path],
        pilots[path, cells],
        pilots[far, cells[:, None]],
        bits[path, cells],
        bits[far, cells[:, None]],
    )


def channel_views(channels: int) -> tuple[View, ...]:
    """The views other than the mix; none of a mono file.

    >>> channel_views(1), channel_views(2), channel_views(3)
    ((), ('left', 'right', 'side'), ('left', 'right', 'channel 3', 'side'))
    """
    if channels < 2:
        return ()
    return ("left", "right", *(f"channel {n}" for n in range(3, channels + 1)), "side")


def signal_of(block: Waveform, view: View) -> NDArray[np.float32]:
    """A view of a block, (samples,); any view of a mono block is its one channel."""
    if block.channels == 1 or view == "mix":
        return mix_down(block)
    if view == "side":
        return np.asarray((block.samples[0] - block.samples[1]) * np.float32(0.5))
    channel = ("left", "right").index(view) if view in ("left", "right") else int(view[8:]) - 1
    return np.asarray(block.samples[channel])


class _Mixer:
    """The channels of a stream as views at 16 kHz; each channel is resampled once."""

    def __init__(self, rate: int, channels: int, views: Sequence[View]) -> None:
        self._mono = channels == 1
        wanted = {"mix"} if self._mono else set(views) - {"side"}
        if not self._mono and "side" in views:
            wanted |= {"left", "right"}
        self._views = views
        self._down = {view: Resampler(rate, SEAL_RATE) for view in sorted(wanted)}

    def push(self, block: Waveform) -> dict[View, NDArray[np.float32]]:
        parts: dict[View, NDArray[np.float32]] = {}
        for view, down in self._down.items():
            parts[view] = down.push(np.ascontiguousarray(signal_of(block, view)))
        return self._mixed(parts)

    def finish(self) -> dict[View, NDArray[np.float32]]:
        return self._mixed({view: down.finish() for view, down in self._down.items()})

    def _mixed(self, parts: dict[View, NDArray[np.float32]]) -> dict[View, NDArray[np.float32]]:
        if self._mono:
            return dict.fromkeys(self._views, parts["mix"])
        if "side" in self._views:
            parts["side"] = (parts["left"] - parts["right"]) * np.float32(0.5)
        return {view: parts[view] for view in self._views}


def read_views(
    blocks: Iterable[Waveform],
    model: SealModel,
    views: Sequence[View],
    *,
    gain: float = 1.0,
) -> dict[View, Readout]:
    """Views of a streamed file, read to its end in one pass.

    Args:
        blocks: the file, of any block sizes.
        model: whose detector reads.
        views: which; all are the mix where there is one channel.
        gain: on the signal; -1 reads it inverted.
    """
    readers = {view: CellReader(model) for view in views}
    mixer: _Mixer | None = None
    seconds = 0.0
    for block in blocks:
        if mixer is None:
            mixer = _Mixer(block.rate, block.channels, views)
        seconds += block.length / block.rate
        for view, samples in mixer.push(block).items():
            readers[view].push(np.float32(gain) * samples if gain != 1 else samples)
    if mixer is not None:
        for view, samples in mixer.finish().items():
            readers[view].push(np.float32(gain) * samples if gain != 1 else samples)
    return {view: reader.finish(seconds) for view, reader in readers.items()}
