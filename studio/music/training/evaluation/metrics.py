"""Figures of the evaluation that need no model: Fréchet distance and copying.

Both are plain functions on arrays, tested against values known in advance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CopyingIndex", "frechet_distance"]


def frechet_distance(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features, (clips, features).

    Dowson and Landau 1982; as in the FID. Zero for identical sets.

    >>> points = np.random.default_rng(0).normal(size=(200, 3))
    >>> round(frechet_distance(points, points + [2.0, 0.0, 0.0]), 6)
    4.0
    """
    mean = a.mean(0) - b.mean(0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = _sqrt(cov_a)
    cross = np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)
    return float(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(cross).sum())


def _sqrt(matrix: NDArray[Any]) -> NDArray[Any]:
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[Any] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


_BASE = np.uint64(0x9E3779B97F4A7C15)
"""An odd multiplier (2**64 over the golden ratio): odd, hence invertible modulo 2**64."""


class CopyingIndex:
    """Every run of `n` frames that occurs in training, by the first codebooks' tokens.

    Runs are compared by a 64-bit polynomial hash; with 10**7 runs on both sides together a chance
    collision has a probability of about 10**-5.

    >>> train = [np.arange(40).reshape(-1, 1)]
    >>> index = CopyingIndex(train, codebooks=1)
    >>> index.shared([np.arange(10, 20).reshape(-1, 1)], 5), index.shared([train[0][::-1]], 5)
    (1.0, 0.0)
    """

    def __init__(self, tracks: Sequence[NDArray[Any]], codebooks: int) -> None:
        self.codebooks = codebooks
        self._train = [self._prefix(track) for track in tracks]
        self._runs: dict[int, NDArray[np.uint64]] = {}
        longest = max((len(track) for track in tracks), default=0)
        self._inverse = _powers(_inverse(_BASE), longest + 1)

    def shared(self, clips: Sequence[NDArray[Any]], n: int) -> float:
        """Share of the clips' runs of `n` frames that training holds too; clips are (frames, K)."""
        runs = self._known(n)
        hits = count = 0
        for clip in clips:
            mine = self._windows(self._prefix(clip), n)
            hits += int(_held(mine, runs).sum())
            count += len(mine)
        return hits / count if count else 0.0

    def held(self, clip: NDArray[Any], n: int) -> NDArray[np.bool_]:
        """Which of the clip's runs of `n` frames training holds too, by their first frame."""
        return _held(self._windows(self._prefix(clip), n), self._known(n))

    def longest(self, clip: NDArray[Any], limit: int) -> int:
        """Frames of the longest run of `clip` that training holds too, at most `limit`."""
        low, high = 0, min(limit, len(clip))
        prefix = self._prefix(clip)
        while low < high:  # a run of n that is shared has shared runs of n - 1
            middle = (low + high + 1) // 2
            if _held(self._windows(prefix, middle), self._known(middle)).any():
                low = middle
            else:
                high = middle - 1
        return low

    def _known(self, n: int) -> NDArray[np.uint64]:
        if n not in self._runs:
            parts = [self._windows(prefix, n) for prefix in self._train]
            self._runs[n] = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
        return self._runs[n]

    def _prefix(self, tokens: NDArray[Any]) -> NDArray[np.uint64]:
        """Sums over i < t of symbol_i * BASE**i, modulo 2**64, (frames + 1,)."""
        symbols = np.zeros(len(tokens), np.uint64)
        for k in range(self.codebooks):
            symbols = symbols * np.uint64(65536) + tokens[:, k].astype(np.uint64) + np.uint64(1)
        weighted = symbols * _powers(_BASE, len(symbols))
        return np.concatenate([np.zeros(1, np.uint64), np.cumsum(weighted, dtype=np.uint64)])

    def _windows(self, prefix: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
        if len(prefix) <= n:
            return np.empty(0, np.uint64)
        if len(prefix) > len(self._inverse):
            self._inverse = _powers(_inverse(_BASE), len(prefix))
        runs: NDArray[np.uint64] = (prefix[n:] - prefix[:-n]) * self._inverse[: len(prefix) - n]
        return runs


def _held(values: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which values occur in `ordered`, by bisection: np.isin would sort the training set anew."""
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    held: NDArray[np.bool_] = ordered[places] == values
    return held


def _powers(base: np.uint64, count: int) -> NDArray[np.uint64]:
    powers = np.full(max(count, 1), base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)[:count]


def _inverse(odd: np.uint64) -> np.uint64:
    return np.uint64(pow(int(odd), -1, 1 << 64))
