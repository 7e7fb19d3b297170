"""What a listener would notice: drones, wrong chords, lost notes, noise between the partials.

Every figure is measured on the sound alone (and on what the score says), so it holds for any
generator, mono or stereo, at any rate; and each is meant to be read beside the same figure of the
composer's own render of the same request. A perplexity cannot see a held note; these do.

>>> rate = 16000
>>> tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(6 * rate) / rate)
>>> held = describe_sound(Waveform(tone[None].astype(np.float32), rate), Expected())
>>> held.drones, round(held.held_partial_s)
(True, 6)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform

__all__ = [
    "Expected",
    "ExpectedChord",
    "ExpectedNote",
    "SoundFigures",
    "describe_sound",
    "distinct_token_rate",
    "log_mel_error_db",
    "summarise",
]

RATE = 32_000
"""Every clip is measured at this rate, Hz, on the mean of its channels."""

HELD_PARTIAL_S, STILL_S = 3.0, 4.0
"""A clip drones when one partial dominates, or the picture stands still, for longer."""

_FFT, _HOP, _FPS = 4096, 640, 50
_LOWEST, _HIGHEST = 33, 100  # MIDI pitches of the pitch picture (55 Hz to 2.6 kHz)
_HARMONICS = 5
_PARTIAL_SHARE = 0.3  # of a frame's power, in one partial's main lobe
_GAP = 2  # frames for which a held partial may be drowned by a stroke
_STILL_DB = 2.5  # mean change of the log-mel bands within half a second
_QUARTERS = 4

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ExpectedChord:
    """A chord of the score: seconds, and its tones as pitch classes."""

    start_s: float
    end_s: float
    tones: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpectedNote:
    """A note of the score's lead: seconds and MIDI pitch."""

    start_s: float
    length_s: float
    pitch: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What the score says of a clip; times count from the clip's beginning."""

    chords: tuple[ExpectedChord, ...] = ()
    lead: tuple[ExpectedNote, ...] = ()


@dataclass(frozen=True, slots=True)
class SoundFigures:
    """Figures of one clip. Agreements are (hits, trials); counts are per quarter of the clip."""

    held_partial_s: float
    still_s: float
    chords: tuple[int, int]
    lead: tuple[int, int]
    strokes: tuple[int, ...]
    notes: tuple[int, ...]
    valley_to_peak_db: float
    level_db: float
    movement_db: float

    @property
    def drones(self) -> bool:
        """Whether a partial is held, or nothing changes, for too long."""
        return self.held_partial_s > HELD_PARTIAL_S or self.still_s > STILL_S


def describe_sound(waveform: Waveform, expected: Expected) -> SoundFigures:
    """Measure one clip against what its score says."""
    samples = _mono(waveform)
    picture = _magnitudes(samples, _FFT, _HOP)  # (frames, bins)
    pitches = _pitch_picture(picture)  # (frames, pitches), log magnitude
    mel = _log_mel(samples)
    return SoundFigures(
        held_partial_s=_held_partial_s(picture),
        still_s=_still_s(mel),
        chords=_chord_agreement(picture, expected.chords),
        lead=_lead_agreement(pitches, expected.lead),
        strokes=_per_quarter(_strokes(mel), len(mel)),
        notes=_per_quarter(_note_onsets(pitches), len(pitches)),
        valley_to_peak_db=_valley_to_peak_db(picture),
        level_db=float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9)),
        movement_db=_movement_db(mel),
    )


def log_mel_error_db(made: Waveform, reference: Waveform) -> float:
    """Mean absolute difference of 64 log-mel bands, dB, over the time that both last."""
    a, b = (_log_mel(_mono(one)) for one in (made, reference))
    count = min(len(a), len(b))
    return float(np.abs(a[:count] - b[:count]).mean())


def distinct_token_rate(tokens: NDArray[Any]) -> float:
    """Different tokens per frame, mean over the codebooks; `tokens` is (frames, codebooks).

    A model that has fallen into a held note draws the same few tokens again and again.

    >>> distinct_token_rate(np.array([[1, 5], [1, 6], [1, 7], [1, 8]]))
    0.625
    """
    frames, codebooks = tokens.shape
    return float(np.mean([len(np.unique(tokens[:, k])) / frames for k in range(codebooks)]))


def summarise(clips: Sequence[SoundFigures]) -> dict[str, Any]:
    """The figures of many clips as a report shows them; shares are from 0 to 1."""

    def share(pairs: Sequence[tuple[int, int]]) -> float | None:
        trials = sum(pair[1] for pair in pairs)
        return sum(pair[0] for pair in pairs) / trials if trials else None

    quarters = range(_QUARTERS)
    return {
        "clips": len(clips),
        "drone_rate": float(np.mean([clip.drones for clip in clips])),
        "longest_held_partial_s": max(clip.held_partial_s for clip in clips),
        "longest_still_s": max(clip.still_s for clip in clips),
        "chord_agreement": share([clip.chords for clip in clips]),
        "lead_note_agreement": share([clip.lead for clip in clips]),
        "strokes_per_quarter": [float(np.mean([c.strokes[q] for c in clips])) for q in quarters],
        "notes_per_quarter": [float(np.mean([c.notes[q] for c in clips])) for q in quarters],
        "valley_to_peak_db": float(np.mean([clip.valley_to_peak_db for clip in clips])),
        "level_db": float(np.mean([clip.level_db for clip in clips])),
        "movement_db": float(np.mean([clip.movement_db for clip in clips])),
    }


# -- pictures -------------------------------------------------------------------------------------


def _mono(waveform: Waveform) -> Array:
    samples: Array = waveform.mono().resample(RATE).samples[0]
    return samples


def _magnitudes(samples: Array, size: int, hop: int) -> Array:
    """Magnitudes of Hann windows centred every `hop` samples, (frames, size // 2 + 1)."""
    padded = np.pad(samples, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(samples) : hop]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    parts = [np.abs(np.fft.rfft(frames[i : i + 256] * window)) for i in range(0, len(frames), 256)]
    out: Array = (np.concatenate(parts) * (2 / window.sum())).astype(np.float32)
    return out


@lru_cache(maxsize=2)
def _mel_filters(bands: int, size: int) -> Array:
    """Triangular bands on the mel scale, (bands, bins), each of unit sum."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters = np.minimum(rising, falling).clip(min=0)
    nearest = np.argmin(np.abs(bins - edges[1:-1, None]), axis=1)
    empty = filters.sum(1) == 0
    filters[empty, nearest[empty]] = 1
    out: Array = (filters / filters.sum(1, keepdims=True)).astype(np.float32)
    return out


def _log_mel(samples: Array) -> Array:
    """Levels of 64 mel bands in dB every 20 ms, (frames, 64); silence is -80 dB."""
    magnitudes = _magnitudes(samples, 1024, _HOP)
    out: Array = 20 * np.log10(magnitudes @ _mel_filters(64, 1024).T + np.float32(1e-4))
    return out


def _pitch_picture(picture: Array) -> Array:
    """Log magnitude at each pitch from `_LOWEST` on up to its `_HARMONICS`th harmonic."""
    top = _HIGHEST + 1 + 28  # the fifth harmonic is 28 semitones up
    columns = []
    for pitch in range(_LOWEST, top):
        centre = 440 * 2 ** ((pitch - 69) / 12) * _FFT / RATE
        low, high = round(centre * 2 ** (-0.4 / 12)), round(centre * 2 ** (0.4 / 12))
        columns.append(picture[:, low : high + 1].max(1))
    out: Array = 20 * np.log10(np.stack(columns, 1) + np.float32(1e-5))
    return out


def _longest_run(held: NDArray[np.bool_], gap: int = 0) -> float:
    """Seconds of the longest run of true frames, over gaps of at most `gap` frames."""
    places = np.flatnonzero(held)
    if not len(places):
        return 0.0
    breaks = np.flatnonzero(np.diff(places) > gap + 1)
    starts = places[np.concatenate([[0], breaks + 1])]
    ends = places[np.concatenate([breaks, [len(places) - 1]])]
    return float((ends - starts).max() + 1) / _FPS


# -- figures --------------------------------------------------------------------------------------


def _held_partial_s(picture: Array) -> float:
    """Seconds for which one and the same partial is the strongest and holds much of the power."""
    low = round(80 * _FFT / RATE)
    power = picture[:, low : round(8000 * _FFT / RATE)] ** 2
    strongest = power.argmax(1)
    lobe = (strongest[:, None] + np.arange(-2, 3)).clip(0, power.shape[1] - 1)
    share = np.take_along_axis(power, lobe, 1).sum(1) / (power.sum(1) + 1e-12)
    counted = (share > _PARTIAL_SHARE) & (power.max(1) > 1e-7)
    return max(
        _longest_run(counted & (np.abs(strongest - centre) <= 1), _GAP)
        for centre in np.unique(strongest)
    )


def _still_s(mel: Array) -> float:
    """Seconds for which the log-mel picture hardly differs from half a second before."""
    lag, smooth = _FPS // 2, _FPS // 5
    if len(mel) <= lag + smooth:
        return 0.0
    floor = np.maximum(mel, mel.max() - 60)
    sums = np.cumsum(floor, axis=0, dtype=np.float64)
    slow = (sums[smooth:] - sums[:-smooth]) / smooth
    run = _longest_run(np.abs(slow[lag:] - slow[:-lag]).mean(1) < _STILL_DB)
    return run + (lag + smooth) / _FPS if run else 0.0


def _chord_agreement(picture: Array, chords: Sequence[ExpectedChord]) -> tuple[int, int]:
    """Chords that fit the sound better than each of their eleven transpositions: hits, trials."""
    chroma = _chroma(picture)
    hits = trials = 0
    for chord in chords:
        first, last = round((chord.start_s + 0.06) * _FPS), round(chord.end_s * _FPS)
        part = chroma[max(0, first) : last]
        if len(part) < 10 or part.sum() <= 0:
            continue
        heard = part.mean(0)
        scores = [heard[[(t + k) % 12 for t in chord.tones]].sum() for k in range(12)]
        trials += 1
        hits += int(np.argmax(scores) == 0)
    return hits, trials


def _chroma(picture: Array) -> Array:
    """Square roots of the spectral peaks from 80 to 2000 Hz by pitch class, (frames, 12)."""
    low, high = round(80 * _FFT / RATE), round(2000 * _FFT / RATE)
    here = picture[:, low:high]
    peaks = (here > picture[:, low - 1 : high - 1]) & (here >= picture[:, low + 1 : high + 1])
    values = np.sqrt(here * peaks)
    frequency = np.arange(low, high) * RATE / _FFT
    classes = np.round(12 * np.log2(frequency / 440) + 69).astype(int) % 12
    out: Array = np.stack([values[:, classes == k].sum(1) for k in range(12)], 1)
    return out


def _lead_agreement(pitches: Array, notes: Sequence[ExpectedNote]) -> tuple[int, int]:
    """Lead notes at whose onset their own pitch rises most among its twelve neighbours."""
    places = [round(12 * np.log2(h)) for h in range(1, _HARMONICS + 1)]
    count = _HIGHEST - _LOWEST + 1
    weights = [1.0, 0.8, 0.6, 0.5, 0.4]
    floor = np.maximum(pitches, pitches.max() - 60)
    salience = np.sum(
        [w * floor[:, p : p + count] for p, w in zip(places, weights, strict=True)], axis=0
    )
    hits = trials = 0
    for note in notes:
        here = round(note.start_s * _FPS)
        pitch = note.pitch - _LOWEST
        if here < 5 or here + 8 > len(salience) or not 6 <= pitch < count - 6:
            continue
        rise = salience[here + 2 : here + 7].mean(0) - salience[here - 5 : here - 2].mean(0)
        trials += 1
        hits += int(np.argmax(rise[pitch - 6 : pitch + 6]) == 6)
    return hits, trials


def _strokes(mel: Array) -> NDArray[np.bool_]:
    """Frames in which many bands rise at once: drum strokes and plucked attacks."""
    floor = np.maximum(mel, mel.max() - 60)
    rise = (floor[2:] - floor[:-2]).clip(min=0).mean(1)
    padded = np.pad(rise, 2, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 5).max(1)
    onset = (rise >= around) & (rise > 4.0)
    return np.concatenate([[False], onset, [False]])


def _note_onsets(pitches: Array) -> NDArray[np.int64]:
    """How many pitches begin in each frame: they rise by 10 dB and stand above neighbours."""
    here = pitches[:, : _HIGHEST - _LOWEST + 1]
    here = np.maximum(here, here.max() - 45)
    rise = here[4:] - here[:-4]
    later = here[4:]
    above = np.ones_like(later, bool)
    above[:, 1:] &= later[:, 1:] > later[:, :-1]
    above[:, :-1] &= later[:, :-1] >= later[:, 1:]
    begun = (rise > 10) & above
    fresh = begun.copy()
    for lag in range(1, 6):  # a rise lasts several frames: its first one counts
        fresh[lag:] &= ~begun[:-lag]
    counts = np.zeros(len(here), np.int64)
    counts[4:] = fresh.sum(1)
    return counts


def _per_quarter(onsets: NDArray[Any], frames: int) -> tuple[int, ...]:
    edges = [frames * q // _QUARTERS for q in range(_QUARTERS + 1)]
    return tuple(int(onsets[a:b].sum()) for a, b in pairwise(edges))


def _movement_db(mel: Array) -> float:
    """How much a band changes from one frame to the next, dB: a lifeless sound moves too little.

    Bands within 50 dB of the loudest count.
    """
    change = np.abs(np.diff(mel, axis=0))
    counted = mel[1:] > mel.max() - 50
    return float(change[counted].mean()) if counted.any() else 0.0


def _valley_to_peak_db(picture: Array) -> float:
    """Level between partials relative to the partials, 100 to 3000 Hz, dB: what is there is noise.

    Spans of 190 Hz whose peak is within 30 dB of the frame's strongest count.
    """
    span = 24
    low = round(100 * _FFT / RATE)
    count = round(2900 * _FFT / RATE) // span
    level = 20 * np.log10(picture[:, low : low + count * span] + 1e-6)
    level = level.reshape(len(picture), count, span)
    peaks = level.max(2)
    valleys = np.quantile(level, 0.2, axis=2)
    loudest = peaks.max(1, keepdims=True)
    counted = (peaks > loudest - 30) & (loudest > loudest.max() - 30)
    return float((valleys - peaks)[counted].mean()) if counted.any() else 0.0
