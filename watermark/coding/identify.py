"""Identify the registered watermark of a file, its offset and certainty.

The detector reads soft bit logits; every registered seal predicts, second by second, which bits
they should be (:mod:`watermark.coding.message`). ``identify`` correlates the logits with the
sequences of all seals at all offsets and at several sub-second phases, and names the best::

    z(seal, offset) = sum(logits * signs) / norm(logits)      over the seconds both cover

**The bound.** For a seal that is *not* in the file the signs are, by HMAC, independent fair coin
flips, whatever the logits are and wherever they came from: music, noise, another seal, an attacker
who lacks the key. So z is a weighted sum of coin flips with known weights w (unit norm), and
Chernoff's bound holds exactly, with no assumption on the audio::

    P(z >= x) <= min over t of exp(sum(log cosh(t * w)) - t * x)  <=  exp(-x**2 / 2)

Times everything that was searched (seals x offsets x phases), it bounds the chance that *any* wrong
seal does as well: ``chance_bound``. Nothing is attributed above :data:`MAX_CHANCE`.

**Speed.** Small codebooks are searched exhaustively, by matrix products over blocks of seals. Large
ones first through an inverted index from 16-bit words to places: the likeliest words of every
second vote for alignments, and those with two votes or more are scored exactly. What the index
misses (bit accuracy below about 0.85) the exhaustive search finds, unless ``thorough`` is off. The
bound always counts all that could have been chosen.

Where the seal is scrambled, the scramble has told already which key it is, where its seconds begin,
and their place modulo 8 s (:mod:`watermark.coding.scramble`): ``key`` and ``second`` leave one
alignment in a hundred. The index can look up many more words then, and the exhaustive search looks
scores up in a table of all words.

>>> from watermark.coding.message import SealId, SealKey, messages
>>> key = SealKey(1, bytes(32))
>>> seals = [SealId(n.to_bytes(8, "big")) for n in range(50)]
>>> codebook = Codebook(CodebookEntry(seal, key, seconds=30) for seal in seals)
>>> read_bits = messages(key, seals[7], seconds=8, start=12)      # an excerpt, read without error
>>> found = identify(read_bits * 2.0 - 1.0, codebook)
>>> found.seal_id == seals[7], found.offset_s, found.bit_accuracy, found.chance_bound < 1e-30
(True, 12.0, 1.0, True)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watermark.coding.codebook import Codebook, CodebookEntry, SealGroup
from watermark.coding.message import BITS, SCRAMBLE_PERIOD_S, SealId, SealKey
from watermark.errors import CodebookError

__all__ = [
    "MAX_CHANCE",
    "MIN_OVERLAP_S",
    "Codebook",
    "CodebookEntry",
    "Identification",
    "best_match",
    "chance_tail",
    "identify",
]

#: Nothing is attributed whose chance bound, over everything searched, is above this.
MAX_CHANCE = 1e-6

#: Seconds that file and seal must share for an alignment to be looked at.
MIN_OVERLAP_S = 2

_PRODUCT = 2**17  # numbers in a matrix product: blocks of seals that stay in the cache
_VOTING_S = 256  # seconds of the file whose words vote together, to bound the memory
_INDEX_FROM = 20_000  # seals: below, the exhaustive search is as fast
_LOOKUP = 2**15  # seals whose scores are looked up together
_DIRECT = 10**8  # scores that are looked up rather than asking the index
_LIKELY_BITS = 4  # the index looks up the 2**4 likeliest words of every second
_LIKELY_BITS_PLACED = 6  # where the place modulo the scramble's period is known
_CLIP = 2.0  # logits are limited to this multiple of their median size: no bit decides alone


@dataclass(frozen=True, slots=True)
class Identification:
    """The seal a file carries.

    Attributes:
        seal_id: which.
        epoch: of the key that sealed it.
        score: z, the normalised correlation; 0 +- 1 for any wrong seal at any one offset.
        chance_bound: upper bound on the chance that any wrong seal, at any offset searched,
            correlates as well.
        offset_s: where the file's second 0 lies in the original; negative if the file begins
            before it.
        bit_accuracy: share of the bits that agree, over the seconds used.
        seconds_used: seconds that file and original share.
        searched: alignments (seals x offsets x phases) the bound counts.
    """

    seal_id: SealId
    epoch: int
    score: float
    chance_bound: float
    offset_s: float
    bit_accuracy: float
    seconds_used: int
    searched: int


@dataclass(frozen=True, slots=True)
class _Phase:
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
class _Hit:
    """The best alignment found so far."""

    z: float
    group: SealGroup
    seal: int
    offset: int
    phase: _Phase


def identify(
    logits: NDArray[np.floating],
    codebook: Codebook | Iterable[CodebookEntry],
    *,
    hop_s: float = 1.0,
    window_s: float = 1.0,
    thorough: bool = True,
    max_chance: float = MAX_CHANCE,
    key: SealKey | None = None,
    second: int | None = None,
) -> Identification | None:
    """The registered seal whose sequence the logits follow, or None if none surely does.

    Args:
        logits: soft bits ``(windows, 16)``, most significant bit of a message first; positive
            means 1. Window r covers ``[r * hop_s, r * hop_s + window_s)`` seconds of the file. Any
            scale; zeros say "unknown".
        codebook: the seals to look among, a codebook or entries.
        hop_s: seconds from window to window. Below 1 s, the messages' sub-second phase is searched.
        window_s: seconds a window covers, at most 1; windows shorter than a second are summed.
        thorough: search large codebooks exhaustively where the index finds nothing (seconds for a
            million seals); worth it when a seal was detected, a waste on unmarked audio.
        max_chance: attribute only at or below this bound.
        key: look among the seals of this key only.
        second: window 0 lies in this second of the original, modulo 8 (windows of 1 s only).

    Raises:
        CodebookError: logits of another shape, not finite, or an impossible hop or window.
    """
    best = best_match(
        logits,
        codebook,
        hop_s=hop_s,
        window_s=window_s,
        thorough=thorough,
        key=key,
        second=second,
    )
    return best if best is not None and best.chance_bound <= max_chance else None


def best_match(
    logits: NDArray[np.floating],
    codebook: Codebook | Iterable[CodebookEntry],
    *,
    hop_s: float = 1.0,
    window_s: float = 1.0,
    thorough: bool = True,
    key: SealKey | None = None,
    second: int | None = None,
) -> Identification | None:
    """As :func:`identify`, but the best seal whatever its bound: evidence to show, not a verdict.

    None if the codebook or the logits are empty, or if they share no alignment: a short file that
    lies, by the scramble, where a short seal has no seconds.
    """
    codebook = Codebook.of(codebook)
    if second is not None and (hop_s, window_s) != (1.0, 1.0):
        raise CodebookError("the second of a window is that of windows of 1 s")
    phases = [replace(phase, second=second) for phase in _phases(logits, hop_s, window_s)]
    groups = [group for group in codebook.groups if len(group) and key in (None, group.key)]
    # What can be compared at all: a place in the scramble may leave a short seal no alignment.
    fitting = {group: [p for p in phases if p.offsets(group.length)] for group in groups}
    groups = [group for group in groups if fitting[group]]
    if not groups:
        return None
    searched = sum(len(g) * len(p.offsets(g.length)) for g in groups for p in fitting[g])

    best: _Hit | None = None
    large = [g for g in groups if len(g) >= _INDEX_FROM and not _direct(g, fitting[g])]
    for group in groups:
        search = _search_index if group in large else _search_all
        best = _better(best, search(group, fitting[group]))
    if large and thorough and (best is None or _chance(best, searched) > MAX_CHANCE):
        for group in large:
            best = _better(best, _search_all(group, fitting[group]))
    if best is None:
        return None
    first, last = best.phase.overlap(best.group.length, best.offset)
    weights = best.phase.weights[first:last]
    agree = (weights > 0) == (_signs(best, first, last) > 0)
    return Identification(
        seal_id=SealId(best.group.ids[best.seal].tobytes()),
        epoch=best.group.key.epoch,
        score=best.z,
        chance_bound=_chance(best, searched),
        offset_s=round(best.offset - best.phase.start_s, 6),
        bit_accuracy=float(agree[weights != 0].mean()) if np.any(weights) else 0.5,
        seconds_used=last - first,
        searched=searched,
    )


def chance_tail(weights: NDArray[np.floating], z: float) -> float:
    """Chernoff's bound on P(sum(weights * coin flips) >= z * norm(weights)), coins being +-1.

    Never above Hoeffding's ``exp(-z**2 / 2)``, and close to ``2**-n`` where all n coins agree.

    >>> import numpy as np
    >>> chance_tail(np.ones(32), z=32**0.5) < 1.1 * 2.0**-32       # every one of 32 coins is heads
    True
    >>> bool(abs(chance_tail(np.ones(10_000), z=5.0) / np.exp(-12.5) - 1) < 0.02)
    True
    """
    w = np.abs(np.asarray(weights, np.float64).reshape(-1))
    norm = math.sqrt(float(w @ w))
    if z <= 0 or norm == 0:
        return 1.0
    w = w[w > 0] / norm
    # log cosh(t w) - t w = log1p(exp(-2 t w)) - log 2 does not overflow; the exponent is convex in
    # t, so a search over a grid of log t comes close to the least, and any t gives a valid bound.
    t = np.geomspace(z, 1e3 * z, 200)
    slack = float(w.sum()) - z  # >= 0 up to rounding
    blocks = np.array_split(w, -(-w.size // 4096))  # bounds the memory
    heads = sum(np.log1p(np.exp(-2 * t[:, None] * block)).sum(axis=1) for block in blocks)
    chernoff = float(np.min(heads + t * slack)) - w.size * math.log(2)
    return math.exp(min(chernoff, -z * z / 2))


def _chance(hit: _Hit, searched: int) -> float:
    first, last = hit.phase.overlap(hit.group.length, hit.offset)
    return min(1.0, searched * chance_tail(hit.phase.weights[first:last], hit.z))


def _signs(hit: _Hit, first: int, last: int) -> NDArray[np.float32]:
    """+-1 ``(last - first, 16)``: what the hit's seal predicts for file seconds first to last."""
    words = hit.group.words[hit.offset + first : hit.offset + last, hit.seal]
    return _bits(words).reshape(-1, BITS)


def _bits(words: NDArray[np.uint16]) -> NDArray[np.float32]:
    """+-1 float32 ``(words, 16)``, most significant bit first."""
    bits = np.unpackbits(words.astype(">u2").view(np.uint8)).reshape(*words.shape, BITS)
    return bits.astype(np.float32) * 2 - 1


def _better(one: _Hit | None, other: _Hit | None) -> _Hit | None:
    if one is None or (other is not None and other.z > one.z):
        return other
    return one


def _phases(logits: NDArray[np.floating], hop_s: float, window_s: float) -> list[_Phase]:
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
        phases.append(_Phase(float(start_s), rows.astype(np.float32), (rows**2).sum(axis=1)))
    return phases


def _norms(phase: _Phase, length: int) -> NDArray[np.float64]:
    """The weights' norm over the shared seconds, per offset of ``phase.offsets(length)``."""
    offsets = np.array(phase.offsets(length), np.int64)
    sums = np.concatenate([[0.0], np.cumsum(phase.energy)])
    last = np.minimum(len(phase.weights), length - offsets)
    norms = np.sqrt(np.maximum(sums[last] - sums[np.maximum(0, -offsets)], 0.0))
    return np.where(norms > 0, norms, np.inf)


def _direct(group: SealGroup, phases: list[_Phase]) -> bool:
    """Looking up all scores takes no longer than the index."""
    if any(phase.second is None for phase in phases):
        return False
    spans = [p.overlap(group.length, o) for p in phases for o in p.offsets(group.length)]
    return sum(last - first for first, last in spans) * len(group) <= _DIRECT


def _search_all(group: SealGroup, phases: list[_Phase]) -> _Hit | None:
    """Score every alignment."""
    if all(phase.second is not None for phase in phases):
        return _search_tables(group, phases)
    return _search_products(group, phases)


def _search_tables(group: SealGroup, phases: list[_Phase]) -> _Hit | None:
    """Few alignments: look up what every word would score in a second of the file, and add up."""
    best: _Hit | None = None
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
                    best = _Hit(z, group, start + seal, offset, phase)
    return best


def _word_scores(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each 16-bit word scores on logits (16,): float32 (65536,)."""
    half = _bits(np.arange(256, dtype=np.uint16))[:, BITS // 2 :]  # (256, 8)
    scores: NDArray[np.float32] = half @ row[: BITS // 2]
    return np.asarray((scores[:, None] + half @ row[BITS // 2 :]).reshape(-1))


def _search_products(group: SealGroup, phases: list[_Phase]) -> _Hit | None:
    """Products (seconds of the file) x (second k of a block of seals)."""
    stacked = np.concatenate([phase.weights for phase in phases])
    offsets = [phase.offsets(group.length) for phase in phases]
    norms = [_norms(phase, group.length) for phase in phases]
    best: _Hit | None = None
    block = max(64, _PRODUCT // len(stacked))
    for start in range(0, len(group), block):
        words = group.words[:, start : start + block]
        sums = [np.zeros((len(r), words.shape[1]), np.float32) for r in offsets]
        for k in range(group.length):
            product = stacked @ _bits(words[k]).T  # (all phases' seconds, seals)
            row = 0
            for phase, span, total in zip(phases, offsets, sums, strict=True):
                rows = len(phase.weights)
                # File second t meets sequence second k at offset k - t.
                low, high = max(0, k - span[-1]), min(rows, k - span[0] + 1)
                if low < high:
                    into = k - span[0] - np.arange(low, high)
                    total[into] += product[row + low : row + high]
                row += rows
        for phase, span, total, norm in zip(phases, offsets, sums, norms, strict=True):
            z = total / norm[:, None].astype(np.float32)
            at = int(np.argmax(z))
            place, seal = divmod(at, z.shape[1])
            if best is None or z.flat[at] > best.z:
                best = _Hit(float(z.flat[at]), group, start + seal, span[place], phase)
    return best


def _search_index(group: SealGroup, phases: list[_Phase]) -> _Hit | None:
    """Score the alignments that two or more seconds' likely words vote for."""
    best: _Hit | None = None
    seals = len(group)
    for phase in phases:
        span, norms = phase.offsets(group.length), _norms(phase, group.length)
        for first_row in range(0, len(phase.weights), _VOTING_S):
            for at in _voted(group, phase, first_row):
                place, seal = divmod(int(at), seals)
                hit = _Hit(0.0, group, seal, span[place], phase)
                a, b = phase.overlap(group.length, hit.offset)
                z = float((phase.weights[a:b] * _signs(hit, a, b)).sum() / norms[place])
                if best is None or z > best.z:
                    best = _Hit(z, group, seal, hit.offset, phase)
    return best


def _voted(group: SealGroup, phase: _Phase, first_row: int) -> NDArray[np.int64]:
    """Alignments with two votes or more, as (offset - first offset) * seals + seal."""
    seals, span = len(group), phase.offsets(group.length)
    doubtful = _LIKELY_BITS if phase.second is None else _LIKELY_BITS_PLACED
    step = span.step
    votes = [np.empty(0, np.int64)]
    for t, row in enumerate(phase.weights[first_row : first_row + _VOTING_S], first_row):
        if not row.any():
            continue
        for word in _likely_words(row, doubtful):
            # A place is second * seals + seal: only the second's place in the file is taken off.
            votes.append(group.index.places(word).astype(np.int64) - (t + span[0]) * seals)
    cast = np.concatenate(votes)
    cast = cast[(cast >= 0) & (cast < ((len(span) - 1) * step + 1) * seals)]
    if step > 1:
        late, seal = np.divmod(cast, seals)
        cast = (late // step * seals + seal)[late % step == 0]
    cast = np.sort(cast)
    return np.unique(cast[1:][cast[1:] == cast[:-1]])


def _likely_words(row: NDArray[np.float32], count: int) -> list[int]:
    """The words that fit the logits ``(16,)`` best: the hard one, its least sure bits flipped."""
    values = 1 << np.arange(BITS - 1, -1, -1)
    hard = int(values[row > 0].sum())
    doubtful = values[np.argsort(np.abs(row))[:count]]
    flips = np.zeros(1, np.int64)
    for value in doubtful:
        flips = np.concatenate([flips, flips ^ int(value)])
    return [hard ^ int(flip) for flip in flips]
