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
alignment in a hundred, and scores are looked up in a table of all words. A large codebook is then
searched without a miss and without looking at most of it: every second gets a quota of the score
that the bound asks for, whoever reaches that score reaches the quota of at least one second, and
the index lists the seals whose word in that second does. These are followed through the other
seconds for as long as they keep up with the quotas. Only where they are many (long or damaged
stretches) the likeliest words vote, and all seals are compared.

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
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from watermark.coding.codebook import Codebook, CodebookEntry
from watermark.coding.message import SealId, SealKey
from watermark.coding.search import (
    MIN_OVERLAP_S,
    Hit,
    better,
    phases_of,
    search,
    search_all,
    signs,
)
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
    unscrambled: bool = False,
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
        unscrambled: the logits are as they were read, so that those seals are left out that are
            known to be scrambled.

    Raises:
        CodebookError: logits of another shape, not finite, or an impossible hop or window.
    """
    best = _match(
        logits,
        codebook,
        hop_s=hop_s,
        window_s=window_s,
        thorough=thorough,
        max_chance=max_chance,
        key=key,
        second=second,
        unscrambled=unscrambled,
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
    """The best seal whatever its bound: evidence to show, not a verdict.

    None if the codebook or the logits are empty, or if they share no alignment: a short file that
    lies, by the scramble, where a short seal has no seconds.
    """
    return _match(
        logits,
        codebook,
        hop_s=hop_s,
        window_s=window_s,
        thorough=thorough,
        max_chance=1.0,
        key=key,
        second=second,
    )


def _match(
    logits: NDArray[np.floating],
    codebook: Codebook | Iterable[CodebookEntry],
    *,
    hop_s: float,
    window_s: float,
    thorough: bool,
    max_chance: float,
    key: SealKey | None,
    second: int | None,
    unscrambled: bool = False,
) -> Identification | None:
    """The best seal; those above the bound ``max_chance`` need not be found."""
    codebook = Codebook.of(codebook)
    if second is not None and (hop_s, window_s) != (1.0, 1.0):
        raise CodebookError("the second of a window is that of windows of 1 s")
    phases = [replace(phase, second=second) for phase in phases_of(logits, hop_s, window_s)]
    groups = [
        group
        for group in codebook.groups
        if len(group) and key in (None, group.key) and not (unscrambled and group.scrambled)
    ]
    # What can be compared at all: a place in the scramble may leave a short seal no alignment.
    fitting = {group: [p for p in phases if p.offsets(group.length)] for group in groups}
    groups = [group for group in groups if fitting[group]]
    if not groups:
        return None
    searched = sum(len(g) * len(p.offsets(g.length)) for g in groups for p in fitting[g])

    best: Hit | None = None
    most = max_chance / searched if max_chance < 1 else 1.0  # chance, at one alignment
    unsure = []  # large groups that were not compared whole
    for _, parts in groupby(groups, key=lambda group: (group.length, group.key)):
        alike = list(parts)
        hit, left = search(alike, fitting[alike[0]], most)
        best = better(best, hit)
        unsure += left
    if thorough and unsure and (best is None or _chance(best, searched) > MAX_CHANCE):
        for group, phases in unsure:
            best = better(best, search_all(group, phases))
    if best is None:
        return None
    first, last = best.phase.overlap(best.group.length, best.offset)
    weights = best.phase.weights[first:last]
    if max_chance < 1 and searched * _least_tail(weights, best.z) > max_chance:
        return None
    agree = (weights > 0) == (signs(best, first, last) > 0)
    return Identification(
        seal_id=best.group.seal_id(best.seal),
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


def _least_tail(weights: NDArray[np.floating], z: float) -> float:
    """A bound below :func:`chance_tail`, and quickly known.

    ``log cosh(x) / x**2`` falls, so up to t = a / w_max the exponent is at least
    ``k * t**2 / 2 - t * z`` with k from x = a, and that is never below ``-z**2 / (2 * k)``. The
    exponent is convex and 0 at t = 0: where it is above 0 at t = a / w_max it is so from there on.
    """
    norm = float(np.linalg.norm(weights))
    if z <= 0 or norm == 0:
        return 1.0
    needed = z * float(np.abs(weights).max()) / norm
    for a in (0.5, 1.0, 1.5, 2.0, 3.0):
        log_cosh = math.log(math.cosh(a))
        if log_cosh / a >= needed:
            return math.exp(-0.25 * (z * a) ** 2 / log_cosh)
    return 0.0


def _chance(hit: Hit, searched: int) -> float:
    first, last = hit.phase.overlap(hit.group.length, hit.offset)
    return min(1.0, searched * chance_tail(hit.phase.weights[first:last], hit.z))
