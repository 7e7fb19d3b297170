"""How much an attack, or the watermark, changed the sound."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform

__all__ = ["log_spectral_distance", "modulation_depth_db", "noise_to_mask", "si_snr"]

_MAX_DB = 100.0  # SI-SNR of an attack that changes nothing


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


def noise_to_mask(estimate: Waveform, reference: Waveform) -> float | None:
    """Noise-to-mask ratio, dB: what was added, against what the reference masks. None as si_snr.

    After the Total NMR of ITU-R BS.1387 (PEAQ): spectra of 43 ms, half-Bark bands, Schroeder's
    spreading function (JASA 66, 1979), masked threshold 3 dB below the spread excitation up to
    12 Bark and a quarter dB per Bark above; the mean over bands and frames of noise over threshold.
    Below about -10 dB differences are not heard; 0 dB is at the threshold. It is not PEAQ: there is
    no ear filter, no level calibration, and what masks over time is left out.
    """
    pair = _in_step(estimate, reference)
    if pair is None:
        return None
    x, s = pair
    frame = round(0.043 * reference.rate)
    if len(s) < frame:
        return None
    noise = x - (x @ s) / max(float(s @ s), 1e-20) * s
    bark = 7 * np.arcsinh(np.fft.rfftfreq(frame, 1 / reference.rate) / 650)
    band = (2 * bark).astype(int)
    count = int(band.max()) + 1
    apart = (np.arange(count)[:, None] - np.arange(count)) / 2 + 0.474  # Bark above the masker
    spread = 10 ** ((15.81 + 7.5 * apart - 17.5 * np.sqrt(1 + apart**2)) / 10)
    offset_db = np.where(np.arange(count) < 24, 3.0, np.arange(count) / 8)
    energies = []
    for signal in (s, noise):
        view = np.lib.stride_tricks.sliding_window_view(signal, frame)[:: frame // 2]
        power = np.abs(np.fft.rfft(view * np.hanning(frame), axis=1)) ** 2
        energies.append(np.stack([power[:, band == b].sum(axis=1) for b in range(count)], axis=1))
    energy, added = energies
    loud = energy.sum(axis=1) > 1e-6 * energy.sum(axis=1).max()  # not the pauses
    threshold = energy @ spread.T / spread.sum(axis=1) * 10 ** (-offset_db / 10)
    floor = 1e-9 * float(energy.max())  # 90 dB below the loudest band: taken as inaudible
    ratio = float((added[loud] / (threshold[loud] + floor)).mean())
    return max(-_MAX_DB, 10 * math.log10(max(ratio, 1e-20)))


def modulation_depth_db(
    estimate: Waveform, reference: Waveform, *, steady_db: float | None = None
) -> float | None:
    """How deep the level of audible bands is modulated, 20 log10(m), dB. None as for si_snr.

    In third-octave bands from 150 Hz to 7 kHz within 30 dB of the loudest, 20 ms frames: the rms
    difference of levels, as the degree m of a sinusoidal modulation of that rms. To be held against
    thresholds of hearing for modulation near 12 Hz: about -25 dB on noise (Viemeister, JASA 66,
    1979) and -26 to -30 dB on steady tones (Kohlrausch et al., JASA 108, 2000); on music that
    fluctuates by itself they are higher.

    Args:
        estimate: the sealed carrier.
        reference: the carrier.
        steady_db: count only where the reference itself is steady: where a band's level deviates
            from its own mean over 0.2 s by less than this, dB rms. None, too, where less than half
            a second of one band is.
    """
    pair = _in_step(estimate, reference)
    if pair is None:
        return None
    frame = round(0.02 * reference.rate)
    if len(pair[0]) < frame:
        return None
    hertz = np.fft.rfftfreq(frame, 1 / reference.rate)
    centres = 160 * 2 ** (np.arange(17) / 3)
    masks = [(hertz >= c / 2 ** (1 / 6)) & (hertz < c * 2 ** (1 / 6)) for c in centres]
    levels = []
    for signal in pair:
        view = np.lib.stride_tricks.sliding_window_view(signal, frame)[:: frame // 2]
        power = np.abs(np.fft.rfft(view * np.hanning(frame), axis=1)) ** 2
        rows = [power[:, mask].sum(axis=1) for mask in masks if mask.any()]
        levels.append(10 * np.log10(np.stack(rows) + 1e-9))
    counted = levels[1] > levels[1].max() - 30
    if steady_db is not None:
        counted &= _fluctuation_db(levels[1]) < steady_db
        if int(counted.sum()) < 50:  # frames are 10 ms apart
            return None
    change = (levels[0] - levels[1])[counted]
    rms = float(np.sqrt(np.mean((change - change.mean()) ** 2)))
    return max(-_MAX_DB, 20 * math.log10(max(rms * math.sqrt(2) * math.log(10) / 20, 1e-9)))


def _fluctuation_db(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rms deviation of levels (bands, frames) from their mean over the 21 frames around each."""
    from scipy.ndimage import uniform_filter1d

    deviation = levels - uniform_filter1d(levels, 21, axis=1)
    return np.asarray(np.sqrt(uniform_filter1d(deviation**2, 21, axis=1)))


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
