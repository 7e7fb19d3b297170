"""Match stretches of a recording to registered content.

A suspect file is rarely one clean copy: a set with two of our tracks in it, ten seconds of ours
after a minute of something else, a copy played three percent faster. So the fingerprint is searched
window by window, windows that follow each other in the same original are joined, and the ends of
each stretch are set where agreement ends, to about a quarter of a second.

>>> import numpy as np
>>> from watermark.fingerprint.haitsma_kalker import WORDS_PER_SECOND
>>> rng = np.random.default_rng(0)
>>> words = lambda s: rng.integers(1, 2**32, round(s * WORDS_PER_SECOND), dtype=np.uint32)
>>> index, track = FingerprintIndex(), Fingerprint(words(30), 30.0)
>>> index.add("ours", track)
>>> mix = np.concatenate([words(40), track.between(5.0, 17.0).words, words(20)])
>>> [(s.key, round(s.start_s), round(s.end_s), round(s.original_start_s))
...  for s in stretches(Fingerprint(mix, 72.0), index)]
[('ours', 40, 52, 5)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import Waveform
from watermark.errors import FingerprintError
from watermark.fingerprint.haitsma_kalker import (
    FRAME_S,
    MATCH_DISTANCE,
    MIN_OVERLAP_S,
    WORDS_PER_SECOND,
    Fingerprint,
    FingerprintMatch,
    fingerprint,
)
from watermark.fingerprint.index import FingerprintIndex

__all__ = [
    "COPIED_DISTANCE",
    "OVERLAID_DISTANCE",
    "OVERLAID_FROM_S",
    "Stretch",
    "agreeing",
    "at_any_speed",
    "distance_at",
    "merged",
    "nearest_at",
    "stretches",
]

#: Share of differing bits up to which content *at the one place a seal names* is called overlaid:
#: ours under speech or other music. Searching all places would find as much by chance; at one place
#: 6 s of unrelated music never came below 0.44 in 15,660 comparisons (docs/verification.md).
OVERLAID_DISTANCE = 0.42
#: Sound that must be compared for that, seconds.
OVERLAID_FROM_S = 2 * MIN_OVERLAP_S
#: Share of differing bits from which content at that place is called another one. Between the two
#: lies ours under much louder sound as well as some unrelated music: neither is said of it.
COPIED_DISTANCE = 0.46

_WINDOW_S, _HOP_S = 6.0, 3.0
_LEVEL = 0.35  # between a copy's distance and another recording's: sets the ends of a stretch
_SMOOTH_S = 0.5
_PER_WINDOW = 4  # originals looked at in a window
_DRIFT = 0.08  # of tempo, at most, that one original's places may run away by
_STEADY = 0.004  # a slope of places below this is no change of tempo
_SPEED_STEP = 0.005  # between the speeds tried first; a fingerprint stands about twice as much
_SPEED_RATE = 8_000  # Hz: it looks no higher than 2 kHz


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a recording that agrees with an original.

    Attributes:
        key: of the original.
        start_s, end_s: seconds of the recording.
        original_start_s: where ``start_s`` lies in the original.
        distance: share of fingerprint bits that differ.
        tempo: seconds of the original per second of the recording; 1 unless the recording was
            stretched or squeezed.
    """

    key: str
    start_s: float
    end_s: float
    original_start_s: float
    distance: float
    tempo: float = 1.0

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def shared_s(self, start_s: float, end_s: float) -> float:
        """Seconds of the recording that both cover."""
        return max(0.0, min(self.end_s, end_s) - max(self.start_s, start_s))


def stretches(query: Fingerprint, index: FingerprintIndex) -> list[Stretch]:
    """Every stretch of ``query`` that agrees with a registered recording, most of it first.

    Stretches of different originals may overlap: works of one maker can be that alike. Of one
    original, of several places that explain the same seconds (music repeats itself) the best stays.
    """
    found: list[Stretch] = []
    for run in _runs(query, index):
        found += _ends(run, query, index)
    found += _whole(query, index)
    found = [replace(s, end_s=min(s.end_s, query.duration_s)) for s in found]
    found.sort(key=lambda s: s.length_s * (0.5 - s.distance), reverse=True)
    kept: list[Stretch] = []
    for stretch in found:
        doubled = any(
            other.key == stretch.key
            and other.shared_s(stretch.start_s, stretch.end_s) > 0.5 * stretch.length_s
            for other in kept
        )
        if not doubled:
            kept.append(stretch)
    return kept


def merged(found: Iterable[Stretch]) -> list[Stretch]:
    """Stretches of several views, best first; of one original and the same seconds the best."""
    kept: list[Stretch] = []
    for stretch in sorted(found, key=lambda s: s.length_s * (s.distance - 0.5)):
        half_s = 0.5 * stretch.length_s
        if not any(
            other.key == stretch.key and other.shared_s(stretch.start_s, stretch.end_s) > half_s
            for other in kept
        ):
            kept.append(stretch)
    return kept


def agreeing(
    query: Fingerprint, reference: Fingerprint, offset_s: float, *, within_s: float = 0.0
) -> list[Stretch]:
    """The stretches that agree where ``query``'s second 0 is ``reference``'s ``offset_s``.

    The best alignment within ``within_s`` of it is taken. Keys are empty.
    """
    middle, margin = round(offset_s * WORDS_PER_SECOND), round(within_s * WORDS_PER_SECOND)
    best: list[Stretch] = []
    most = 0.0
    for offset in range(middle - margin, middle + margin + 1):
        parts = _aligned(query.words, reference.words, offset)
        gain = sum(part.length_s * (0.5 - part.distance) for part in parts)
        if gain > most:
            best, most = parts, gain
    return best


def distance_at(
    query: Fingerprint,
    reference: Fingerprint,
    offset_s: float,
    *,
    within_s: float = 0.07,
    least_s: float = OVERLAID_FROM_S,
) -> float | None:
    """Share of differing bits at one place, give or take three words; None with too little sound.

    At least ``least_s`` must be shared: for deciding at :data:`OVERLAID_DISTANCE` more sound is
    needed than for a plain match.
    """
    middle, margin = round(offset_s * WORDS_PER_SECOND), round(within_s * WORDS_PER_SECOND)
    distances = []
    for offset in range(middle - margin, middle + margin + 1):
        bits, sound, _ = _differing(query.words, reference.words, offset)
        if sound.sum() >= round(least_s * WORDS_PER_SECOND):
            distances.append(float(bits[sound].mean()) / 32)
    return min(distances, default=None)


def nearest_at(
    queries: Sequence[Fingerprint], reference: Fingerprint, offset_s: float, *, within_s: float
) -> tuple[float | None, bool]:
    """The least :func:`distance_at` of several views of a recording; None with too little sound.

    Also whether :data:`OVERLAID_FROM_S` of sound were compared, not just what a match takes.
    """
    for least_s in (OVERLAID_FROM_S, MIN_OVERLAP_S):
        found = (
            distance_at(query, reference, offset_s, within_s=within_s, least_s=least_s)
            for query in queries
        )
        nearest = min((distance for distance in found if distance is not None), default=None)
        if nearest is not None:
            return nearest, least_s == OVERLAID_FROM_S
    return None, False


def at_any_speed(
    waveform: Waveform,
    search: Callable[[Fingerprint], FingerprintMatch | None],
    *,
    limit: float,
) -> FingerprintMatch | None:
    """The best match when the recording is played at other speeds, 1 - limit to 1 + limit.

    Pitch and tempo change together. The match's ``speed`` is how fast the *recording* plays; its
    place and overlap are of the undone recording. Takes 30 times a fingerprint and a search.
    """
    span = waveform.mono().resample(_SPEED_RATE)

    def tried(speed: float) -> FingerprintMatch | None:
        try:
            query = fingerprint(Waveform(span.samples, round(span.rate / speed)))
        except FingerprintError:
            return None
        found = search(query)
        return None if found is None or not found.is_match else replace(found, speed=speed)

    steps = int(limit / _SPEED_STEP + 1e-9)
    hits = [tried(1 + _SPEED_STEP * k) for k in range(-steps, steps + 1) if k]
    best = _nearest(hits)
    if best is None:
        return None
    for finer in (_SPEED_STEP / 2, _SPEED_STEP / 4):
        best = _nearest([best, tried(best.speed - finer), tried(best.speed + finer)]) or best
    return best


def _nearest(hits: list[FingerprintMatch | None]) -> FingerprintMatch | None:
    return min((hit for hit in hits if hit is not None), key=lambda h: h.distance, default=None)


# -- windows, and what follows each other in the same original ---------------------------------


@dataclass(slots=True)
class _Run:
    """Windows that show one original, each with where the recording's second 0 would lie in it."""

    key: str
    starts_s: list[float]
    offsets_s: list[float]
    distances: list[float]

    def continues(self, start_s: float, offset_s: float) -> bool:
        gap = start_s - self.starts_s[-1]
        return gap <= 2 * _HOP_S + 1e-6 and abs(offset_s - self.offsets_s[-1]) <= max(
            0.1, _DRIFT * gap
        )


def _runs(query: Fingerprint, index: FingerprintIndex) -> list[_Run]:
    total_s = len(query.words) / WORDS_PER_SECOND
    done: list[_Run] = []
    alive: list[_Run] = []
    if total_s < _WINDOW_S + _HOP_S:
        return []  # the whole is one window
    for start_s in np.arange(0.0, total_s - _WINDOW_S / 2, _HOP_S):
        window = query.between(start_s, start_s + _WINDOW_S)
        for hit in index.search(window, limit=_PER_WINDOW):
            offset_s = hit.offset_s - start_s
            run = next(
                (r for r in alive if r.key == hit.key and r.continues(start_s, offset_s)), None
            )
            if run is None:
                run = _Run(str(hit.key), [], [], [])
                alive.append(run)
            run.starts_s.append(float(start_s))
            run.offsets_s.append(float(offset_s))
            run.distances.append(hit.distance)
        old = [r for r in alive if start_s - r.starts_s[-1] > 2 * _HOP_S]
        done += old
        alive = [r for r in alive if r not in old]
    return done + alive


def _ends(run: _Run, query: Fingerprint, index: FingerprintIndex) -> list[Stretch]:
    """A run as stretches with exact ends; one whose tempo was changed keeps its windows' ends."""
    slope = 0.0
    if len(run.starts_s) >= 3:
        slope = float(np.polyfit(run.starts_s, run.offsets_s, 1)[0])
    if abs(slope) > _STEADY:
        start_s, end_s = run.starts_s[0], min(run.starts_s[-1] + _WINDOW_S, query.duration_s)
        offset_s = float(np.mean(run.offsets_s) + slope * (start_s - np.mean(run.starts_s)))
        distance = float(np.mean(run.distances))
        return [Stretch(run.key, start_s, end_s, start_s + offset_s, distance, 1 + slope)]
    start_s = run.starts_s[0] - _WINDOW_S
    part = query.between(start_s, run.starts_s[-1] + 2 * _WINDOW_S)
    first_s = max(0.0, round(start_s * WORDS_PER_SECOND) / WORDS_PER_SECOND)
    offset_s = float(np.median(run.offsets_s)) + first_s
    reference = index.reference(run.key)
    return [
        replace(s, key=run.key, start_s=s.start_s + first_s, end_s=s.end_s + first_s)
        for s in agreeing(part, reference, offset_s, within_s=0.05)
    ]


def _whole(query: Fingerprint, index: FingerprintIndex) -> list[Stretch]:
    """What the query as one window shows: all there is for a short one."""
    found = []
    for hit in index.search(query):
        reference = index.reference(str(hit.key))
        found += [
            replace(s, key=str(hit.key)) for s in agreeing(query, reference, hit.offset_s)
        ] or [
            Stretch(
                str(hit.key),
                max(0.0, -hit.offset_s),
                max(0.0, -hit.offset_s) + hit.overlap_s,
                max(0.0, hit.offset_s),
                hit.distance,
            )
        ]
    return found


# -- one alignment -----------------------------------------------------------------------------


def _differing(
    q: NDArray[np.uint32], r: NDArray[np.uint32], offset: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], int]:
    """Differing bits of each shared word, where both have sound, and the first shared word."""
    first, last = max(0, -offset), min(len(q), len(r) - offset)
    if last <= first:
        return np.empty(0, np.uint8), np.empty(0, np.bool_), 0
    a, b = q[first:last], r[first + offset : last + offset]
    return np.bitwise_count(a ^ b), (a != 0) & (b != 0), first


def _aligned(q: NDArray[np.uint32], r: NDArray[np.uint32], offset: int) -> list[Stretch]:
    bits, sound, first = _differing(q, r, offset)
    if not sound.any():
        return []
    gain = np.where(sound, _LEVEL - bits / 32, 0.0)
    found = []
    for low, high in _best_spans(gain):
        count = int(sound[low:high].sum())
        # Less than usual is only looked at where the recording has no more.
        all_of_it = count >= max(0.9 * np.count_nonzero(q), WORDS_PER_SECOND)
        if count < MIN_OVERLAP_S * WORDS_PER_SECOND and not all_of_it:
            continue
        distance = float(bits[low:high][sound[low:high]].mean()) / 32
        if distance <= MATCH_DISTANCE:
            start_s = (first + low) / WORDS_PER_SECOND
            end_s = (first + high - 1) / WORDS_PER_SECOND + FRAME_S
            found.append(Stretch("", start_s, end_s, start_s + offset / WORDS_PER_SECOND, distance))
    return found


def _best_spans(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Where the sum of ``gain`` is largest, and again left and right of that."""
    least = round(_SMOOTH_S * WORDS_PER_SECOND)
    todo, spans = [(0, len(gain))], []
    while todo:
        start, stop = todo.pop()
        if stop - start < least:
            continue
        sums = np.concatenate([[0.0], np.cumsum(gain[start:stop])])
        lowest = np.minimum.accumulate(sums)
        high = int(np.argmax(sums - lowest))
        low = int(np.argmin(sums[: high + 1]))
        if sums[high] - sums[low] <= 0.05 * least or high - low < least:
            continue
        spans.append((start + low, start + high))
        todo += [(start, start + low), (start + high, stop)]
    return sorted(spans)
