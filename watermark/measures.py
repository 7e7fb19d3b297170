"""Measures the bench states: rates with intervals, and how much an attack changed the sound.

>>> wilson(8, 8)
(0.676, 1.0)
>>> wilson(0, 0)
(0.0, 1.0)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from watermark.audio import Waveform

__all__ = ["log_spectral_distance", "si_snr", "wilson"]

_MAX_DB = 100.0  # SI-SNR of an attack that changes nothing


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a rate; z = 1.96 for 95 %."""
    if trials == 0:
        return 0.0, 1.0
    share, weight = hits / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return round(low, 3), round(high, 3)


def si_snr(estimate: Waveform, reference: Waveform) -> float | None:
    """Scale-invariant signal-to-noise ratio of the mono mixes, dB, at most 100.

    None where the two do not run in step (their lengths differ by more than 50 ms).
    """
    pair = _in_step(estimate, reference)
    if pair is None:
        return None
    x, s = pair
    target = (x @ s) / max(float(s @ s), 1e-20) * s
    noise = float(np.sum((x - target) ** 2))
    power = float(np.sum(target**2))
    if noise <= power * 10 ** (-_MAX_DB / 10):
        return _MAX_DB
    return max(-_MAX_DB, 10 * math.log10(max(power, 1e-20) / noise))


def log_spectral_distance(estimate: Waveform, reference: Waveform) -> float | None:
    """Root mean square difference of log spectra over bins, mean over 64 ms frames, dB.

    Bins more than 80 dB below the reference's loudest count as that low. None as for si_snr.
    """
    pair = _in_step(estimate, reference)
    if pair is None:
        return None
    frame = round(0.064 * reference.rate)
    if len(pair[0]) < frame:
        return None
    spectra = []
    for signal in pair:
        view = np.lib.stride_tricks.sliding_window_view(signal, frame)[:: frame // 2]
        spectra.append(np.abs(np.fft.rfft(view * np.hanning(frame), axis=1)))
    floor = max(float(spectra[1].max()), 1e-9) * 1e-4
    levels = [20 * np.log10(np.maximum(spectrum, floor)) for spectrum in spectra]
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2, axis=1)).mean())


def _in_step(
    estimate: Waveform, reference: Waveform
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mono mixes at the reference's rate, cut to one length; None if they differ in length."""
    if abs(estimate.duration_s - reference.duration_s) > 0.05:
        return None
    x = estimate.mono().resample(reference.rate).samples[0].astype(np.float64)
    s = reference.mono().samples[0].astype(np.float64)
    length = min(len(x), len(s))
    return x[:length], s[:length]
