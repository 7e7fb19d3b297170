"""Search a codebook for the watermark and offset that fit soft bits best.

What :mod:`watermark.coding.identify` asks, which says what a score is and how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.coding.codebook import SealGroup, bits_of
from watermark.coding.message import BITS, SCRAMBLE_PERIOD_S
from watermark.errors import CodebookError

__all__ = [
    "MIN_OVERLAP_S",
    "Hit",
    "Phase",
    "better",
    "phases_of",
    "search",
    "search_all",
    "signs",
]

#: Seconds that file and seal must share for an alignment to be looked at.
MIN_OVERLAP_S = 2

_INDEX_FROM = 20_000  # seals: below, the exhaustive search is as fast
_FEW = 1_000  # seals of a group that are always compared one by one
_PLACED_INDEX_FROM = 2**16  # the same, where the place in the scramble is known
_PRODUCT = 2**17  # numbers in a matrix product: blocks of seals that stay in the cache
_PRODUCT_S = 16  # seconds of the seals in a product
_VOTING_S = 256  # seconds of the file whose words vote together, to bound the memory
_POSSIBLE = 0.1  # share of a registry's scores above which its seals are not looked at one by one
_LOOKUP = 2**15  # seals whose scores are looked up together
_DIRECT = 10**8  # scores that are looked up rather than asking the index
_LIKELY_BITS = 4  # the index looks up the 2**4 likeliest words of every second
_LIKELY_BITS_PLACED = 6  # where the place modulo the scramble's period is known
_ROUNDING = 1e-3  # of scores that are compared with a limit
_CLIP = 2.0  # logits are limited to this multiple of their median size: no bit decides alone


@dataclass(frozen=True, slots=True)
class Phase:
    """The file's logits as whole seconds that begin ``start_s`` into the file.

    ``weights`` is float32 ``(seconds, 16)``: limited logits. ``energy[a:b].sum()`` of
    ``energy`` (seconds,) is the squared norm over seconds a to b. ``second``: where row 0 lies in
    the original, modulo the scramble's period, if that is known.
    """

    start_s: float
    weights: NDArray[np.float32]
    energy: NDArray[np.float64]
    second: int | None = None

    def overlap(self, length: int, offset: int) -> tuple[int, int]:
        """Rows that have a place in a sequence of ``length`` whose second ``offset`` is row 0."""
        return max(0, -offset), min(len(self.weights), length - offset)

    def offsets(self, length: int) -> range:
        """Offsets at which file and sequence share enough seconds."""
        least = min(MIN_OVERLAP_S, len(self.weights), length)
        first, stop = least - len(self.weights), length - least + 1
        if self.second is None:
            return range(first, stop)
        return range(first + (self.second - first) % SCRAMBLE_PERIOD_S, stop, SCRAMBLE_PERIOD_S)


@dataclass(frozen=True, slots=True)
class Hit:
    """The best alignment found so far."""

    z: float
    group: SealGroup
    seal: int
    offset: int
    phase: Phase


def signs(hit: Hit, first: int, last: int) -> NDArray[np.float32]:
    """+-1 ``(last - first, 16)``: what the hit's seal predicts for file seconds first to last."""
    words = hit.group.words[hit.offset + first : hit.offset + last, hit.seal]
    return bits_of(words).reshape(-1, BITS)


def better(one: Hit | None, other: Hit | None) -> Hit | None:
    """The one with the higher score."""
    if one is None or (other is not None and other.z > one.z):
        return other
    return one


def phases_of(logits: NDArray[np.floating], hop_s: float, window_s: float) -> list[Phase]:
    """The logits cut into whole seconds, at every phase the hop can tell apart (at most 12)."""
    try:
        array = np.asarray(logits, np.float64)
    except (TypeError, ValueError) as exc:
        raise CodebookError(
            f"logits are numbers of shape (windows, {BITS}), not {type(logits).__name__}; audio is "
            "named by detect(..., codebook=...)"
        ) from exc
    if array.ndim != 2 or array.shape[1] != BITS:
        raise CodebookError(f"logits have shape (windows, {BITS}), not {array.shape}")
    if not np.isfinite(array).all():
        raise CodebookError("logits hold NaN or infinite values")
    if not (0 < hop_s <= 1 and 0 < window_s <= 1):
        raise CodebookError("hop and window are above 0 s and at most 1 s")
    sizes = np.abs(array[array != 0])
    limit = _CLIP * float(np.median(sizes)) if sizes.size else 0.0
    limited = np.clip(array, -limit, limit)
    centres = np.arange(len(array)) * hop_s + window_s / 2
    count = min(12, max(1, round(1 / hop_s)))
    phases = []
    for start_s in np.arange(count) / count:
        # Each window goes to the second its centre lies in; of windows of a whole second only the
        # one that fits best counts, of shorter ones all.
        second = np.floor(centres - start_s + 1e-9).astype(np.int64)
        distance = np.abs(centres - start_s - second - 0.5)
        keep = (second >= 0) & (distance <= max(0.5 * hop_s, 0.5 - 0.5 * window_s) + 1e-6)
        if window_s >= 1:
            keep &= distance <= 0.5 / count + 1e-6
        if not keep.any():
            continue
        rows = np.zeros((int(second[keep].max()) + 1, BITS))
        np.add.at(rows, second[keep], limited[keep])
        phases.append(Phase(float(start_s), rows.astype(np.float32), (rows**2).sum(axis=1)))
    return phases


def _norms(phase: Phase, length: int) -> NDArray[np.float64]:
    """The weights' norm over the shared seconds, per offset of ``phase.offsets(length)``."""
    offsets = np.array(phase.offsets(length), np.int64)
    sums = np.concatenate([[0.0], np.cumsum(phase.energy)])
    last = np.minimum(len(phase.weights), length - offsets)
    norms = np.sqrt(np.maximum(sums[last] - sums[np.maximum(0, -offsets)], 0.0))
    return np.where(norms > 0, norms, np.inf)


def search(
    groups: Sequence[SealGroup], phases: list[Phase], most: float
) -> tuple[Hit | None, list[tuple[SealGroup, list[Phase]]]]:
    """The best alignment, in the way that is quickest for the number of seals.

    Args:
        groups: seals to look among, all of one key and length.
        phases: of the file.
        most: chance at one alignment above which a seal need not be found.

    Returns:
        The best that was found, and the groups and phases in which a seal may have been missed:
        :func:`search_all` finds it.
    """
    best: Hit | None = None
    left: list[tuple[SealGroup, list[Phase]]] = []
    placed = all(phase.second is not None for phase in phases)
    large = [group for group in groups if placed and len(group) >= _PLACED_INDEX_FROM]
    if large:
        best, left = _search_placed(large, phases, most)
    many = sum(map(len, groups)) >= _INDEX_FROM
    for group in groups:
        if group in large:
            continue
        if many and len(group) >= _FEW and not _direct(group, phases):
            best = better(best, _search_index(group, phases))
            left.append((group, phases))
        else:
            best = better(best, search_all(group, phases))
    return best, left


def _direct(group: SealGroup, phases: list[Phase]) -> bool:
    """Looking up all scores takes no longer than the index."""
    if any(phase.second is None for phase in phases):
        return False
    spans = [p.overlap(group.length, o) for p in phases for o in p.offsets(group.length)]
    return sum(last - first for first, last in spans) * len(group) <= _DIRECT


def search_all(group: SealGroup, phases: list[Phase]) -> Hit | None:
    """Score every alignment."""
    if not group.small and all(phase.second is not None for phase in phases):
        return _search_tables(group, phases)
    return _search_products(group, phases)


def _search_tables(group: SealGroup, phases: list[Phase]) -> Hit | None:
    """Few alignments: look up what every word would score in a second of the file, and add up."""
    best: Hit | None = None
    for phase in phases:
        tables = [_word_scores(row) for row in phase.weights]
        norms = _norms(phase, group.length).astype(np.float32)
        for start in range(0, len(group), _LOOKUP):
            words = group.words[:, start : start + _LOOKUP]
            for offset, norm in zip(phase.offsets(group.length), norms, strict=True):
                first, last = phase.overlap(group.length, offset)
                total = np.zeros(words.shape[1], np.float32)
                score = np.empty_like(total)
                for t in range(first, last):
                    # Every word has a place in the table; "clip" only spares a check.
                    np.take(tables[t], words[offset + t], out=score, mode="clip")
                    total += score
                seal = int(np.argmax(total))
                z = float(total[seal] / norm)
                if best is None or z > best.z:
                    best = Hit(z, group, start + seal, offset, phase)
    return best


def _search_placed(
    groups: list[SealGroup], phases: list[Phase], most: float
) -> tuple[Hit | None, list[tuple[SealGroup, list[Phase]]]]:
    """The best of the seals whose chance, at one alignment, is at most ``most``.

    And the groups and phases in which the likeliest words voted only: too many seals may reach it
    there.
    """
    best: Hit | None = None
    left = []
    length = groups[0].length
    for phase in phases:
        tables = [_word_scores(row) for row in phase.weights]
        norms = _norms(phase, length)
        offsets = phase.offsets(length)
        spans = [phase.overlap(length, offset) for offset in offsets]
        needs = _least_scores(phase, spans, norms, most)
        asked = groups
        for offset, (first, last), norm, need in zip(offsets, spans, norms, needs, strict=True):
            steps = _steps(tables[first:last], phase.weights[first:last], offset + first, need)
            too_many = []
            for group in asked:
                found = _reaching(group, steps)
                if found is None:
                    too_many.append(group)
                    best = better(best, _search_index(group, [phase]))
                    continue
                seals, total = found
                if not len(seals):
                    continue
                at = int(np.argmax(total))
                z = float(total[at] / norm)
                if best is None or z > best.z:
                    best = Hit(z, group, int(seals[at]), offset, phase)
            left += [(group, [phase]) for group in too_many]
            asked = [group for group in asked if group not in too_many]
    return best, left


@dataclass(frozen=True, slots=True)
class _Step:
    """A second of the file at an alignment.

    Attributes:
        second: of the seals' sequences.
        table: what each word scores.
        quota: its part of the score that is needed; -inf where any seal may have the whole.
        words: that reach the quota.
    """

    second: int
    table: NDArray[np.float32]
    quota: float
    words: NDArray[np.int64]


def _steps(
    tables: list[NDArray[np.float32]], weights: NDArray[np.float32], begin: int, need: float
) -> list[_Step]:
    """The seconds from ``begin`` on with their quotas, which are ``need`` in all.

    None where no seal scores so much. A second that was not read has no part.
    """
    sizes = np.sqrt(np.square(weights, dtype=np.float64).sum(axis=1))
    highest = float(np.abs(weights).sum(dtype=np.float64))
    need -= _ROUNDING * highest
    if need > highest:
        return []
    steps = []
    for t in np.flatnonzero(sizes).tolist():
        # Chance reaches such a quota equally often in every second, about.
        quota = need * float(sizes[t] / sizes.sum())
        words = np.flatnonzero(tables[t] >= quota)
        steps.append(_Step(begin + t, tables[t], quota, words))
    return steps


def _reaching(
    group: SealGroup, steps: list[_Step]
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The seals that score the sum of the quotas, with repeats, and their scores.

    None where too many have to be looked at. Of the seconds, put in a ring, there is one from which
    such a seal keeps up with the quotas: in the first second alone, in the first two together, and
    so on (Qin and Xiao, "Pigeonring", PVLDB 12(2), 2018). So each second gives the seals that reach
    its quota, and these are followed round the ring for as long as they keep up: most fall behind
    at once.
    """
    count = sum(group.index.counts(step.words, step.second) for step in steps)
    if count > _POSSIBLE * len(group) * len(steps):
        return None
    found = [(np.empty(0, np.int64), np.empty(0, np.float32))]
    for start, first in enumerate(steps):
        seals, counts = group.index.seals(first.words, first.second)
        total, quota = np.repeat(first.table[first.words], counts), first.quota
        for step in (*steps[start + 1 :], *steps[:start]):
            if not len(seals):
                break
            # Every word has a place in the table, as every seal has: "clip" only spares a check.
            theirs = group.words[step.second].take(seals, mode="clip")
            total += step.table.take(theirs, mode="clip")
            quota += step.quota
            kept = np.flatnonzero(total >= quota)
            seals, total = seals[kept], total[kept]
        found.append((seals, total))
    return np.concatenate([s for s, _ in found]), np.concatenate([s for _, s in found])


def _least_scores(
    phase: Phase, spans: list[tuple[int, int]], norms: NDArray[np.float64], most: float
) -> list[float]:
    """The least scores, z times norm, whose :func:`chance_tail` is at most ``most``, or less.

    One for each of the spans (rows from, to), whose weights have these norms.
    """
    if most >= 1:
        return [-math.inf] * len(spans)
    there = norms[np.isfinite(norms)]  # infinite where nothing was read
    if not len(there):
        return [math.inf] * len(spans)
    # The bound holds for any t: exp(sum(log cosh(t w)) - t score) <= most where score is at least
    # this. Those t that chance_tail asks for any of the norms, in steps of 5 %.
    low, high = 1 / there.max(), 1e4 / there.min()
    t = np.geomspace(low, high, math.ceil(math.log(high / low) / 0.05) + 1)
    sums = np.zeros((len(phase.weights) + 1, len(t)))  # over the rows before each
    for row, weights in enumerate(np.abs(phase.weights.astype(np.float64))):
        grown = np.outer(t, weights)
        sums[row + 1] = (grown + np.log1p(np.exp(-2 * grown)) - math.log(2)).sum(axis=1)
    np.cumsum(sums, axis=0, out=sums)
    least = []
    for (first, last), norm in zip(spans, norms, strict=True):
        chernoff = float(np.min((sums[last] - sums[first] - math.log(most)) / t))
        least.append((1 - _ROUNDING) * min(chernoff, norm * math.sqrt(-2 * math.log(most))))
    return least


def _word_scores(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each 16-bit word scores on logits (16,): float32 (65536,)."""
    half = bits_of(np.arange(256, dtype=np.uint16))[:, BITS // 2 :]  # (256, 8)
    scores: NDArray[np.float32] = half @ row[: BITS // 2]
    return np.asarray((scores[:, None] + half @ row[BITS // 2 :]).reshape(-1))


def _search_products(group: SealGroup, phases: list[Phase]) -> Hit | None:
    """Many alignments: products of the file at every offset with some seconds of the seals."""
    offsets = [phase.offsets(group.length) for phase in phases]
    norms = [_norms(phase, group.length).astype(np.float32) for phase in phases]
    pads = [np.pad(phase.weights, ((_PRODUCT_S, _PRODUCT_S), (0, 0))) for phase in phases]
    first_row = np.cumsum([0, *map(len, offsets)])
    best: Hit | None = None
    block = max(64, _PRODUCT // int(first_row[-1]))
    # (places, seconds * 16) for each span of the seals: the rows that have a part in it.
    parts = []
    for begin in range(0, group.length, _PRODUCT_S):
        count = min(_PRODUCT_S, group.length - begin)
        at, windows = [], []
        for place, span, pad in zip(first_row, offsets, pads, strict=False):
            # File second t meets sequence second begin + k at offset begin + k - t.
            starts = begin - np.asarray(span)
            there = np.flatnonzero((starts > -count) & (starts < len(pad) - 2 * _PRODUCT_S))
            seconds = starts[there, None] + _PRODUCT_S + np.arange(count)
            windows.append(pad[seconds].reshape(len(there), -1))
            at.append(place + there)
        parts.append((begin, np.concatenate(at), np.concatenate(windows)))
    for start in range(0, len(group), block):
        signs = group.signs(start, start + block)
        total = np.zeros((int(first_row[-1]), len(signs)), np.float32)
        for begin, places, rows in parts:
            total[places] += rows @ signs[:, begin * BITS : begin * BITS + rows.shape[1]].T
        total /= np.concatenate(norms)[:, None]
        row, seal = divmod(int(np.argmax(total)), total.shape[1])
        if best is None or total[row, seal] > best.z:
            number = int(np.searchsorted(first_row, row, "right")) - 1
            offset = offsets[number][row - int(first_row[number])]
            best = Hit(float(total[row, seal]), group, start + seal, offset, phases[number])
    return best


def _search_index(group: SealGroup, phases: list[Phase]) -> Hit | None:
    """Score the alignments that two or more seconds' likely words vote for."""
    best: Hit | None = None
    for phase in phases:
        span, norms = phase.offsets(group.length), _norms(phase, group.length)
        for first_row in range(0, len(phase.weights), _VOTING_S):
            place, seals = np.divmod(_voted(group, phase, first_row), len(group))
            if not len(seals):
                continue
            z = _scores(group, phase, span.start + span.step * place, seals) / norms[place]
            at = int(np.argmax(z))
            if best is None or z[at] > best.z:
                best = Hit(float(z[at]), group, int(seals[at]), span[place[at]], phase)
    return best


def _scores(
    group: SealGroup,
    phase: Phase,
    offsets: NDArray[np.int64],
    seals: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What each seal scores at its offset."""
    total = np.zeros(len(seals))
    step = max(1, _PRODUCT // (BITS * len(seals)))
    for begin in range(0, len(phase.weights), step):
        rows = phase.weights[begin : begin + step]
        second = offsets + (begin + np.arange(len(rows)))[:, None]  # (rows, seals)
        inside = (second >= 0) & (second < group.length)
        words = group.words[np.where(inside, second, 0), seals]
        total += (np.einsum("tsb,tb->ts", bits_of(words), rows) * inside).sum(axis=0)
    return total


def _voted(group: SealGroup, phase: Phase, first_row: int) -> NDArray[np.int64]:
    """Alignments with two votes or more, as (offset - first offset) * seals + seal."""
    seals, span = len(group), phase.offsets(group.length)
    doubtful = _LIKELY_BITS if phase.second is None else _LIKELY_BITS_PLACED
    step = span.step
    rows = phase.weights[first_row : first_row + _VOTING_S]
    read = np.flatnonzero(rows.any(axis=1))
    words = _likely_words(rows[read], doubtful)
    # A place is second * seals + seal: only the second's place in the file is taken off.
    moved = np.repeat(first_row + read + span[0], words.shape[1])
    cast, counts = group.index.places(words.reshape(-1))
    cast -= np.repeat(moved * seals, counts)
    stop = ((len(span) - 1) * step + 1) * seals
    cast = cast[(cast >= 0) & (cast < stop)]
    if step > 1:
        late, seal = np.divmod(cast, seals)
        cast = (late // step * seals + seal)[late % step == 0]
    if stop < 2**32:  # sorted twice as fast
        cast = cast.astype(np.uint32)
    cast.sort()
    return np.unique(cast[1:][cast[1:] == cast[:-1]]).astype(np.int64)


def _likely_words(rows: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The words that fit logits ``(rows, 16)`` best: int64 ``(rows, 2**count)``.

    The hard ones, with their least sure bits flipped.
    """
    values = 1 << np.arange(BITS - 1, -1, -1)
    words = ((rows > 0) @ values)[:, None]
    for value in values[np.argsort(np.abs(rows), axis=1)[:, :count]].T:
        words = np.concatenate([words, words ^ value[:, None]], axis=1)
    return words
