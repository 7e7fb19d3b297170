"""Signal processing that several packages share: mix-down, resampling, time stretch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from watermark.audio.waveform import Waveform

__all__ = ["QUIET_DBFS", "Resampler", "mix_down", "stretch"]

#: Below this level (rms of an 80 ms stretch of the mono mix) a carrier counts as silent, dBFS.
QUIET_DBFS = -60.0


def mix_down(block: Waveform) -> NDArray[np.float32]:
    """The mean of the channels, (samples,); two channels without the detour of a reduction."""
    samples = block.samples
    if block.channels == 1:
        return np.asarray(samples[0])
    if block.channels == 2:
        return np.asarray((samples[0] + samples[1]) * np.float32(0.5))
    return np.asarray(samples.mean(axis=0, dtype=np.float32))


class Resampler:
    """soxr VHQ on a mono stream; at equal rates a wire. The output is in time with the input."""

    def __init__(self, source: int, target: int) -> None:
        import soxr

        self._stream = (
            None
            if source == target
            else soxr.ResampleStream(source, target, 1, dtype="float32", quality="VHQ")
        )

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._stream is None:
            return samples
        return self._run(samples, last=False)

    def finish(self) -> NDArray[np.float32]:
        if self._stream is None:
            return np.zeros(0, np.float32)
        return self._run(np.zeros(0, np.float32), last=True)

    def _run(self, samples: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        assert self._stream is not None
        contiguous = np.ascontiguousarray(samples)
        out = self._stream.resample_chunk(contiguous, last=last)
        return np.asarray(out, dtype=np.float32).reshape(-1)


def stretch(samples: NDArray[np.float32], rate: int, factor: float) -> NDArray[np.float64]:
    """WSOLA: pieces taken every ``factor`` hops, each where it continues the last one best."""
    frame = 2 * round(0.023 * rate)
    hop, reach = frame // 2, round(0.010 * rate)
    window = np.hanning(frame + 1)[:-1]
    pad = ((0, 0), (reach + hop, frame + 2 * reach))
    source = np.pad(samples.astype(np.float64), pad)
    mix = source.mean(axis=0)
    pieces = int(samples.shape[1] / factor / hop) + 1
    out = np.zeros((samples.shape[0], (pieces + 1) * hop))
    at = reach + hop
    for piece in range(pieces):
        if piece:
            wanted = mix[at + hop : at + hop + frame]  # what would follow the last piece
            ideal = min(reach + hop + round(piece * hop * factor), len(mix) - frame - reach)
            region = mix[ideal - reach : ideal + reach + frame]
            at = ideal - reach + int(np.argmax(np.correlate(region, wanted, "valid")))
            at = min(at, len(mix) - frame - hop)
        out[:, piece * hop : piece * hop + frame] += source[:, at : at + frame] * window
    return out[:, : round(samples.shape[1] / factor)]
