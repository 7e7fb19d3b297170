"""Rendering compositions with FluidSynth and Debian's FluidR3Mono soundfont (MIT).

The same composition gives the same samples, bit for bit, whatever was rendered before it: every
piece has a synthesiser of its own (:mod:`studio.music.training.synthesiser`). FluidSynth's chorus,
reverberation and 16-bit dither are not used; voices are mixed in float, and equalisation,
reverberation and levels are applied here.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.core.errors import HouseError
from studio.music.composer import FRAMES_PER_SECOND, Composition, Mix, Note, Part
from studio.music.training.synthesiser import SoundfontSynthesiser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "PEAK_DBFS",
    "RATE",
    "RENDERING",
    "RMS_DBFS",
    "Renderer",
    "samples_digest",
]

RATE = 32_000
"""Sample rate of every render, Hz."""

RENDERING = 2
"""Version of everything between notes and samples; a catalogue never mixes two."""

RMS_DBFS = -18.0
"""Level of every track: the gated RMS, dB relative to full scale."""

PEAK_DBFS = -1.0
"""No sample exceeds this level."""

_FRAME = RATE // FRAMES_PER_SECOND  # 640 samples, ten of FluidSynth's blocks of 64
_LEAD_CHANNEL_LEVEL = 64  # controller 7 of a part at 0 dB; leaves 12 dB upwards

# Loudness of the soundfont's programs in the register they are used in, relative to their mean, in
# dB, measured with Renderer.measure_program(). Three quarters of it are taken back, so that a
# part's level means the same for every instrument; all of it would exaggerate the attack of those
# that decay.
_PROGRAM_DB = {
    0: -4.4,
    4: 2.2,
    6: -11,
    7: -2.7,
    9: -5.5,
    11: -5.2,
    16: -1.4,
    17: 2.5,
    19: 2,
    23: -3.4,
    24: -1.6,
    25: -10.3,
    26: -3.6,
    27: -3.6,
    28: -6.8,
    29: 0.1,
    30: -1.7,
    32: 2.8,
    33: 2.3,
    34: 2.5,
    36: 0.2,
    38: -4,
    39: 9.7,
    40: 3.3,
    42: 2.3,
    43: 3,
    44: 2.7,
    45: -4.5,
    48: 1.6,
    49: 4.2,
    50: 4.9,
    56: 4,
    60: 2.9,
    61: 4.5,
    65: 5.1,
    66: -0.2,
    68: 4,
    71: 0.7,
    73: 4.6,
    80: 5.4,
    81: 3.7,
    89: -0.6,
    90: -2.9,
    98: -8,
}
_TRIM = 0.75


class Renderer(SoundfontSynthesiser):
    """A synthesiser that turns compositions into mono int16 samples at :data:`RATE`.

    Use as a context manager, or call :meth:`close`. Raises :class:`HouseError` where FluidSynth or
    the soundfont is missing.
    """

    def __init__(self, soundfont: Path | None = None) -> None:
        super().__init__(soundfont, rate=RATE, polyphony=256)

    def render(self, composition: Composition) -> NDArray[np.int16]:
        """Samples of a whole piece, shape ``(composition.frames * 640,)``."""
        return _master(self._play(composition), composition.mix)

    def measure_program(self, program: int, pitch: int) -> float:
        """RMS in dBFS of two seconds of a program's note at velocity 90, level 0 dB."""
        probe = Part("probe", program, 0.0, (Note(0, 100, pitch, 90),))
        samples = self._play_parts((probe,), 100)
        return float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))

    # Playing ----------------------------------------------------------------------------------

    def _seat(self, synth: Any, channel: int, part: Part) -> None:
        self._select(synth, channel, part.program, percussion=part.percussion)
        trim = 0.0 if part.percussion else -_TRIM * _PROGRAM_DB.get(part.program, 0.0)
        # FluidSynth's controller 7 is 40 log10(value / 127) dB.
        value = round(_LEAD_CHANNEL_LEVEL * 10 ** ((part.level_db + trim) / 40))
        self._fs.fluid_synth_cc(synth, channel, 7, max(1, min(127, value)))

    def _mono(self, synth: Any, frames: int) -> NDArray[np.float32]:
        return np.float32(0.5) * self._pull(synth, frames * _FRAME)

    def _play(self, composition: Composition) -> NDArray[np.float32]:
        return self._play_parts(composition.parts, composition.frames)

    def _play_parts(self, parts: tuple[Part, ...], frames: int) -> NDArray[np.float32]:
        channels = _channels(parts)
        pieces = []
        now = 0
        with self._fresh_synth() as synth:
            for part, channel in channels:
                self._seat(synth, channel, part)
            for frame, on, channel, pitch, velocity in sorted(_events(channels)):
                if frame >= frames:
                    break
                if frame > now:
                    pieces.append(self._mono(synth, frame - now))
                    now = frame
                if on:
                    self._fs.fluid_synth_noteon(synth, channel, pitch, velocity)
                else:
                    self._fs.fluid_synth_noteoff(synth, channel, pitch)
            pieces.append(self._mono(synth, frames - now))
        return np.concatenate(pieces)


def _channels(parts: tuple[Part, ...]) -> list[tuple[Part, int]]:
    """Channel 9 is for drums; the others are dealt out in order."""
    free = (channel for channel in range(16) if channel != 9)
    return [(part, 9 if part.percussion else next(free)) for part in parts]


def _events(channels: list[tuple[Part, int]]) -> Iterator[tuple[int, int, int, int, int]]:
    """(frame, 0 for off or 1 for on, channel, pitch, velocity); an off sorts before an on."""
    for part, channel in channels:
        for note in part.notes:
            yield note.start, 1, channel, note.pitch, note.velocity
            yield note.end, 0, channel, note.pitch, 0


# Mastering ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _room() -> NDArray[np.float32]:
    """A synthetic room of 1.2 s: decaying noise, duller as it decays, of unit energy."""
    from scipy.signal import lfilter

    noise = np.random.default_rng(20260101).standard_normal(int(1.2 * RATE))
    time = np.arange(len(noise)) / RATE
    bright = noise * np.exp(-time / 0.12)
    dull = lfilter([0.12], [1, -0.88], noise) * 2.0 * np.exp(-time / 0.28)
    room = bright + dull
    room[: int(0.012 * RATE)] = 0.0  # pre-delay keeps the attack dry
    result: NDArray[np.float32] = (room / np.sqrt(np.sum(room**2))).astype(np.float32)
    return result


def _shelf(samples: NDArray[np.float32], gain_db: float) -> NDArray[np.float32]:
    """A first-order high shelf at 2 kHz."""
    from scipy.signal import lfilter

    alpha = float(1 - np.exp(-2 * np.pi * 2000 / RATE))
    coefficients = np.array([alpha], np.float32), np.array([1, alpha - 1], np.float32)
    low: NDArray[np.float32] = lfilter(*coefficients, samples)
    return low + (samples - low) * np.float32(10 ** (gain_db / 20))


def _gated_rms(samples: NDArray[np.float32]) -> float:
    """RMS over the 0.4 s blocks that are within 20 dB of the loudest."""
    size = int(0.4 * RATE)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    power: NDArray[np.float64] = np.asarray(np.mean(blocks**2, axis=1, dtype=np.float64))
    return float(np.sqrt(np.mean(power[power >= power.max() / 100])))


def _without_dc(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A second-order high-pass at 25 Hz: some of the soundfont's pads carry a large offset."""
    from scipy.signal import butter, sosfilt

    sections = butter(2, 25, "highpass", fs=RATE, output="sos")
    result: NDArray[np.float32] = sosfilt(sections, samples.astype(np.float64)).astype(np.float32)
    return result


def _master(dry: NDArray[np.float32], mix: Mix) -> NDArray[np.int16]:
    from scipy.signal import oaconvolve

    dry = _without_dc(dry)
    wet = oaconvolve(dry, _room())[: len(dry)]
    samples = _shelf(dry + np.float32(0.5 * mix.reverb) * wet, mix.brightness_db)
    if _gated_rms(samples) <= 0.0:
        raise HouseError("the render is silent")
    # The limiter takes a little level away, so a second pass trims what it took.
    for _ in range(2):
        samples = _limit(samples * np.float32(10 ** (RMS_DBFS / 20) / _gated_rms(samples)))
    fade = int(0.25 * RATE)
    samples[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    return np.round(samples * np.float32(32767)).astype(np.int16)


def _limit(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A look-ahead limiter: the gain falls over 4 ms before a peak and recovers over 4 ms after."""
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    ceiling = 10 ** (PEAK_DBFS / 20)
    width = int(0.008 * RATE) | 1
    envelope = maximum_filter1d(np.abs(samples), width)
    gain = uniform_filter1d(np.minimum(1.0, ceiling / np.maximum(envelope, 1e-9)), width)
    limited: NDArray[np.float32] = np.clip(samples * gain, -ceiling, ceiling)
    return limited


def samples_digest(samples: NDArray[np.int16]) -> str:
    """SHA-256 of little-endian samples, hexadecimal."""
    return hashlib.sha256(samples.astype("<i2", copy=False).tobytes()).hexdigest()
