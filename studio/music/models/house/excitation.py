"""The decoder's input: every note of a stem, from tables of instruments.

A note has two signals. The **tonal** one is a sum of partials, each with a measured frequency (so
bells and drum bodies are inharmonic), a phase and an amplitude that follows a sum of exponential
decays. The **noise** one is noise with a measured spectrum that changes with time: breath, hammers,
the skins of drums. The networks of :mod:`studio.music.models.house.stem_codec` then shape both by
band gains. Onsets are exact to the sample, pitches to the table's measured frequencies.

The tables are measured once from single notes
(:mod:`studio.music.training.stems.instrument_tables`). A note's signal depends on its program,
pitch and length alone, and every stretch of a stem can be computed by itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import ConfigError
from studio.music.models.house.notes import (
    CUT_DB_PER_S,
    FRAME,
    FRAME_RATE,
    RATE,
    TimedNote,
    Voice,
    level_gain,
    pan_gains,
    voices,
)
from watermark.util.files import replacing

__all__ = [
    "DECAYS_S",
    "NOISE_BANDS",
    "NOISE_TIMES_S",
    "Excitation",
    "Instrument",
    "InstrumentTables",
    "noise_band_edges",
    "nominal_frequency",
    "render_note",
]

Signal = NDArray[np.float32]

DECAYS_S = (0.012, 0.04, 0.13, 0.45, 1.6, np.inf)
"""Time constants that the amplitude of a partial is a sum of, in seconds."""

BEND_TIMES_S = (0.0, 0.03, 0.06, 0.1, 0.15, 0.21, 0.28, 0.36, 0.46)
"""Instants at which the first slide of a note was measured, in seconds."""

NOISE_BANDS = 32
NOISE_TIMES_S = (0.0, 0.006, 0.014, 0.025, 0.04, 0.065, 0.1, 0.16, 0.26, 0.42, 0.7, 1.2, 2.0)
"""Instants at which the noise of a note was measured, in seconds; the last one holds on."""

_BLOCK = 128  # amplitudes of partials run straight from block to block of 2.7 ms
_NOISE_FFT = 512
_NOISE_HOP = 256
_SPECTRA = 512
_CURVE_FRAMES = 600  # 12 s; longer notes stay as they are then
_NEPER = np.log(10) / 20  # natural log of a ratio per dB
_ATTACK, _DRUM_ATTACK = 96, 16  # samples over which partials set in
_RING_DB = 65.0
_LONGEST_RING_S = 4.0
_HIGHEST_HZ = 20_000.0
_CACHE_BYTES = 96 * 2**20


def nominal_frequency(pitch: int) -> float:
    """Frequency of a MIDI pitch in Hz.

    >>> nominal_frequency(69)
    440.0
    """
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def noise_band_edges() -> NDArray[np.float64]:
    """Edges of the noise bands in Hz, on the mel scale, (NOISE_BANDS + 1,)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges: NDArray[np.float64] = 700 * (10 ** (np.linspace(0, top, NOISE_BANDS + 1) / 2595) - 1)
    return edges


@dataclass(frozen=True, slots=True)
class Instrument:
    """One program at one pitch, or one drum.

    * ``ratio`` (partials,): frequencies over the nominal one of ``pitch`` (drums: in Hz);
    * ``phase`` (partials,): at the onset, in radians;
    * ``amplitude`` (partials, decays): weights of :data:`DECAYS_S`;
    * ``noise`` (times, bands): natural log of the density of noise, in full scale per root of Hz;
    * ``release_db``: fall after the note-off, in dB per second;
    * ``vibrato``: rate in Hz, depth in cents, delay in seconds;
    * ``bend`` (times,): cents off the pitch at :data:`BEND_TIMES_S`, as winds slide into a note.
    """

    pitch: int
    ratio: NDArray[np.float64]
    phase: NDArray[np.float32]
    amplitude: NDArray[np.float32]
    noise: NDArray[np.float32]
    release_db: float
    vibrato: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bend: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(len(BEND_TIMES_S), np.float32)
    )


class InstrumentTables:
    """All instruments, found by program and pitch; at velocity 127 and level 0 dB."""

    def __init__(self, instruments: dict[tuple[bool, int, int], Instrument]) -> None:
        self._instruments = instruments
        self._pitches: dict[tuple[bool, int], NDArray[np.int64]] = {}
        self._anchor = np.full((2, 128, 128), -1, np.int16)
        self._gain = np.ones((2, 128, 128), np.float16)
        for percussion, program, pitch in sorted(instruments):
            known = self._pitches.get((percussion, program), np.empty(0, np.int64))
            self._pitches[percussion, program] = np.append(known, pitch)

    def __len__(self) -> int:
        return len(self._instruments)

    def get(self, program: int, pitch: int, percussion: bool) -> Instrument | None:
        """The instrument measured at exactly this pitch."""
        return self._instruments.get((percussion, program, pitch))

    def choose(self, program: int, pitch: int, percussion: bool, anchor: int, gain: float) -> None:
        """Play a pitch by the instrument measured at `anchor`, `gain` times as loud."""
        self._anchor[int(percussion), program, pitch] = anchor
        self._gain[int(percussion), program, pitch] = gain

    def find(self, program: int, pitch: int, percussion: bool) -> tuple[Instrument, float] | None:
        """The instrument that plays a pitch, and its gain.

        A kit that was not measured plays the drums of kit 0; an unknown drum is silent.
        """
        kit = int(percussion)
        if percussion and (True, program) not in self._pitches:
            program = 0
        anchor = int(self._anchor[kit, program, pitch])
        if anchor < 0:
            pitches = self._pitches.get((percussion, program))
            if pitches is None or (percussion and pitch not in pitches):
                return None
            anchor = int(pitches[np.argmin(np.abs(pitches - pitch))])
        found = self._instruments.get((percussion, program, anchor))
        return None if found is None else (found, float(self._gain[kit, program, pitch]))

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The tables as named arrays, for one file; the inverse of :meth:`from_arrays`."""
        keys = sorted(self._instruments)
        items = [self._instruments[key] for key in keys]
        return {
            "key": np.array([[int(k[0]), k[1], k[2]] for k in keys], np.int16),
            "partials": np.array([len(item.ratio) for item in items], np.int16),
            "ratio": np.concatenate([item.ratio for item in items]).astype(np.float32),
            "phase": np.concatenate([item.phase for item in items]).astype(np.float16),
            "amplitude": np.concatenate([item.amplitude for item in items]).astype(np.float16),
            "noise": np.stack([item.noise for item in items]).astype(np.float16),
            "release_db": np.array([item.release_db for item in items], np.float16),
            "vibrato": np.array([item.vibrato for item in items], np.float16),
            "bend": np.stack([item.bend for item in items]).astype(np.float16),
            "anchor": self._anchor,
            "gain": self._gain,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> InstrumentTables:
        """Read what :meth:`to_arrays` wrote. Raises :class:`ConfigError`."""
        try:
            key = np.asarray(arrays["key"], np.int64)
            ends = np.cumsum(np.asarray(arrays["partials"], np.int64))
            if len(key) != len(ends) or (len(ends) and ends[-1] != len(arrays["ratio"])):
                raise ConfigError("the instrument tables are not whole")
            instruments = {}
            for row, (percussion, program, pitch) in enumerate(key.tolist()):
                part = slice(ends[row - 1] if row else 0, ends[row])
                rate, depth, delay = np.asarray(arrays["vibrato"][row], np.float64).tolist()
                instruments[bool(percussion), program, pitch] = Instrument(
                    pitch,
                    np.asarray(arrays["ratio"][part], np.float64),
                    np.asarray(arrays["phase"][part], np.float32),
                    np.asarray(arrays["amplitude"][part], np.float32),
                    np.asarray(arrays["noise"][row], np.float32),
                    float(np.asarray(arrays["release_db"][row], np.float64)),
                    (rate, depth, delay),
                    np.asarray(arrays["bend"][row], np.float32),
                )
            tables = cls(instruments)
            tables._anchor[:] = arrays["anchor"]
            tables._gain[:] = arrays["gain"]
        except (KeyError, IndexError, ValueError) as exc:
            raise ConfigError("the instrument tables are not whole") from exc
        return tables

    def save(self, path: Path) -> None:
        """Write the tables as a compressed npz file."""
        arrays: dict[str, Any] = self.to_arrays()
        with replacing(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> InstrumentTables:
        """Read an npz file of :meth:`save`. Raises :class:`ConfigError`."""
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls.from_arrays({name: data[name] for name in data.files})
        except (OSError, ValueError) as exc:
            raise ConfigError(f"cannot read the instrument tables {path}: {exc}") from exc


class Excitation:
    """Plays notes from tables; remembers the signals of notes that come again."""

    def __init__(self, tables: InstrumentTables) -> None:
        self.tables = tables
        self._cache: OrderedDict[tuple[bool, int, int, int], Signal] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()  # of the cache
        self._curves: dict[tuple[bool, int, int], NDArray[np.float64]] = {}

    def stem(self, notes: Iterable[TimedNote], start: int, stop: int) -> Signal:
        """Samples `start` to `stop` of the notes together: tonal and noise, shape (2, samples)."""
        out = np.zeros((2, stop - start), np.float32)
        for voice in voices(notes):
            self._add(voice, out, start, 1.0)
        return out

    def panned(self, notes: Iterable[TimedNote], start: int, stop: int) -> Signal:
        """As :meth:`stem`, with each part at its place: (2 sides, 2, samples)."""
        out = np.zeros((2, 2, stop - start), np.float32)
        for voice in voices(notes):
            for side, gain in enumerate(pan_gains(voice.note.pan)):
                if gain:
                    self._add(voice, out[side], start, gain)
        return out

    def power(self, notes: Iterable[TimedNote], frames: int) -> NDArray[np.float64]:
        """Mean power of the notes in each frame, (frames,), without making any sound.

        Voices are taken as independent. It costs about a hundredth of the sound, and lets the
        loudness of a whole piece be known before its first sample.
        """
        out = np.zeros(frames + 1)
        for voice in voices(notes):
            note = voice.note
            found = self.tables.find(note.program, note.pitch, note.percussion)
            first = voice.onset // FRAME
            if found is None or first >= frames:
                continue
            instrument, own = found
            curve = self._power_curve(instrument, note.percussion, note.pitch)
            held = voice.length // FRAME + 1
            if held > len(curve):
                curve = np.append(curve, np.full(held - len(curve), curve[-1]))
            times = np.arange(len(curve)) / FRAME_RATE
            stop_s = voice.length / RATE
            whole = curve * np.exp(
                -2 * _NEPER * instrument.release_db * np.maximum(times - stop_s, 0)
            )
            if voice.cut is not None:
                since = np.maximum(times - voice.cut / RATE, 0)
                whole = whole * np.exp(-2 * _NEPER * CUT_DB_PER_S * since)
            count = min(len(whole), frames - first)
            gain = own * level_gain(note) * (note.velocity / 127) ** 2
            out[first : first + count] += gain**2 * whole[:count]
        return out[:frames]

    def _power_curve(
        self, instrument: Instrument, percussion: bool, pitch: int
    ) -> NDArray[np.float64]:
        """Mean power of a note that is held, in each of its frames."""
        key = (percussion, id(instrument), pitch)
        if key not in self._curves:
            base = 1.0 if percussion else nominal_frequency(pitch)
            times = (np.arange(_CURVE_FRAMES) + 0.5) / FRAME_RATE
            decays = np.exp(-times[:, None] / np.array(DECAYS_S))
            used = instrument.ratio * base < _HIGHEST_HZ
            tonal = np.maximum(decays @ instrument.amplitude[used].T, 0)
            widths = np.diff(noise_band_edges())
            noise = np.exp(2.0 * instrument.noise) @ widths  # at the instants of the table
            self._curves[key] = 0.5 * (tonal**2).sum(1) + np.interp(times, NOISE_TIMES_S, noise)
        return self._curves[key]

    def _add(self, voice: Voice, out: Signal, start: int, gain: float) -> None:
        """Add a voice to `out` (2, samples), which begins at sample `start`."""
        first = voice.onset - start
        samples = out.shape[1]
        longest = voice.length + round((_LONGEST_RING_S + 0.1) * RATE)
        if first >= samples or first + longest <= 0:
            return
        note = voice.note
        sound = self.note(note.program, note.pitch, voice.length, note.percussion)
        skip = max(0, -first)
        count = min(sound.shape[1] - skip, samples - max(first, 0))
        if count <= 0:
            return
        gain *= level_gain(note) * (note.velocity / 127) ** 2
        piece = sound[:, skip : skip + count] * np.float32(gain)
        if voice.cut is not None and voice.cut < skip + count:
            after = np.arange(skip, skip + count, dtype=np.float32) - voice.cut
            piece *= 10 ** (np.maximum(after, 0) * np.float32(-CUT_DB_PER_S / 20 / RATE))
        out[:, max(first, 0) : max(first, 0) + count] += piece

    def note(self, program: int, pitch: int, length: int, percussion: bool = False) -> Signal:
        """A whole note at velocity 127, (2, samples): tonal and noise; `length` to the note-off."""
        key = (percussion, program, pitch, length)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        found = self.tables.find(program, pitch, percussion)
        if found is None:
            sound = np.zeros((2, 0), np.float32)
        else:
            sound = render_note(found[0], pitch, length, percussion) * np.float32(found[1])
        with self._lock:
            if key not in self._cache:  # another thread may have been quicker
                self._cache[key] = sound
                self._cached += sound.nbytes
            while self._cached > _CACHE_BYTES:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        return sound


def render_note(instrument: Instrument, pitch: int, length: int, percussion: bool) -> Signal:
    """Tonal and noise signal of a note, (2, samples)."""
    samples = _sounding(instrument, length)
    base = 1.0 if percussion else nominal_frequency(pitch)
    tonal = _partials(instrument, base, samples)
    if instrument.vibrato[1] > 0 or instrument.bend.any():
        tonal = _move(tonal, instrument.vibrato, instrument.bend)
    attack = min(_DRUM_ATTACK if percussion else _ATTACK, samples)  # partials begin at any phase
    tonal[:attack] *= np.sin(np.linspace(0, np.pi / 2, attack, dtype=np.float32)) ** 2
    out = np.stack([tonal, _noise(instrument.noise, samples, 37 * instrument.pitch + pitch)])
    if samples > length:
        after = np.arange(1, samples - length + 1, dtype=np.float32)
        out[:, length:] *= np.exp(after * np.float32(-instrument.release_db * _NEPER / RATE))
    fade = min(256, samples)
    out[:, samples - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return out


def _sounding(instrument: Instrument, length: int) -> int:
    """Samples of a note until it is 65 dB below its loudest instant; whole blocks."""
    times = np.arange(0, length / RATE + _LONGEST_RING_S, 0.02)
    decays = np.exp(-times[:, None] / np.array(DECAYS_S))
    tonal = np.maximum(decays @ instrument.amplitude.sum(0), 0) if len(instrument.ratio) else 0.0
    loudness = np.log(np.exp(instrument.noise).max(1) * 50 + 1e-12)
    level = tonal + np.exp(np.interp(times, NOISE_TIMES_S, loudness))
    level *= np.exp(-np.maximum(times - length / RATE, 0) * instrument.release_db * _NEPER)
    heard = np.flatnonzero(level > level.max() * 10 ** (-_RING_DB / 20))
    samples = round((times[heard[-1]] + 0.02) * RATE)
    return int(-(-samples // _NOISE_HOP) * _NOISE_HOP)


def _partials(instrument: Instrument, base: float, samples: int) -> Signal:
    """Sum of the partials, (samples,).

    A block is a product of matrices: phases at its start times phases within it, once with the
    amplitudes at its start and once with those at its end, cross-faded.
    """
    frequency = instrument.ratio * base
    used = frequency < _HIGHEST_HZ
    omega = 2 * np.pi * frequency[used] / RATE
    if not len(omega):
        return np.zeros(samples, np.float32)
    blocks = samples // _BLOCK
    starts = np.arange(blocks + 1, dtype=np.float64) * _BLOCK
    decays = np.exp(-starts[:, None] / RATE / np.array(DECAYS_S)).astype(np.float32)
    amplitude = np.maximum(decays @ instrument.amplitude[used].T, 0)  # (blocks + 1, partials)
    # Phases in double precision: after 10 s a partial has turned 100,000 times.
    turned = np.mod(starts[:-1, None] * omega + instrument.phase[used], 2 * np.pi)
    cosine, sine = (f(turned.astype(np.float32)) for f in (np.cos, np.sin))
    within = np.arange(_BLOCK)[None] * omega[:, None]  # (partials, block)
    inner = np.concatenate([np.cos(within), -np.sin(within)]).astype(np.float32)
    fade = np.arange(_BLOCK, dtype=np.float32) / _BLOCK
    out = np.concatenate([amplitude[:-1] * cosine, amplitude[:-1] * sine], 1) @ inner * (1 - fade)
    out += np.concatenate([amplitude[1:] * cosine, amplitude[1:] * sine], 1) @ inner * fade
    return np.asarray(out.reshape(-1), np.float32)


def _move(signal: Signal, vibrato: tuple[float, float, float], bend: NDArray[np.float32]) -> Signal:
    """Let time run faster and slower: the first slide, and vibrato that sets in after a delay."""
    samples = len(signal)
    time = np.arange(samples) / RATE
    rate, depth, delay = vibrato
    since = np.maximum(time - delay, 0)
    cents = np.interp(time, BEND_TIMES_S, bend)
    cents += depth * np.minimum(since / 0.3, 1) * np.sin(2 * np.pi * rate * since)
    place = np.cumsum(np.exp2(cents / 1200))
    place -= place[0]
    index = np.minimum(place.astype(np.int64), samples - 3)
    x = (place - index).astype(np.float32)
    padded = np.concatenate([signal[:1], signal])
    a, b, c, d = (padded[index + k] for k in range(4))
    # Catmull-Rom interpolation.
    bent: Signal = b + 0.5 * x * (
        c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a))
    )
    return bent


@lru_cache(maxsize=1)
def _random_spectra() -> NDArray[np.complex64]:
    """Spectra of white noise of density 1, (frames, bins)."""
    generator = np.random.default_rng(20261129)
    shape = (_SPECTRA, _NOISE_FFT // 2 + 1)
    parts = generator.standard_normal((2, *shape)) * np.sqrt(_NOISE_FFT * RATE / 4)
    return np.asarray(parts[0] + 1j * parts[1], np.complex64)


@lru_cache(maxsize=1)
def _noise_grid() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where each bin lies among the bands: the band below, and the share of the next."""
    edges = noise_band_edges()
    bins = np.arange(_NOISE_FFT // 2 + 1) * RATE / _NOISE_FFT
    across = np.interp(bins, (edges[:-1] + edges[1:]) / 2, np.arange(NOISE_BANDS))
    low = np.minimum(across.astype(np.int64), NOISE_BANDS - 2)
    return low, (across - low).astype(np.float32)


def _noise(levels: NDArray[np.float32], samples: int, seed: int) -> Signal:
    """Noise whose density follows `levels` (times, bands), (samples,).

    The first frame is centred on the onset and cut there: nothing sounds before the note.
    """
    frames = samples // _NOISE_HOP + 1
    times = np.arange(frames) * _NOISE_HOP / RATE
    knots = np.log(np.array(NOISE_TIMES_S) + 0.004)
    place = np.interp(np.log(times + 0.004), knots, np.arange(len(knots)))
    low = np.minimum(place.astype(int), len(knots) - 2)
    part = (place - low).astype(np.float32)[:, None]
    lower, share = _noise_grid()
    density = np.exp(levels[:, lower] * (1 - share) + levels[:, lower + 1] * share)
    gain = density[low] * (1 - part) + density[low + 1] * part  # (frames, bins)
    white = _random_spectra()
    spectrum = white[(np.arange(frames) + 97 * seed) % _SPECTRA] * gain
    window = np.sin(np.pi * (np.arange(_NOISE_FFT, dtype=np.float32) + 0.5) / _NOISE_FFT)
    pieces = np.fft.irfft(spectrum, _NOISE_FFT) * window.astype(np.float32)
    # Two halves of each piece; the first piece's first half would sound before the onset.
    joined = pieces[:-1, _NOISE_HOP:] + pieces[1:, :_NOISE_HOP]
    return np.asarray(joined, np.float32).reshape(-1)[:samples]
