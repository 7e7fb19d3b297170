"""Measures the instrument tables of the excitation from single notes of the soundfont.

Every program is played at every fourth pitch and every kit's drums once. Of each note are measured:
the frequencies of its partials, how their amplitudes rise and fall, the noise between them, its
vibrato and how fast it stops after the note-off. What comes out is about 3 MB of figures, no
samples; see :mod:`studio.music.models.house.excitation`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from studio.core.errors import HouseError
from studio.music.models.house.excitation import (
    DECAYS_S,
    NOISE_BANDS,
    NOISE_TIMES_S,
    Instrument,
    InstrumentTables,
    noise_band_edges,
    nominal_frequency,
    render_note,
)
from studio.music.models.house.notes import RATE
from studio.music.training.stems.pitch_movement import Movement, without_movement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from studio.music.training.stems.rendering import StemRenderer

__all__ = ["ANCHORS", "DRUM_KEYS", "KITS", "measure_drum", "measure_note", "measure_tables"]

ANCHORS = tuple(range(24, 109, 4))
"""Pitches at which every program is measured."""

KITS = (0, 8, 16, 24, 25, 32, 40, 48)
"""Drum kits that are measured; another kit plays the sounds of kit 0."""

DRUM_KEYS = tuple(range(27, 88))

_INHARMONIC = frozenset({8, 9, 10, 11, 12, 13, 14, 47, 98, 108, *range(112, 128)})
_ON_S = 2.2
_MOST_PARTIALS = 160
_MOST_PEAKS = 48
_FLOOR = 1e-7
_LOUD = (90 / 127) ** 2  # notes are measured at velocity 90 and written down for 127


def measure_tables(
    renderer: StemRenderer,
    *,
    programs: tuple[int, ...] = tuple(range(128)),
    kits: tuple[int, ...] = KITS,
    progress: Callable[[int, int], None] | None = None,
) -> InstrumentTables:
    """Measure programs and kits; takes about five minutes of one thread for all."""
    instruments: dict[tuple[bool, int, int], Instrument] = {}
    total = len(programs) * len(ANCHORS) + len(kits) * len(DRUM_KEYS)
    done = 0
    for program in programs:
        for pitch in ANCHORS:
            instruments[False, program, pitch] = measure_note(renderer, program, pitch)
            done += 1
        if progress is not None:
            progress(done, total)
    for kit in kits:
        for key in DRUM_KEYS:
            drum = measure_drum(renderer, kit, key)
            if drum is not None:
                instruments[True, kit, key] = drum
            done += 1
        if progress is not None:
            progress(done, total)
    tables = InstrumentTables(instruments)
    _match(renderer, tables, programs, kits)
    return tables


def _match(
    renderer: StemRenderer,
    tables: InstrumentTables,
    programs: tuple[int, ...],
    kits: tuple[int, ...],
) -> None:
    """For every pitch, choose the anchor that sounds most alike and correct its level."""
    length = round(0.5 * RATE) // 64 * 64
    for percussion, group in ((False, programs), (True, kits)):
        for program in group:
            for pitch in range(128):
                own = tables.get(program, pitch, percussion)
                near = sorted(ANCHORS, key=lambda a: abs(a - pitch))[:2]
                anchors = ([pitch] if own else []) if percussion else near
                if not anchors:
                    continue
                real = renderer.note(program, pitch, 90, length, percussion=percussion) / _LOUD
                choices = []
                for anchor in anchors:
                    instrument = tables.get(program, anchor, percussion)
                    if instrument is None:
                        continue
                    played = render_note(instrument, pitch, length, percussion).sum(0)
                    gain = _rms(real) / max(_rms(played), 1e-9)
                    wrong = np.abs(_bands(real) - _bands(gain * played)).mean()
                    choices.append((wrong, abs(anchor - pitch), anchor, gain))
                if choices:
                    _, _, anchor, gain = min(choices)
                    tables.choose(program, pitch, percussion, anchor, float(np.clip(gain, 0, 8)))


def _rms(sound: NDArray[np.floating]) -> float:
    part = sound[: round(0.7 * RATE)].astype(np.float64)
    return float(np.sqrt(np.sum(np.square(part)) / (0.7 * RATE)))


def _bands(sound: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rough levels in bands and time, in dB."""
    part = np.zeros(24 * 1024)
    part[: min(len(sound), len(part))] = sound[: len(part)]
    power = np.abs(np.fft.rfft(part.reshape(24, 1024) * np.hanning(1024))) ** 2
    edges = np.unique(np.geomspace(2, 512, 24).astype(int))
    levels = np.stack([power[:, a:b].mean(1) for a, b in pairwise(edges)], 1)
    return np.asarray(10 * np.log10(levels + 1e-6))


def measure_note(renderer: StemRenderer, program: int, pitch: int) -> Instrument:
    """Measure one program at one pitch."""
    length = round(_ON_S * RATE)
    sound = renderer.note(program, pitch, 90, length).astype(np.float64) / _LOUD
    release = _release(renderer, program, pitch, percussion=False)
    on = sound[:length] - np.mean(sound[:length])
    base = nominal_frequency(pitch)
    if np.abs(on).max() < _FLOOR:
        return _silent(pitch, release)
    movement = Movement()
    if program in _INHARMONIC:
        frequency = _peaks(on)
    else:
        on, movement = without_movement(on, base)
        frequency = _harmonics(on, base)
    window = 8192 if base < 50 else 4096 if base < 95 else 2048
    between = program < 112  # the rest are drums and noises
    return _instrument(on, frequency, window, pitch, base, release, movement, between=between)


def measure_drum(renderer: StemRenderer, kit: int, key: int) -> Instrument | None:
    """Measure one drum; None where the kit has no such drum."""
    length = round(_ON_S * RATE)
    try:
        sound = renderer.note(kit, key, 90, length, percussion=True).astype(np.float64) / _LOUD
    except HouseError:
        return None
    on = sound[:length] - np.mean(sound[:length])
    if np.abs(on).max() < _FLOOR:
        return None
    release = _release(renderer, kit, key, percussion=True)
    return _instrument(on, _peaks(on), 1024, key, 1.0, release, Movement(), between=False)


def _silent(pitch: int, release: float) -> Instrument:
    empty = np.zeros(0)
    return Instrument(
        pitch,
        empty,
        empty.astype(np.float32),
        np.zeros((0, len(DECAYS_S)), np.float32),
        np.full((len(NOISE_TIMES_S), NOISE_BANDS), -25, np.float32),
        release,
    )


def _instrument(
    sound: NDArray[np.float64],
    frequency: NDArray[np.float64],
    window: int,
    pitch: int,
    base: float,
    release: float,
    movement: Movement,
    *,
    between: bool,
) -> Instrument:
    phase, amplitude, residual = _follow(sound, frequency, window)
    noise = _noise_levels(residual, pitched=between)
    if between:
        later = _later_levels(sound, frequency, 4096 if base >= 100 else 8192)
        noise = np.where(np.isfinite(later), later, noise)
    return Instrument(
        pitch,
        frequency / base,
        phase.astype(np.float32),
        amplitude.astype(np.float32),
        noise,
        release,
        movement.vibrato,
        movement.bend,
    )


def _spectrum(part: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Magnitudes in dB, Hz per bin, and the offset that makes a sine of amplitude 1 read 0 dB."""
    size = 1 << (2 * len(part) - 1).bit_length()
    window = np.hanning(len(part))
    magnitude = np.abs(np.fft.rfft(part * window, size)) * 2 / window.sum()
    return 20 * np.log10(magnitude + 1e-12), RATE / size, 4 * RATE / len(part)


def _parabola(db: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    left, middle, right = db[at - 1], db[at], db[at + 1]
    bend = left - 2 * middle + right
    return np.asarray(at, np.float64) + np.where(
        bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-9), 0
    )


def _harmonics(sound: NDArray[np.float64], base: float) -> NDArray[np.float64]:
    """Frequencies of the harmonics that stand out, following their stretch upwards."""
    db, step, lobe = _spectrum(sound[: round(0.9 * RATE)])
    found: list[float] = []
    ratio = 1.0
    top = db[: int(18_000 / step)].max()
    for k in range(1, _MOST_PARTIALS + 1):
        want = k * base * ratio
        if want > 18_000:
            break
        reach = max(min(0.3 * base, 0.03 * want + 4), 1.5 * step)
        low, high = int((want - reach) / step), int((want + reach) / step) + 2
        low = max(low, 1)
        at = low + int(np.argmax(db[low:high]))
        near = db[max(0, int((want - base / 2) / step)) : int((want + base / 2) / step) + 1]
        lonely = base < 1.5 * lobe  # neighbours run together: no valley to measure against
        if db[at] < top - 85 or (not lonely and db[at] < np.median(near) + 8):
            continue
        place = float(_parabola(db, np.array([at]))[0]) * step
        if abs(place / want - 1) < 0.02 and k > 1:
            ratio += 0.5 * (place / (k * base) - ratio)
        elif k == 1 and abs(place / want - 1) < 0.02:
            ratio = place / base
        found.append(place)
    return np.array(sorted({*found, *_between(db, step, base, found)}))


def _between(db: NDArray[np.float64], step: float, base: float, found: list[float]) -> list[float]:
    """Strong partials off the harmonics: sub-octaves of organs, fifths of some synthesisers."""
    high = int(6000 / step)
    inner = db[1 : high - 1]
    at = 1 + np.flatnonzero((inner > db[: high - 2]) & (inner >= db[2:high]))
    at = at[(db[at] > db[:high].max() - 45) & (at * step > max(25.0, 0.2 * base))]
    reach = max(4, round(0.2 * base / step))
    extra: list[float] = []
    for a in sorted(at, key=lambda a: -db[a]):
        place = float(_parabola(db, np.array([a]))[0]) * step
        near = db[max(0, a - reach) : a + reach + 1]
        lonely = all(abs(place - f) > 0.2 * base for f in (*found, *extra))
        if lonely and db[a] > np.median(near) + 20 and db[a] >= near.max():
            extra.append(place)
    return extra[:24]


def _peaks(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies of what rings, harmonic or not: long and then short looks at the beginning."""
    found: list[float] = []
    for start_s, stop_s in ((0.03, 0.8), (0.0, 0.13)):
        db, step, lobe = _spectrum(sound[round(start_s * RATE) : round(stop_s * RATE)])
        top = db.max()
        inner = db[1:-1]
        at = 1 + np.flatnonzero((inner > db[:-2]) & (inner >= db[2:]) & (inner > top - 70))
        at = at[(at * step > 25) & (at * step < 18_000)]
        reach = max(4, round(2.5 * lobe / step))
        padded = np.pad(db, reach, mode="edge")
        around = np.array([np.median(padded[a : a + 2 * reach + 1]) for a in at])
        at = at[db[at] > around + 9]
        order = at[np.argsort(-db[at])]
        for place, a in zip(_parabola(db, order) * step, order, strict=True):
            if len(found) >= _MOST_PEAKS:
                break
            if all(abs(place - f) > max(0.6 * lobe, 8.0) for f in found) and db[a] > top - 60:
                found.append(float(place))
    return np.array(sorted(found))


def _follow(
    sound: NDArray[np.float64], frequency: NDArray[np.float64], window: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Phases, amplitude weights (partials, decays), and what is left of the note."""
    half = window // 2
    padded = np.concatenate([np.zeros(half), sound, np.zeros(half)])
    fine = np.arange(0, round(0.4 * RATE), 240)
    coarse = np.arange(round(0.4 * RATE), len(sound) - half, 1920)
    centres = np.concatenate([fine, coarse])
    view = np.lib.stride_tricks.sliding_window_view(padded, window)
    shape = np.hanning(window + 1)[:-1]
    frames = view[centres] * shape
    inner = np.exp(-2j * np.pi * np.arange(window)[:, None] * frequency / RATE)
    turn = np.exp(-2j * np.pi * (centres[:, None] - half) * frequency / RATE)
    value = (frames.astype(np.complex64) @ inner.astype(np.complex64)) * turn * 2 / shape.sum()
    basis_time = np.arange(-half, len(sound) + half) / RATE
    basis = np.where(
        basis_time >= 0, np.exp(-np.maximum(basis_time, 0) / np.array(DECAYS_S)[:, None]), 0
    )
    smooth = np.stack(
        [np.lib.stride_tricks.sliding_window_view(b, window)[centres] @ shape for b in basis], 1
    )
    smooth /= shape.sum()  # (instants, decays)
    magnitude = np.abs(value)
    amplitude = np.zeros((len(frequency), len(DECAYS_S)))
    fitted = np.broadcast_to(magnitude.mean(0), magnitude.shape) if magnitude.size else magnitude
    for _ in range(3):  # errors count relative to the fit, not to what wavers about it
        weights = 1 / (fitted + 0.05 * magnitude.max(0, initial=0) + 1e-9)
        weights[len(fine) :] *= 2
        scaled = weights[:, :, None] * smooth[:, None]  # (instants, partials, decays)
        gram = np.einsum("njm,njk->jmk", scaled, scaled)
        trace = np.trace(gram, axis1=1, axis2=2)[:, None, None]
        gram += 1e-4 * trace * np.eye(len(DECAYS_S)) / len(DECAYS_S)
        right = np.einsum("njm,nj->jm", scaled, weights * magnitude)
        amplitude = np.linalg.solve(gram, right[..., None])[..., 0]
        fitted = np.maximum(smooth @ amplitude.T, 0)
    # Partials that waver keep their power.
    power = (weights * magnitude) ** 2
    ratio = np.sqrt(power.sum(0) / np.maximum(((weights * fitted) ** 2).sum(0), 1e-20))
    amplitude *= np.clip(ratio, 0.5, 2.0)[:, None]
    early = value[centres < round(0.08 * RATE)]
    phase = np.angle((early * np.abs(early)).sum(0))
    residual = sound - _resynthesis(value, centres, frequency, len(sound))
    return phase, amplitude, residual


def _resynthesis(
    value: NDArray[np.complex128],
    centres: NDArray[np.int64],
    frequency: NDArray[np.float64],
    samples: int,
) -> NDArray[np.float64]:
    """The partials as they were followed, complex amplitudes joined by straight lines."""
    out = np.zeros(samples)
    block = 240
    inner = np.exp(2j * np.pi * np.arange(block)[None] * frequency[:, None] / RATE)
    inner = inner.astype(np.complex64)
    starts = np.arange(0, samples - block, block)
    joined = (
        np.stack(
            [
                np.interp(np.append(starts, starts[-1] + block), centres, v.real)
                + 1j * np.interp(np.append(starts, starts[-1] + block), centres, v.imag)
                for v in value.T
            ],
            1,
        )
        if len(frequency)
        else np.zeros((len(starts) + 1, 0), complex)
    )
    turn = np.exp(2j * np.pi * starts[:, None] * frequency / RATE)
    fade = np.arange(block) / block
    first = (joined[:-1] * turn).astype(np.complex64) @ inner
    last = (joined[1:] * turn).astype(np.complex64) @ inner
    out[: len(starts) * block] = (first.real * (1 - fade) + last.real * fade).reshape(-1)
    return out


def _noise_levels(residual: NDArray[np.float64], *, pitched: bool) -> NDArray[np.float32]:
    """Natural log of the density of noise at :data:`NOISE_TIMES_S`, (times, bands)."""
    size, hop = 512, 128
    padded = np.concatenate([np.zeros(size // 2), residual])
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / ((window**2).sum() * RATE / 2)
    power[: size // 2 // hop + 1] *= 2  # half of the first windows lies before the note
    times = np.arange(len(frames)) * hop / RATE
    knots = np.log(np.array(NOISE_TIMES_S) + 0.004)
    place = np.interp(np.log(times + 0.004), knots, np.arange(len(knots)))
    edges = noise_band_edges()
    bins = np.arange(size // 2 + 1) * RATE / size
    band = np.clip(np.searchsorted(edges, bins, side="right") - 1, 0, NOISE_BANDS - 1)
    out = np.full((len(knots), NOISE_BANDS), np.nan)
    for k in range(len(knots)):
        near = np.abs(place - k) < 0.75
        if not near.any():
            near = np.arange(len(place)) == int(np.argmin(np.abs(place - k)))
        for b in range(NOISE_BANDS):
            cells = power[near][:, band == b]
            if cells.size == 0:
                continue
            # Between partials only their leakage is left: low quantiles leave it out. Noise has
            # exponentially distributed power, whose third decile is .357 of its mean.
            level = np.quantile(cells, 0.3) / 0.357 if pitched and cells.size >= 6 else cells.mean()
            out[k, b] = level
    for k in range(len(knots)):  # bands narrower than a bin take their neighbours'
        known = np.isfinite(out[k])
        out[k] = np.interp(np.arange(NOISE_BANDS), np.flatnonzero(known), out[k][known])
    return (0.5 * np.log(out + 1e-22)).astype(np.float32)


def _later_levels(
    sound: NDArray[np.float64], frequency: NDArray[np.float64], size: int
) -> NDArray[np.float32]:
    """As :func:`_noise_levels`, from 0.1 s on, in long windows; infinite before.

    Partials that waver leave much in the residual that is no noise. So bands that hold partials
    get the floor between them, and bands that hold none all that is there.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[:: size // 4]
    window = np.hanning(size + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / ((window**2).sum() * RATE / 2)
    times = (np.arange(len(frames)) * (size // 4) + size / 2) / RATE
    edges = noise_band_edges()
    bins = np.arange(size // 2 + 1) * RATE / size
    band = np.clip(np.searchsorted(edges, bins, side="right") - 1, 0, NOISE_BANDS - 1)
    lobe = 2.5 * RATE / size
    out = np.full((len(NOISE_TIMES_S), NOISE_BANDS), np.inf)
    for k, instant in enumerate(NOISE_TIMES_S):
        if instant < 0.1:
            continue
        near = np.abs(times - instant) <= max(0.3 * instant, np.abs(times - instant).min())
        for b in range(NOISE_BANDS):
            cells = power[near][:, band == b]
            held = (frequency > edges[b] - lobe) & (frequency < edges[b + 1] + lobe)
            # The second decile of exponentially distributed power is .223 of its mean.
            out[k, b] = np.quantile(cells, 0.2) / 0.223 if held.any() else cells.mean()
    return (0.5 * np.log(out + 1e-22)).astype(np.float32)


def _release(renderer: StemRenderer, program: int, pitch: int, *, percussion: bool) -> float:
    """How fast a note falls after its note-off, beyond its own decay, in dB per second."""
    off = round(0.3 * RATE) // 64 * 64
    stopped = renderer.note(program, pitch, 90, off, percussion=percussion)
    held = renderer.note(program, pitch, 90, 3 * off, percussion=percussion)
    rates = []
    for wait_s in (0.06, 0.12, 0.25):
        span = slice(off + round((wait_s - 0.02) * RATE), off + round((wait_s + 0.02) * RATE))
        powers = [
            float(np.mean(np.square(s[span]))) if len(s) > span.stop else 0.0
            for s in (stopped, held)
        ]
        if powers[1] <= 1e-16:
            continue
        rates.append(10 * np.log10(powers[1] / max(powers[0], powers[1] * 1e-6)) / wait_s)
    if not rates:
        return 300.0
    return float(np.clip(np.max(rates), 1.0, 900.0))
