"""Haitsma-Kalker audio fingerprints, and how two of them match.

A seal can be copied onto other music; a fingerprint cannot. Every 23 ms of a track becomes a 32-bit
word: whether the energy difference between neighbouring bands (33 of them, 300 to 2000 Hz) grew or
shrank since the word before (J. Haitsma and T. Kalker, "A highly robust audio fingerprinting
system", ISMIR 2002). Copies differ in few bits
through any codec; other music differs in about half.

The distance of two fingerprints is the share of bits that differ (BER) where they overlap, at the
alignment that chance explains least. Up to :data:`MATCH_DISTANCE` it is the same recording;
docs/watermark-cli.md gives the distances measured on both sides of it. Many recordings are searched
by :mod:`watermark.fingerprint.index`.

>>> import numpy as np
>>> rng = np.random.default_rng(1)
>>> track = Waveform(rng.standard_normal((1, 16_000 * 8)).astype(np.float32) * 0.1, 16_000)
>>> whole, part = fingerprint(track), fingerprint(track.slice(3.0, 7.0))
>>> found = match(part, whole)
>>> found.is_match, abs(found.offset_s - 3.0) < 0.03
(True, True)
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform
from watermark.errors import FingerprintError

__all__ = [
    "FRAME_S",
    "MATCH_DISTANCE",
    "MIN_OVERLAP_S",
    "WORDS_PER_SECOND",
    "Fingerprint",
    "FingerprintMatch",
    "Fingerprinter",
    "compare",
    "fingerprint",
    "match",
]

#: Share of differing bits up to which two stretches are called the same recording. Copies through
#: codecs down to MP3 at 32 kbit/s stayed below 0.24 on every clip measured, unrelated music at or
#: above 0.41. Between them lie pieces of one maker with the same chords in the same tempo, so this
#: is below Haitsma and Kalker's 0.35; figures and the cases it gets wrong in docs/watermark-cli.md.
MATCH_DISTANCE = 0.25

#: Least overlap, in seconds, that an alignment must have (or the shorter of the two, if shorter).
MIN_OVERLAP_S = 3.0

_RATE = 5_512  # Hz
_FRAME = 2_048  # samples, 0.37 s
_HOP = 128  # samples
_BANDS = 33
_LOW_HZ, _HIGH_HZ = 300.0, 2_000.0
_BLOCK = 2_048  # frames transformed at a time: 32 MB
_SILENCE = 1e-9  # band energy per frame (Hann-windowed, full scale 1): about -95 dBFS

#: Words per second of audio.
WORDS_PER_SECOND = _RATE / _HOP

#: Seconds of audio behind one word: the last word of a track begins so long before its end.
FRAME_S = _FRAME / _RATE

_MAGIC = b"HKF1"
_DOUBTFUL = 6  # bits of a word that a search may turn: four found 8 % less of 3 s as Opus 24k


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The words of a recording.

    Attributes:
        words: uint32 ``(frames,)``; 0 stands for silence, which is compared with nothing.
        duration_s: seconds of audio they were made from.
        doubtful: uint8 ``(frames, 6)``: the bits of each word that were closest to being the other
            value, most doubtful first (bit 0 is the least significant). A search tries both values
            of them. They are not stored; None where they are not known.
    """

    words: NDArray[np.uint32]
    duration_s: float
    doubtful: NDArray[np.uint8] | None = None

    def between(self, start_s: float, end_s: float) -> Fingerprint:
        """The words of these seconds, as far as there are any."""
        first = min(len(self.words), max(0, round(start_s * WORDS_PER_SECOND)))
        last = max(first, min(len(self.words), round(end_s * WORDS_PER_SECOND)))
        return Fingerprint(
            self.words[first:last],
            (last - first) / WORDS_PER_SECOND,
            None if self.doubtful is None else self.doubtful[first:last],
        )

    def to_bytes(self) -> bytes:
        """Magic ``HKF1``, duration (float64), then the words, all little-endian."""
        return _MAGIC + struct.pack("<d", self.duration_s) + self.words.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Fingerprint:
        """The reverse.

        Raises:
            FingerprintError: bytes of another kind.
        """
        if len(data) < 12 or data[:4] != _MAGIC or len(data) % 4:
            raise FingerprintError("not a fingerprint")
        (duration_s,) = struct.unpack_from("<d", data, 4)
        if not 0 <= duration_s < 1e9:
            raise FingerprintError("not a fingerprint: impossible duration")
        return cls(np.frombuffer(data, "<u4", offset=12).astype(np.uint32), float(duration_s))


@dataclass(frozen=True, slots=True)
class FingerprintMatch:
    """How two fingerprints lie to each other.

    Attributes:
        distance: share of bits that differ where both have sound; 0.5 for unrelated music.
        offset_s: where the query's second 0 lies in the reference; negative if before its start.
        overlap_s: seconds compared.
        key: what the reference was added to an index as; None from :func:`match`.
        speed: at which the query plays; not 1 where
        :func:`watermark.fingerprint.matching.at_any_speed` found
            it so, and then offset and overlap are in seconds of the reference.
    """

    distance: float
    offset_s: float
    overlap_s: float
    key: Hashable = None
    speed: float = 1.0

    @property
    def is_match(self) -> bool:
        """Whether it is the same recording."""
        return self.distance <= MATCH_DISTANCE


def fingerprint(waveform: Waveform) -> Fingerprint:
    """The fingerprint of a recording of at least 0.4 s (43 words a second; 40 ms for 30 s).

    Raises:
        FingerprintError: shorter.
    """
    printer = Fingerprinter()
    printer.push(waveform)
    return printer.finish()


class Fingerprinter:
    """Makes the fingerprint of a recording that arrives in blocks, in constant memory.

    What :func:`fingerprint` says of the whole recording, up to the rounding of a resampler; the
    result takes 350 bytes a second.
    """

    def __init__(self) -> None:
        self._down: _Resampler | None = None
        self._rest = np.empty(0, np.float32)  # 5,512 Hz, from the next frame's start
        self._last: NDArray[np.float64] | None = None  # slope of the frame before
        self._words: list[NDArray[np.uint32]] = []
        self._doubtful: list[NDArray[np.uint8]] = []
        self._seconds = 0.0

    def push(self, block: Waveform) -> None:
        """The next part; all parts have one rate."""
        if self._down is None:
            self._down = _Resampler(block.rate)
        self._seconds += block.duration_s
        self._add(self._down.push(block.mono().samples[0]))

    def finish(self) -> Fingerprint:
        """The fingerprint of all parts. Raises :class:`FingerprintError` under 0.4 s."""
        if self._down is not None:
            self._add(self._down.finish())
        if not self._words:
            raise FingerprintError(f"{self._seconds:.2f} s of audio are too short to recognise")
        return Fingerprint(
            np.concatenate(self._words), self._seconds, np.concatenate(self._doubtful)
        )

    def _add(self, samples: NDArray[np.float32]) -> None:
        mono = np.concatenate([self._rest, samples])
        frames = max(0, 1 + (len(mono) - _FRAME) // _HOP)
        for first in range(0, frames, _BLOCK):
            self._frames(_band_energy(mono, first, min(first + _BLOCK, frames)))
        self._rest = mono[frames * _HOP :]

    def _frames(self, energy: NDArray[np.float64]) -> None:
        """Words from the energies of the next frames, (frames, 33)."""
        slope = energy[:, :-1] - energy[:, 1:]  # (frames, 32)
        loud = energy.max(axis=1)
        if self._last is None:  # the very first frame has nothing before it
            rise, loud = slope[1:] - slope[:-1], loud[1:]
        else:
            rise = slope - np.concatenate([self._last[None], slope[:-1]])
        self._last = slope[-1]
        if not len(rise):
            return
        words = np.packbits(rise > 0, axis=1).view(">u4")[:, 0].astype(np.uint32)
        words[loud < _SILENCE] = 0
        # packbits puts column 0 into the highest bit.
        nearest = np.argsort(np.abs(rise), axis=1)[:, :_DOUBTFUL]
        self._words.append(words)
        self._doubtful.append((31 - nearest).astype(np.uint8))


class _Resampler:
    """soxr on a mono stream, to the fingerprint's rate."""

    def __init__(self, rate: int) -> None:
        import soxr

        self._stream = (
            None
            if rate == _RATE
            else soxr.ResampleStream(rate, _RATE, 1, dtype="float32", quality="MQ")
        )

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._stream is None:
            return samples
        out = self._stream.resample_chunk(np.ascontiguousarray(samples))
        return np.asarray(out, np.float32).reshape(-1)

    def finish(self) -> NDArray[np.float32]:
        if self._stream is None:
            return np.empty(0, np.float32)
        out = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        return np.asarray(out, np.float32).reshape(-1)


def match(query: Fingerprint, reference: Fingerprint) -> FingerprintMatch | None:
    """How the two lie to each other best; None if no alignment shares enough sound.

    The best alignment is the one that chance explains least, not the one of least distance: over
    hundreds of offsets some short overlap of unrelated music always looks alike. All offsets are
    compared at once, by one Fourier correlation per bit.
    """
    q, r = query.words, reference.words
    if len(q) == 0 or len(r) == 0:
        return None
    least = _least_overlap(q, r)
    size = 1 << int(len(q) + len(r) - 1).bit_length()
    both = _correlate((q != 0)[:, None], (r != 0)[:, None], size)
    agree = _correlate(_plus_minus(q), _plus_minus(r), size)
    overlap = np.rint(both)
    # Standard deviations from one half, were the bits independent (they are not, but alike so at
    # every offset).
    evidence = np.where(overlap >= least, agree / np.sqrt(32 * np.maximum(overlap, 1)), -np.inf)
    at = int(np.argmax(evidence))
    if not np.isfinite(evidence[at]):
        return None
    offset = at if at < len(r) else at - size  # lags beyond the reference are the negative ones
    return compare(q, r, offset)


def compare(q: NDArray[np.uint32], r: NDArray[np.uint32], offset: int) -> FingerprintMatch | None:
    """The exact distance at one offset (words of the reference before the query's first).

    None where too little sound is shared.
    """
    first, last = max(0, -offset), min(len(q), len(r) - offset)
    if last <= first:
        return None
    a, b = q[first:last], r[first + offset : last + offset]
    sound = (a != 0) & (b != 0)
    count = int(np.count_nonzero(sound))
    if count < _least_overlap(q, r):
        return None
    differing = int(np.bitwise_count(a[sound] ^ b[sound]).sum())
    return FingerprintMatch(
        differing / (32 * count), offset / WORDS_PER_SECOND, count / WORDS_PER_SECOND
    )


def _band_energy(mono: NDArray[np.float32], first: int, last: int) -> NDArray[np.float64]:
    """Energy of frames first to last: ``(frames, 33 bands)``."""
    span = mono[first * _HOP : (last - 1) * _HOP + _FRAME]
    frames = np.lib.stride_tricks.sliding_window_view(span, _FRAME)[::_HOP]
    window = np.hanning(_FRAME).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / _FRAME**2
    edges = np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1)
    bins = np.rint(edges * _FRAME / _RATE).astype(np.int64)
    return np.asarray(np.add.reduceat(power[:, : bins[-1]], bins[:-1], axis=1), np.float64)


def _least_overlap(q: NDArray[np.uint32], r: NDArray[np.uint32]) -> int:
    """Words an alignment must share."""
    sound = min(int(np.count_nonzero(q)), int(np.count_nonzero(r)))
    return max(1, min(round(MIN_OVERLAP_S * WORDS_PER_SECOND), int(0.9 * sound)))


def _plus_minus(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The bits as +-1, ``(words, 32)``; silence as 0."""
    bits = np.unpackbits(words.astype(">u4").view(np.uint8)).reshape(-1, 32)
    signs = bits.astype(np.float32) * 2 - 1
    signs[words == 0] = 0
    return signs


def _correlate(q: NDArray[np.generic], r: NDArray[np.generic], size: int) -> NDArray[np.float64]:
    """Sum over columns and rows t of q[t] * r[t + lag], for every lag modulo size: ``(size,)``."""
    total = np.zeros(size // 2 + 1, np.complex128)
    for column in range(q.shape[1]):
        a = np.fft.rfft(q[:, column].astype(np.float64), size)
        total += np.conj(a) * np.fft.rfft(r[:, column].astype(np.float64), size)
    return np.asarray(np.fft.irfft(total, size), np.float64)
