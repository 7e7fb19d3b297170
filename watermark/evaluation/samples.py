"""Operations on samples that several distortions share: add noise, filter, reorder, fit.

Samples are ``(channels, samples)``, rates and frequencies in Hz, levels in dB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform

__all__ = ["add_noise", "filtered", "fitted", "in_band", "reordered", "rms", "same"]


def same(waveform: Waveform, samples: NDArray[np.floating]) -> Waveform:
    """These samples, float32, at the rate of ``waveform``."""
    return Waveform(np.ascontiguousarray(samples, np.float32), waveform.rate)


def rms(samples: NDArray[np.floating]) -> float:
    """Root mean square of all channels."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def add_noise(waveform: Waveform, noise: NDArray[np.floating], snr_db: float) -> Waveform:
    """Add noise at a signal-to-noise ratio, dB."""
    level = rms(noise) or 1.0
    scale = rms(waveform.samples) / level * 10 ** (-snr_db / 20)
    return same(waveform, waveform.samples + noise * scale)


def filtered(
    waveform: Waveform, kind: str, edge: float | tuple[float, float], order: int = 6
) -> NDArray[np.float64]:
    """Butterworth; an edge at or above half the rate changes nothing."""
    from scipy.signal import butter, sosfilt

    if np.max(edge) >= 0.499 * waveform.rate:
        return waveform.samples.astype(np.float64)
    sections = butter(order, edge, kind, fs=waveform.rate, output="sos")
    return np.asarray(sosfilt(sections, waveform.samples, axis=1), np.float64)


def in_band(
    samples: NDArray[np.floating], rate: int, low: float, high: float
) -> NDArray[np.float64]:
    """Band-pass from ``low`` to ``high`` Hz, Butterworth of order 4."""
    from scipy.signal import butter, sosfilt

    sections = butter(4, (low, min(high, 0.49 * rate)), "bandpass", fs=rate, output="sos")
    return np.asarray(sosfilt(sections, samples, axis=-1), np.float64)


def reordered(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of ``count`` things that is not the one they are in, where there is another."""
    order = rng.permutation(count)
    return np.roll(order, 1) if (order == np.arange(count)).all() else order


def fitted(samples: NDArray[np.floating], length: int) -> NDArray[np.floating]:
    """Cut or padded with silence to that many samples."""
    cut = samples[:, :length]
    return np.pad(cut, ((0, 0), (0, length - cut.shape[1])))
