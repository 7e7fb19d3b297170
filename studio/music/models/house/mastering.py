"""From dry stems to the finished mix: room, shelf, loudness and limiter, in stereo.

Renders of the training material and the model's own stems go through the same chain, which needs
numpy alone. It works in blocks of 0.2 s however the audio arrives, so that a stream equals the
whole sample by sample, and it can carry every stem apart: all get the limiter's gain of the mix, so
that finished stems add up to the finished mix.

>>> import numpy as np
>>> dry = np.zeros((4, 2, 48_000), np.float32)
>>> dry[1, :, 0] = 0.5
>>> master(dry, Look(brightness_db=0.0, reverb=0.2), gain=1.0).shape
(2, 48000)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import ConfigError
from studio.music.models.house.notes import FRAME_RATE, RATE

__all__ = [
    "PEAK_DBFS",
    "RMS_DBFS",
    "Look",
    "Master",
    "gated_frames",
    "gated_rms",
    "loudness_gain",
    "master",
    "shelf",
]

Signal = NDArray[np.float32]

RMS_DBFS = -18.0
"""Level of every piece: the gated RMS of both channels, dB relative to full scale."""

PEAK_DBFS = -1.0
"""No sample exceeds this level."""

FADE_S = 0.25
"""The end of a piece fades over this time."""

_BLOCK = 9_600
_ROOM_S = 1.2
_SHELF_HZ = 2000.0
_REACH = round(0.004 * RATE)  # the limiter looks so far ahead and back
_CEILING = np.float32(10 ** (PEAK_DBFS / 20))


@dataclass(frozen=True, slots=True)
class Look:
    """How a piece is coloured: a shelf above 2 kHz in dB, and the share of reverberation."""

    brightness_db: float = 0.0
    reverb: float = 0.2


@lru_cache(maxsize=1)
def room() -> Signal:
    """A synthetic room of 1.2 s, (2, samples): decaying noise, duller as it decays.

    Left and right are independent above 250 Hz and alike below, where ears do not tell sides. Each
    has unit energy.
    """
    samples = round(_ROOM_S * RATE)
    noise = np.random.default_rng(20260101).standard_normal((2, samples))
    time = np.arange(samples) / RATE
    pole = 0.88 ** (32_000 / RATE)
    spectrum = np.fft.rfft(noise, 2 * samples)
    frequency = np.fft.rfftfreq(2 * samples, 1 / RATE)
    damping = (1 - pole) / (1 - pole * np.exp(-2j * np.pi * frequency / RATE))
    dull = np.fft.irfft(spectrum * damping, 2 * samples)[:, :samples]
    sound = noise * np.exp(-time / 0.12) + dull * 2.0 * np.exp(-time / 0.28)
    sound[:, : round(0.012 * RATE)] = 0.0  # pre-delay keeps the attack dry
    middle, side = (sound[0] + sound[1]) / np.sqrt(2), (sound[0] - sound[1]) / np.sqrt(2)
    apart = 1 / (1 + (250 / np.maximum(frequency, 1e-3)) ** 4)
    no_rumble = 1 / (1 + (40 / np.maximum(frequency, 1e-3)) ** 4)
    middle, side = (
        np.fft.irfft(np.fft.rfft(part, 2 * samples) * shape, 2 * samples)[:samples]
        for part, shape in ((middle, no_rumble), (side, apart))
    )
    sound = np.stack([middle + side, middle - side])
    sound *= np.minimum(1, (samples - np.arange(samples)) / 2400)
    sound /= np.sqrt(np.sum(sound**2, axis=1, keepdims=True))
    return np.asarray(sound, np.float32)


def shelf(gain_db: float) -> NDArray[np.float64]:
    """Impulse response of a first-order high shelf at 2 kHz."""
    alpha = 1 - np.exp(-2 * np.pi * _SHELF_HZ / RATE)
    gain = 10 ** (gain_db / 20)
    response = (1 - gain) * alpha * (1 - alpha) ** np.arange(128)
    response[0] += gain
    return np.asarray(response, np.float64)


class _Convolver:
    """Convolution of blocks with long responses, block by block (partitioned, overlap-save)."""

    def __init__(self, responses: NDArray[np.float64], lead: tuple[int, ...]) -> None:
        count = -(-responses.shape[-1] // _BLOCK)
        padded = np.zeros((len(responses), count * _BLOCK))
        padded[:, : responses.shape[-1]] = responses
        parts = padded.reshape(len(responses), count, _BLOCK).astype(np.float32)
        self._spectra = np.fft.rfft(parts, 2 * _BLOCK).astype(np.complex64)
        self._past = np.zeros((count, *lead, _BLOCK + 1), np.complex64)
        self._last = np.zeros((*lead, _BLOCK), np.float32)

    def __call__(self, block: Signal) -> Signal:
        """(..., block) -> (..., responses, block)."""
        spectrum = np.fft.rfft(np.concatenate([self._last, block], -1)).astype(np.complex64)
        self._last = block.copy()
        self._past = np.concatenate([spectrum[None], self._past[:-1]])
        summed = np.einsum("p...f,rpf->...rf", self._past, self._spectra)
        return np.asarray(np.fft.irfft(summed, 2 * _BLOCK)[..., _BLOCK:], np.float32)


class Master:
    """Masters audio as it comes. Push dry audio, take what is finished, and finish.

    Args:
        look: colour of the piece.
        gain: linear gain before the limiter; see :func:`loudness_gain`.
        samples: length of the whole piece; its end fades.
        sources: how many stems are carried apart; 0 for the mix alone.
    """

    def __init__(self, look: Look, gain: float, samples: int, *, sources: int = 0) -> None:
        if not (np.isfinite(gain) and gain > 0):
            raise ConfigError(f"the gain of a mix must be positive, not {gain}")
        self._sources, self._samples = sources, samples
        lead = (max(sources, 1),)
        tilt = gain * shelf(look.brightness_db)
        wet = 0.5 * max(look.reverb, 0.0)
        size = 1 << (room().shape[1] + len(tilt)).bit_length()
        rooms = np.fft.irfft(np.fft.rfft(room(), size) * np.fft.rfft(tilt * wet, size), size)
        self._dry = _Convolver(tilt[None], (*lead, 2))
        self._wet = _Convolver(rooms[:, : room().shape[1] + len(tilt)], lead) if wet else None
        self._waiting = np.zeros((*lead, 2, 0), np.float32)
        # What the limiter still needs: two reaches of past, and what awaits its look-ahead.
        self._limited = np.zeros((*lead, 2, 2 * _REACH), np.float32)
        self._pushed = self._given = 0

    def push(self, dry: Signal) -> Signal:
        """Take dry audio (stems, 2, samples); give finished audio, (stems, 2, n) or (2, n).

        What comes out lags up to 0.21 s behind what went in.
        """
        if dry.ndim != 3 or dry.shape[1] != 2:
            raise ConfigError(f"dry audio must have shape (stems, 2, samples), not {dry.shape}")
        self._pushed += dry.shape[2]
        if self._pushed > self._samples:
            raise ConfigError("more audio than the piece is long")
        if not self._sources:
            dry = dry.sum(0, keepdims=True)
        return self._advance(dry)

    def finish(self) -> Signal:
        """What is left, once all `samples` have been pushed."""
        if self._pushed != self._samples:
            raise ConfigError(f"{self._samples - self._pushed} samples of the piece are missing")
        rest = self._samples - self._given
        missing = max(0, rest + 2 * _REACH + _BLOCK)
        shape = (*self._waiting.shape[:2], missing)
        return self._advance(np.zeros(shape, np.float32))[..., :rest]

    def _advance(self, dry: Signal) -> Signal:
        self._waiting = np.concatenate([self._waiting, dry.astype(np.float32)], -1)
        pieces = [np.zeros((*self._waiting.shape[:2], 0), np.float32)]
        while self._waiting.shape[-1] >= _BLOCK:
            block, self._waiting = np.split(self._waiting, [_BLOCK], axis=-1)
            pieces.append(self._limit(self._colour(block)))
        out = np.concatenate(pieces, -1)
        self._fade(out)
        self._given += out.shape[-1]
        return out if self._sources else out[0]

    def _colour(self, block: Signal) -> Signal:
        """Shelf and room: (sources, 2, block) -> the same."""
        out = self._dry(block)[..., 0, :]
        if self._wet is not None:
            out += self._wet(0.5 * (block[:, 0] + block[:, 1]))
        return out

    def _limit(self, block: Signal) -> Signal:
        """The gain falls over 4 ms before a peak and recovers over 4 ms after it.

        Gives as many samples as it takes, two reaches behind; the first time two reaches less.
        """
        held = np.concatenate([self._limited, block], -1)
        self._limited = held[..., -4 * _REACH :]
        peaks = np.abs(held.sum(0)).max(0)
        given = held[..., 2 * _REACH : -2 * _REACH]
        if peaks.max() <= _CEILING:
            return given.copy()
        width = 2 * _REACH + 1
        gain = np.minimum(1, _CEILING / np.maximum(_sliding_max(peaks, width), 1e-9))
        summed = np.concatenate([[0.0], np.cumsum(gain, dtype=np.float64)])
        smooth = ((summed[width:] - summed[:-width]) / width).astype(np.float32)
        limited = given * smooth
        over = np.abs(limited.sum(0)) / _CEILING  # rounding alone can still exceed it
        return np.asarray(limited / np.maximum(over, 1), np.float32)

    def _fade(self, out: Signal) -> None:
        """Fade the last quarter of a second of the piece, in place."""
        fade = min(round(FADE_S * RATE), self._samples)
        at = self._given + np.arange(out.shape[-1])
        place = (at - (self._samples - fade)) / fade
        if len(place) and place[-1] > 0:
            out *= (np.cos(np.clip(place, 0, 1) * np.pi / 2) ** 2).astype(np.float32)


def _sliding_max(values: Signal, width: int) -> Signal:
    """Maximum over each `width` neighbours, (n,) -> (n - width + 1,); by doubling."""
    size, have = 1, values
    while 2 * size <= width:
        have = np.maximum(have[:-size], have[size:])
        size *= 2
    if size < width:
        rest = width - size
        have = np.maximum(have[:-rest], have[rest:])
    return have


def master(dry: Signal, look: Look, gain: float | None = None, *, apart: bool = False) -> Signal:
    """Master a whole piece: dry stems (stems, 2, samples) -> mix (2, samples).

    With `apart` the finished stems come instead, (stems, 2, samples); they add up to the mix.
    Without `gain` the loudness is measured. Raises :class:`ConfigError` for silence.
    """
    if gain is None:
        gain = loudness_gain(gated_rms(dry.sum(0)))
    chain = Master(look, gain, dry.shape[-1], sources=len(dry) if apart else 0)
    return np.concatenate([chain.push(dry), chain.finish()], -1)


def gated_rms(sound: Signal) -> float:
    """RMS of both channels over the 0.4 s blocks that are within 20 dB of the loudest."""
    size = round(0.4 * RATE)
    if sound.shape[-1] < size:
        return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    blocks = sound[:, : sound.shape[-1] // size * size].reshape(2, -1, size)
    power = np.mean(np.square(blocks, dtype=np.float64), axis=(0, 2))
    return float(np.sqrt(np.mean(power[power >= power.max() / 100])))


def gated_frames(power: NDArray[np.float64]) -> float:
    """As :func:`gated_rms`, from the mean power of every frame, (frames,)."""
    size = round(0.4 * FRAME_RATE)
    if len(power) < size:
        return float(np.sqrt(np.mean(power)))
    blocks = power[: len(power) // size * size].reshape(-1, size).mean(1)
    return float(np.sqrt(np.mean(blocks[blocks >= blocks.max() / 100])))


def loudness_gain(rms: float) -> float:
    """The gain that brings a gated RMS to :data:`RMS_DBFS`. Raises :class:`ConfigError`."""
    if not rms > 1e-7:
        raise ConfigError("the piece is silent")
    return float(10 ** (RMS_DBFS / 20) / rms)
