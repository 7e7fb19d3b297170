"""What the judge of tags hears in a picture: statistics of a log-mel spectrogram in stereo.

Means, spreads and quantiles of the bands of middle and side; how they change; what sounds at
onsets; how fast each register pulses; how the piece repeats; and the colour of whatever stands out
in the middle, where the composer puts the lead: the levels of its harmonics, by register.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import HouseError
from studio.music.models.house.notes import FRAME_RATE

__all__ = ["LEAST_S", "features"]

Array = NDArray[np.float32]

LEAST_S = 4.0
"""Shorter clips are not judged."""

_FLOOR, _TOP = -7.0, 9.0  # nepers about the loud bands
_LAGS = 160  # frames: 3.2 s
_GROUP = 4  # bands of a register whose pulse is measured
_PULSES_HZ = (0.4, 1, 2, 3, 4, 5, 6, 8, 12, 18)
_CEPSTRUM = 24
_HARMONICS = 12
_REGISTERS_HZ = (130, 260, 390, 520, 780, 1100, 1600)


def features(picture: Array) -> Array:
    """Features of a picture (2, frames, bands), (features,): as many for every length.

    Raises :class:`HouseError` for a clip shorter than four seconds.
    """
    if picture.shape[1] < LEAST_S * FRAME_RATE:
        raise HouseError("a clip must be at least four seconds long to be judged")
    x = np.asarray(picture, np.float32)
    x = np.clip(x - np.quantile(x[0], 0.95), _FLOOR, _TOP)
    middle, side = x
    change = np.diff(middle, axis=0)
    onsets = np.maximum(change, 0)
    parts = [f(rows) for rows in (middle, side) for f in (_mean, _std, _median, _high)]
    parts += [np.abs(change).mean(0), np.abs(np.diff(side, axis=0)).mean(0)]
    strength = onsets.mean(1)
    parts.append((strength @ middle[1:]) / (strength.sum() + 1e-6) - parts[0])
    parts.append(np.maximum(middle - side, 0).mean(0))
    contrast = np.maximum(middle - _smooth(middle), 0)
    parts += [contrast.mean(0), contrast.std(0)]
    parts.append(_pulses(middle))
    parts += [_autocorrelation(group.mean(1)) for group in np.array_split(onsets, 4, axis=1)]
    parts += [_autocorrelation(strength), _repeats(middle)]
    for rows in (middle, np.maximum(middle, side)):
        cepstrum = rows @ _cosines(rows.shape[1])
        parts += [cepstrum.mean(0), cepstrum.std(0), np.diff(cepstrum, axis=0).std(0)]
    parts.append(_harmonics(middle, side))
    return np.concatenate(parts).astype(np.float32)


def _mean(x: Array) -> Array:
    return np.asarray(x.mean(0), np.float32)


def _std(x: Array) -> Array:
    return np.asarray(x.std(0), np.float32)


def _median(x: Array) -> Array:
    return np.asarray(np.median(x, axis=0), np.float32)


def _high(x: Array) -> Array:
    return np.asarray(np.quantile(x, 0.95, axis=0), np.float32)


def _smooth(x: Array) -> Array:
    """Mean over seven neighbouring bands."""
    padded = np.pad(x, ((0, 0), (4, 3)), mode="edge").cumsum(1)
    return np.asarray((padded[:, 7:] - padded[:, :-7]) / 7, np.float32)


def _pulses(middle: Array) -> Array:
    """Log energy of how each register's level moves, by speed: vibrato, tremolo, beats."""
    groups = middle.reshape(len(middle), -1, _GROUP).mean(2)
    groups = groups - groups.mean(0)
    spectrum = np.abs(np.fft.rfft(groups * np.hanning(len(groups))[:, None], axis=0)) ** 2
    speeds = np.fft.rfftfreq(len(groups), 1 / FRAME_RATE)
    rows = [
        spectrum[(speeds >= low) & (speeds < high)].mean(0) for low, high in pairwise(_PULSES_HZ)
    ]
    return np.asarray(np.log(np.stack(rows) / len(groups) + 1e-4).ravel(), np.float32)


def _autocorrelation(x: Array) -> Array:
    x = x - x.mean()
    spectrum = np.fft.rfft(x, 2 * len(x))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, 2 * len(x))
    return np.asarray(correlation[4:_LAGS] / (correlation[0] + 1e-6), np.float32)


def _repeats(middle: Array) -> Array:
    """Similarity of frames a lag apart, blind to onsets."""
    shape = middle - middle.mean(0)
    shape = shape / (np.linalg.norm(shape, axis=1, keepdims=True) + 1e-6)
    return np.array(
        [(shape[lag:] * shape[:-lag]).sum(1).mean() for lag in range(8, _LAGS, 8)], np.float32
    )


@lru_cache(maxsize=2)
def _cosines(bands: int) -> Array:
    at = (np.arange(bands) + 0.5) / bands
    return np.asarray(
        np.cos(np.pi * at[:, None] * np.arange(1, _CEPSTRUM + 1)) * np.sqrt(2 / bands), np.float32
    )


@lru_cache(maxsize=2)
def _centres(bands: int) -> NDArray[np.float64]:
    """Middle frequencies of the mel bands, Hz."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (30.0, 24_000.0))
    edges: NDArray[np.float64] = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    return edges[1:-1]


@lru_cache(maxsize=2)
def _harmonic_bands(bands: int) -> NDArray[np.int64]:
    """Of each band as a fundamental, the bands of its harmonics, (bands, harmonics)."""
    centres = _centres(bands)
    wanted = centres[:, None] * np.arange(1, _HARMONICS + 1)
    found = np.abs(np.log(wanted[..., None]) - np.log(centres)).argmin(-1)
    return np.asarray(np.minimum(found, bands - 1), np.int64)


def _harmonics(middle: Array, side: Array) -> Array:
    """Levels of the harmonics of what stands out in the middle, by register.

    In each frame and register the band that stands out most among its neighbours is taken for a
    fundamental. Its harmonics' levels are averaged, weighted by how much it stands out; so are
    their squares and how they changed since five frames before.
    """
    bands = middle.shape[1]
    centres, harmonics = _centres(bands), _harmonic_bands(bands)
    stands_out = np.maximum(middle - _smooth(middle), 0) * (middle > side + 0.7)
    parts: list[Array] = []
    for low, high in pairwise(_REGISTERS_HZ):
        inside = np.flatnonzero((centres >= low) & (centres < high))
        found = inside[stands_out[:, inside].argmax(1)]
        weight = stands_out[np.arange(len(found)), found]
        at = harmonics[found]
        levels = np.take_along_axis(middle, at, 1)
        before = np.take_along_axis(np.roll(middle, 5, 0), at, 1)
        relative = levels - levels[:, :1]
        total = weight.sum() + 1e-3
        mean = weight @ relative / total
        spread = np.sqrt(np.maximum(weight @ relative**2 / total - mean**2, 0))
        growth = weight @ (levels - before) / total
        parts += [mean, spread, growth, np.array([np.log(total / len(found) + 1e-3)])]
    return np.concatenate(parts).astype(np.float32)
