"""Distortions: each a small deterministic function of a waveform.

Every attack is a function ``(waveform, rng, **parameters) -> waveform`` under a name; a list of
them with parameters (:mod:`watermark.evaluation.attack_list`) is what
:mod:`watermark.evaluation.bench` runs. All run in memory, codecs through FFmpeg's libraries, and
depend on nothing but their input, parameters and the generator they are given. The classes follow
AudioMarkBench (Liu et al., 2024) and RAW-Bench (Özer et al., 2025).

>>> import numpy as np
>>> tone = Waveform(0.1 * np.sin(np.arange(16_000, dtype=np.float32) / 8)[None], rate=16_000)
>>> spec = AttackSpec("noise at 20 dB", "noise", "white-noise", {"snr_db": 20.0})
>>> attacked = spec.run(tone, np.random.default_rng(0))
>>> round(float(10 * np.log10(np.var(tone.samples) / np.var(attacked.samples - tone.samples))))
20
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from watermark.audio.dsp import stretch
from watermark.audio.waveform import CHILD_LIMITS, AudioFormat, Waveform, encode, read
from watermark.errors import BenchError, WatermarkError
from watermark.evaluation.clips import synthetic_clips
from watermark.evaluation.samples import add_noise, filtered, fitted, in_band, reordered, rms, same

__all__ = ["ATTACKS", "AttackSpec", "recordings_in"]

AttackFunction = Callable[..., Waveform]

#: Attack functions by the name a configuration calls them.
ATTACKS: dict[str, AttackFunction] = {}


@dataclass(frozen=True, slots=True)
class AttackSpec:
    """One attack of a bench: a function with its parameters.

    Attributes:
        name: what the report calls it.
        family: what kind of edit it is, to group by.
        apply: the function's name in :data:`ATTACKS`.
        parameters: its keyword arguments.
        needs: modules without which it cannot run.

    Raises:
        BenchError: no such function, or it does not take these parameters.
    """

    name: str
    family: str
    apply: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.apply not in ATTACKS:
            known = ", ".join(sorted(ATTACKS))
            raise BenchError(f"attack {self.name!r}: no function {self.apply!r}; there are {known}")
        try:
            inspect.signature(ATTACKS[self.apply]).bind(None, None, **self.parameters)
        except TypeError as exc:
            raise BenchError(f"attack {self.name!r}: {exc}") from exc

    def check(self) -> None:
        """Find out now, not after an hour of other attacks, whether a plugin is there.

        Raises:
            BenchError: it cannot be imported, or does not take these parameters.
        """
        if self.apply != "plugin":
            return
        rest = {name: value for name, value in self.parameters.items() if name != "function"}
        try:
            inspect.signature(_imported(self.parameters["function"])).bind(None, None, **rest)
        except TypeError as exc:
            raise BenchError(f"attack {self.name!r}: {exc}") from exc

    def run(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        """The waveform after the attack."""
        return ATTACKS[self.apply](waveform, rng, **self.parameters)


def _attack(name: str) -> Callable[[AttackFunction], AttackFunction]:
    def register(function: AttackFunction) -> AttackFunction:
        ATTACKS[name] = function
        return function

    return register


# -- nothing, level, format -------------------------------------------------------------------


@_attack("clean")
def _clean(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    return waveform


@_attack("gain")
def _gain(waveform: Waveform, rng: np.random.Generator, *, db: float) -> Waveform:
    """Louder or softer, clipped at full scale."""
    return same(waveform, np.clip(waveform.samples * 10 ** (db / 20), -1, 1))


@_attack("quantise")
def _quantise(waveform: Waveform, rng: np.random.Generator, *, bits: int) -> Waveform:
    steps = 2.0 ** (bits - 1)
    return same(waveform, np.clip(np.rint(waveform.samples * steps) / steps, -1, 1))


@_attack("codec")
def _codec(
    waveform: Waveform, rng: np.random.Generator, *, format: AudioFormat, bitrate: int | None = None
) -> Waveform:
    """Encoded and decoded again; ``bitrate`` in bit/s."""
    return read(encode(waveform, format, bitrate=bitrate))


@_attack("recode")
def _recode(
    waveform: Waveform, rng: np.random.Generator, *, chain: list[tuple[AudioFormat, int]]
) -> Waveform:
    """One codec after another: pairs of format and bit/s."""
    for form, bitrate in chain:
        waveform = read(encode(waveform, form, bitrate=bitrate))
    return waveform


@_attack("loudness")
def _loudness(waveform: Waveform, rng: np.random.Generator, *, rms_db: float) -> Waveform:
    """Brought to an rms level, dB below full scale, the peaks that do not fit limited softly."""
    gained = waveform.samples * (10 ** (rms_db / 20) / (rms(waveform.samples) or 1.0))
    knee = 0.8
    over = np.sign(gained) * (knee + (1 - knee) * np.tanh((np.abs(gained) - knee) / (1 - knee)))
    return same(waveform, np.where(np.abs(gained) > knee, over, gained))


@_attack("plugin")
def _plugin(
    waveform: Waveform, rng: np.random.Generator, *, function: str, **parameters: Any
) -> Waveform:
    """A function of another package, ``module:name``, called as the functions here are."""
    call = _imported(function)
    try:
        attacked = call(waveform, rng, **parameters)
    except WatermarkError:
        raise
    except Exception as exc:  # another package's errors are not ours to know
        raise BenchError(f"attack function {function!r} failed: {exc}") from exc
    if not isinstance(attacked, Waveform):
        raise BenchError(f"attack function {function!r} gave no Waveform")
    return attacked


def _imported(function: str) -> AttackFunction:
    """The function ``module:name``."""
    module, _, name = str(function).partition(":")
    try:
        call = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise BenchError(
            f"attack function {function!r} cannot be imported; install what it lies in, or take "
            "the attack out of the list"
        ) from exc
    if not callable(call):
        raise BenchError(f"attack function {function!r} is not a function")
    return cast("AttackFunction", call)


@_attack("resample")
def _resample(waveform: Waveform, rng: np.random.Generator, *, rate: int) -> Waveform:
    """Through another sample rate and back."""
    back = waveform.resample(rate).resample(waveform.rate)
    return same(waveform, fitted(back.samples, waveform.length))


# -- noise and mixtures -----------------------------------------------------------------------


@_attack("white-noise")
def _white_noise(waveform: Waveform, rng: np.random.Generator, *, snr_db: float) -> Waveform:
    noise = rng.standard_normal(waveform.samples.shape)
    return add_noise(waveform, noise, snr_db)


@_attack("pink-noise")
def _pink_noise(waveform: Waveform, rng: np.random.Generator, *, snr_db: float) -> Waveform:
    """Power falls as 1/f (-3 dB per octave) above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(waveform.samples.shape), axis=1)
    frequency = np.fft.rfftfreq(waveform.length, 1 / waveform.rate)
    spectrum /= np.sqrt(np.maximum(frequency, 20.0))
    return add_noise(waveform, np.fft.irfft(spectrum, waveform.length, axis=1), snr_db)


@_attack("mix-music")
def _mix_music(waveform: Waveform, rng: np.random.Generator, *, snr_db: float) -> Waveform:
    """Under or over other music, made up on the spot."""
    seed = int(rng.integers(1 << 30))
    other = synthetic_clips(count=1, seconds=waveform.duration_s + 0.1, seed=seed)[0].waveform
    samples = other.mono().resample(waveform.rate).samples[:, : waveform.length]
    return add_noise(waveform, samples, snr_db)


@_attack("mix-babble")
def _mix_babble(waveform: Waveform, rng: np.random.Generator, *, snr_db: float) -> Waveform:
    """Under something like a speaker: harmonic buzz, formant-filtered, in syllables."""
    seconds = np.arange(waveform.length) / waveform.rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * seconds + rng.uniform(0, 6))
    buzz = np.mod(np.cumsum(pitch) / waveform.rate, 1.0) - 0.5
    buzz += 0.1 * rng.standard_normal(waveform.length)
    voice = np.zeros(waveform.length)
    for centre in (600.0, 1400.0, 2600.0):
        voice += in_band(buzz, waveform.rate, centre / 1.3, min(centre * 1.3, 0.45 * waveform.rate))
    syllables = np.clip(np.sin(2 * np.pi * 4 * seconds + rng.uniform(0, 6)) + 0.3, 0, None)
    return add_noise(waveform, (voice * syllables)[None], snr_db)


@_attack("recorded-noise")
def _recorded_noise(
    waveform: Waveform, rng: np.random.Generator, *, snr_db: float, folder: str | None = None
) -> Waveform:
    """Under recordings of a folder, drawn one after another until they are long enough."""
    paths = recordings_in(folder) if folder is not None else ()
    if not paths:
        raise BenchError("this attack needs a folder of recordings (--noise DIR)")
    noise = np.zeros((1, 0))
    while noise.shape[1] < waveform.length:
        part = (
            read(paths[int(rng.integers(len(paths)))], CHILD_LIMITS).mono().resample(waveform.rate)
        )
        level = rms(part.samples)
        if level > 1e-4:
            noise = np.concatenate([noise, part.samples / level], axis=1)
        else:  # a silent recording takes its time, so that a folder of them comes to an end
            noise = np.pad(noise, ((0, 0), (0, max(part.length, waveform.rate))))
    return add_noise(waveform, noise[:, : waveform.length], snr_db)


@cache
def recordings_in(folder: str) -> tuple[Path, ...]:
    """The wav, ogg and flac files below a folder, in order of their paths."""
    kinds = {".wav", ".ogg", ".flac"}
    return tuple(sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in kinds))


# -- spectrum ---------------------------------------------------------------------------------


@_attack("low-pass")
def _low_pass(waveform: Waveform, rng: np.random.Generator, *, hz: float) -> Waveform:
    return same(waveform, filtered(waveform, "lowpass", hz))


@_attack("high-pass")
def _high_pass(waveform: Waveform, rng: np.random.Generator, *, hz: float) -> Waveform:
    return same(waveform, filtered(waveform, "highpass", hz))


@_attack("band-pass")
def _band_pass(
    waveform: Waveform, rng: np.random.Generator, *, low_hz: float, high_hz: float
) -> Waveform:
    return same(waveform, in_band(waveform.samples, waveform.rate, low_hz, high_hz))


@_attack("equaliser")
def _equaliser(waveform: Waveform, rng: np.random.Generator, *, gains_db: list[float]) -> Waveform:
    """Gains at octave centres 62.5 Hz, 125 Hz, ..., joined smoothly, without phase."""
    centres = 62.5 * 2.0 ** np.arange(len(gains_db))
    frequency = np.fft.rfftfreq(waveform.length, 1 / waveform.rate)
    octave = np.log2(np.maximum(frequency, 1.0))
    gain = 10 ** (np.interp(octave, np.log2(centres), gains_db) / 20)
    spectrum = np.fft.rfft(waveform.samples, axis=1) * gain
    return same(waveform, np.fft.irfft(spectrum, waveform.length, axis=1))


@_attack("smooth")
def _smooth(waveform: Waveform, rng: np.random.Generator, *, samples: int) -> Waveform:
    """Moving average."""
    from scipy.ndimage import uniform_filter1d

    return same(waveform, uniform_filter1d(waveform.samples, samples, axis=1))


# -- dynamics and space -----------------------------------------------------------------------


@_attack("compress")
def _compress(
    waveform: Waveform,
    rng: np.random.Generator,
    *,
    threshold_db: float,
    ratio: float,
    release_ms: float = 100.0,
) -> Waveform:
    """Downward compression of everything above the threshold (dB below full scale)."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1 / (waveform.rate * release_ms / 1000)))
    power = np.square(waveform.samples, dtype=np.float64).mean(axis=0)
    level_db = 10 * np.log10(lfilter([1 - keep], [1, -keep], power) + 1e-10)
    over = np.maximum(level_db - threshold_db, 0)
    return same(waveform, waveform.samples * 10 ** (-over * (1 - 1 / ratio) / 20))


@_attack("limit")
def _limit(waveform: Waveform, rng: np.random.Generator, *, drive_db: float) -> Waveform:
    """Driven into a soft limiter and brought back to the level it had."""
    peak = float(np.abs(waveform.samples).max()) or 1.0
    driven = np.tanh(waveform.samples / peak * 10 ** (drive_db / 20))
    return same(waveform, driven * (rms(waveform.samples) / (rms(driven) or 1.0)))


@_attack("echo")
def _echo(
    waveform: Waveform, rng: np.random.Generator, *, delay_ms: float, gain_db: float
) -> Waveform:
    shift = round(waveform.rate * delay_ms / 1000)
    late = np.pad(waveform.samples, ((0, 0), (shift, 0)))[:, : waveform.length]
    return same(waveform, waveform.samples + late * 10 ** (gain_db / 20))


@_attack("reverb")
def _reverb(
    waveform: Waveform, rng: np.random.Generator, *, rt60_s: float, wet_db: float
) -> Waveform:
    """A diffuse room: exponentially decaying noise, ``wet_db`` relative to the direct sound."""
    from scipy.signal import fftconvolve

    seconds = np.arange(round(rt60_s * waveform.rate)) / waveform.rate
    response = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / rt60_s)
    wet = fftconvolve(waveform.samples, response[None], axes=1)[:, : waveform.length]
    return add_noise(waveform, wet, -wet_db)


# -- time -------------------------------------------------------------------------------------


@_attack("crop")
def _crop(
    waveform: Waveform, rng: np.random.Generator, *, start_s: float, duration_s: float
) -> Waveform:
    """A part; of a shorter clip, what there is of it."""
    start = min(start_s, max(0.0, waveform.duration_s - duration_s))
    return waveform.slice(start, start + duration_s)


@_attack("delay")
def _delay(waveform: Waveform, rng: np.random.Generator, *, ms: float) -> Waveform:
    """Silence in front."""
    shift = round(waveform.rate * ms / 1000)
    return same(waveform, np.pad(waveform.samples, ((0, 0), (shift, 0))))


@_attack("cut")
def _cut(waveform: Waveform, rng: np.random.Generator, *, ms: float) -> Waveform:
    """A piece taken out of the middle."""
    middle, half = waveform.length // 2, round(waveform.rate * ms / 2000)
    kept = [waveform.samples[:, : middle - half], waveform.samples[:, middle + half :]]
    return same(waveform, np.concatenate(kept, axis=1))


@_attack("shuffle")
def _shuffle(waveform: Waveform, rng: np.random.Generator, *, part_s: float) -> Waveform:
    """Cut into parts that are put together in another order."""
    edges = np.arange(round(part_s * waveform.rate), waveform.length, round(part_s * waveform.rate))
    parts = np.split(waveform.samples, edges, axis=1)
    return same(waveform, np.concatenate([parts[i] for i in reordered(len(parts), rng)], axis=1))


@_attack("speed")
def _speed(waveform: Waveform, rng: np.random.Generator, *, factor: float) -> Waveform:
    """Played faster: tempo and pitch together."""
    import soxr

    frames = np.ascontiguousarray(waveform.samples.T)
    faster = soxr.resample(frames, waveform.rate * factor, waveform.rate, quality="HQ")
    return same(waveform, faster.T)


@_attack("tempo")
def _tempo(waveform: Waveform, rng: np.random.Generator, *, factor: float) -> Waveform:
    """Played faster at the same pitch, by overlap and add of similar pieces (WSOLA, 46 ms)."""
    return same(waveform, stretch(waveform.samples, waveform.rate, factor))


@_attack("pitch")
def _pitch(waveform: Waveform, rng: np.random.Generator, *, semitones: float) -> Waveform:
    """Another pitch at the same tempo: stretched, then resampled."""
    import soxr

    factor = 2 ** (semitones / 12)
    longer = stretch(waveform.samples, waveform.rate, 1 / factor)
    frames = np.ascontiguousarray(longer.T)
    back = soxr.resample(frames, waveform.rate * factor, waveform.rate, quality="HQ")
    return same(waveform, fitted(back.T, waveform.length))


# -- phase and stereo -------------------------------------------------------------------------


@_attack("polarity")
def _polarity(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    return same(waveform, -waveform.samples)


@_attack("all-pass")
def _all_pass(waveform: Waveform, rng: np.random.Generator, *, sections: int) -> Waveform:
    """Phase turned by a chain of random second-order all-pass filters; magnitudes untouched."""
    from scipy.signal import lfilter

    samples = waveform.samples.astype(np.float64)
    for _ in range(sections):
        radius, angle = rng.uniform(0.5, 0.9), rng.uniform(0, np.pi)
        a = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
        samples = lfilter(a[::-1], a, samples, axis=1)
    return same(waveform, samples)


@_attack("mono")
def _mono(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    return waveform.mono()


@_attack("one-channel")
def _one_channel(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """The first channel alone."""
    return same(waveform, waveform.samples[:1])


@_attack("invert-channel")
def _invert_channel(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    """Last channel of two copies turned upside down: the mono mix of a centred sound is silence."""
    samples = np.repeat(waveform.samples, 2, axis=0) if waveform.channels == 1 else waveform.samples
    signs = np.ones((len(samples), 1))
    signs[-1] = -1
    return same(waveform, samples * signs)


@_attack("stereo-width")
def _stereo_width(waveform: Waveform, rng: np.random.Generator, *, factor: float) -> Waveform:
    """The side (half the difference of the first two channels) scaled; the mono mix stays."""
    samples = waveform.samples.astype(np.float64)
    if waveform.channels >= 2:
        side = (samples[0] - samples[1]) / 2
        samples[:2] += (factor - 1) * np.stack([side, -side])
    return same(waveform, samples)


@_attack("swap-channels")
def _swap_channels(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    return same(waveform, waveform.samples[::-1])
