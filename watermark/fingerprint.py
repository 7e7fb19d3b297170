"""What the sound is, apart from any seal: Haitsma-Kalker fingerprints, matching and an index.

A seal can be copied onto other music; a fingerprint cannot. Every 23 ms of a track becomes a 32-bit
word: whether the energy difference between neighbouring bands (33 of them, 300 to 2000 Hz) grew or
shrank since the word before (J. Haitsma and T. Kalker, "A highly robust audio fingerprinting
system", ISMIR 2002). Copies differ in few bits
through any codec; other music differs in about half.

The distance of two fingerprints is the share of bits that differ (BER) where they overlap, at the
alignment that chance explains least. From :data:`MATCH_DISTANCE` on it is the same recording;
docs/watermark-cli.md gives the distances measured on both sides of it.

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
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watermark.audio import Waveform
from watermark.errors import FingerprintError

__all__ = [
    "MATCH_DISTANCE",
    "MIN_OVERLAP_S",
    "WORDS_PER_SECOND",
    "Fingerprint",
    "FingerprintIndex",
    "FingerprintMatch",
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

_MAGIC = b"HKF1"
_MAX_POSTINGS = 2_000  # a word standing in more places than this tells nothing (held notes)
_CANDIDATES = 8  # alignments of most votes that are compared bit by bit
_SEGMENTS = 6  # sorted parts of an index before they are merged


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The words of a recording.

    Attributes:
        words: uint32 ``(frames,)``; 0 stands for silence, which is compared with nothing.
        duration_s: seconds of audio they were made from.
    """

    words: NDArray[np.uint32]
    duration_s: float

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
    """

    distance: float
    offset_s: float
    overlap_s: float
    key: Hashable = None

    @property
    def is_match(self) -> bool:
        """Whether it is the same recording."""
        return self.distance <= MATCH_DISTANCE


def fingerprint(waveform: Waveform) -> Fingerprint:
    """The fingerprint of a recording of at least 0.4 s (43 words a second; 35 ms for 30 s).

    Raises:
        FingerprintError: shorter.
    """
    import soxr

    mono = waveform.mono().samples[0]
    if waveform.rate != _RATE:
        mono = soxr.resample(mono, waveform.rate, _RATE, quality="MQ")
    frames = 1 + (len(mono) - _FRAME) // _HOP
    if frames < 2:
        raise FingerprintError(f"{waveform.duration_s:.2f} s of audio are too short to recognise")
    energy = np.concatenate(
        [
            _band_energy(mono, first, min(first + _BLOCK, frames))
            for first in range(0, frames, _BLOCK)
        ]
    )
    slope = energy[:, :-1] - energy[:, 1:]  # (frames, 32)
    bits = slope[1:] > slope[:-1]
    words = np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)
    words[energy[1:].max(axis=1) < _SILENCE] = 0
    return Fingerprint(words, waveform.duration_s)


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
    return _compare(q, r, offset)


class FingerprintIndex:
    """Finds the recordings that a query comes from, among many.

    Inverted lists from words to places, votes per alignment, then an exact comparison of the best.
    12 bytes per word: about 16 kB for 30 s of music.
    """

    def __init__(self) -> None:
        self._keys: list[Hashable] = []
        self._words: list[NDArray[np.uint32]] = []
        self._segments: list[_Segment] = []
        self._pending = 0  # first track that is in no segment yet

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Hashable, reference: Fingerprint) -> None:
        """Register a recording under a key."""
        self._keys.append(key)
        self._words.append(reference.words)

    def search(self, query: Fingerprint, limit: int = 5) -> list[FingerprintMatch]:
        """The matches (distance at most :data:`MATCH_DISTANCE`), nearest first, one per key.

        Exact words are looked up first, and if that finds nothing all words one bit away: after a
        coarse codec few words survive whole.
        """
        self._settle()
        at = np.arange(len(query.words))
        found = self._compare_best(query, query.words, at)
        if not found:
            flips = np.uint32(1) << np.arange(32, dtype=np.uint32)
            nearby = (query.words[:, None] ^ flips).reshape(-1)
            nearby[np.repeat(query.words == 0, 32)] = 0
            found = self._compare_best(query, nearby, np.repeat(at, 32))
        return sorted(found, key=lambda item: item.distance)[:limit]

    def _compare_best(
        self, query: Fingerprint, words: NDArray[np.uint32], at: NDArray[np.int64]
    ) -> list[FingerprintMatch]:
        found: dict[int, FingerprintMatch] = {}
        for track, offset in self._votes(words, at):
            for nearby in (offset - 1, offset, offset + 1):
                result = _compare(query.words, self._words[track], nearby)
                if result is None or not result.is_match:
                    continue
                if track not in found or result.distance < found[track].distance:
                    found[track] = replace(result, key=self._keys[track])
        return list(found.values())

    def _settle(self) -> None:
        """Sort what was added since; merge when there are many parts."""
        if self._pending == len(self._keys):
            return
        if len(self._segments) >= _SEGMENTS:
            self._segments, self._pending = [], 0
        self._segments.append(_Segment(self._words[self._pending :], self._pending))
        self._pending = len(self._keys)

    def _votes(self, words: NDArray[np.uint32], at: NDArray[np.int64]) -> list[tuple[int, int]]:
        """(track, offset in words) of the alignments most agree on; words[i] stands at at[i]."""
        cast = [segment.alignments(words, at) for segment in self._segments]
        tracks = np.concatenate([track for track, _ in cast]) if cast else np.empty(0, np.int64)
        if not len(tracks):
            return []
        offsets = np.concatenate([offset for _, offset in cast])
        # One number per (track, offset); a query of up to 2**30 words may begin before the track.
        joined, counts = np.unique((tracks << 32) + offsets + 2**30, return_counts=True)
        top = np.argsort(-counts, kind="stable")[:_CANDIDATES]
        return [(int(j >> 32), int(j & 0xFFFFFFFF) - 2**30) for j in joined[top]]


class _Segment:
    """Some tracks' words, sorted, with the place of each."""

    def __init__(self, tracks: list[NDArray[np.uint32]], first: int) -> None:
        lengths = np.array([len(words) for words in tracks], np.int64)
        flat = np.concatenate(tracks) if tracks else np.empty(0, np.uint32)
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat[order], 1) :]  # word 0, silence, is in no list
        self._words = flat[order]
        self._places = order.astype(np.uint32 if len(flat) < 2**32 else np.int64)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])  # (tracks + 1,)
        self._first = first

    def alignments(
        self, words: NDArray[np.uint32], at: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(track, offset) of every place where a word of the query stands."""
        low = np.searchsorted(self._words, words, "left")
        count = np.searchsorted(self._words, words, "right") - low
        count[count > _MAX_POSTINGS] = 0
        where = np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())
        places = self._places[where].astype(np.int64)
        track = np.searchsorted(self._starts, places, "right") - 1
        offset = places - self._starts[track] - np.repeat(at, count)
        return track + self._first, offset


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


def _compare(q: NDArray[np.uint32], r: NDArray[np.uint32], offset: int) -> FingerprintMatch | None:
    """The exact distance at one offset (words of the reference before the query's first)."""
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
