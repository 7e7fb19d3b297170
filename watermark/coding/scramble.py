"""The keyed pilot: detect an epoch's key, and the offset in its 8 s.

A scrambled seal (:mod:`watermark.coding.message`) writes the message of a second with signs that
change from chip to chip and that only the epoch's secret tells. Undone at the right place, the
cells of a second agree; at any other place, without a seal, or under a stranger's key they do not.
So the energy of the seconds' sums says whether the stretch is sealed *under this key*, whoever it
was sealed for and however few of its bits are right::

    E(place) = sum over seconds and bits of (sum over the second's cells of sign * soft bit) ** 2

**The bound.** The signs are, by HMAC, independent fair coins, whatever the audio is: music with a
beat of the cells' own length, a stranger's seal, or an attack by somebody without the key. For such
coins s and any matrix U, ``E[exp(t * |U s|**2)] <= det(1 - 2 t U U')**-0.5`` (a Rademacher sum is
dominated by a Gaussian one), so Chernoff's bound on P(E >= e) holds exactly, with no calibration.
Seconds that are 8 s apart share their coins: they are the rows of one U.

>>> from watermark.coding.message import SealKey
>>> scramble = Scramble.of(SealKey(1, bytes(32)), (np.arange(100) * 8 + 4) // 100, chip_cells=2)
>>> rng = np.random.default_rng(0)
>>> message = np.repeat(rng.integers(0, 2, (11, 16)), 13, axis=0)[:125]
>>> place = 33                                             # an excerpt begins at cell 33
>>> seconds = ((place + np.arange(125)) * 8 + 4) // 100
>>> message = rng.integers(0, 2, (20, 16))[seconds]
>>> read_bits = scramble.signs[(place + np.arange(125)) % 100] * (2.0 * message - 1)
>>> noisy = read_bits + 2 * rng.standard_normal(read_bits.shape)
>>> best = places(np.arange(125), noisy, scramble)[0]
>>> best.cell, chance(np.arange(125), noisy, scramble, best.cell) < 1e-9
(33, True)
>>> other = Scramble.of(SealKey(1, bytes(31) + b"x"), (np.arange(100) * 8 + 4) // 100, chip_cells=2)
>>> wrong = places(np.arange(125), noisy, other)[0]
>>> chance(np.arange(125), noisy, other, wrong.cell) > 1e-3
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from watermark.coding.message import BITS, SCRAMBLE_PERIOD_S, SealKey, scramble_words

__all__ = ["Place", "Scramble", "chance", "descrambled", "follow", "limited", "places"]

_JUMP = 15.0  # cost of a change of place, in deviations of what one cell adds
_CLIP = 2.0  # soft bits are limited to this multiple of their median size: no cell decides alone
_CHERNOFF_STEPS = 96


@dataclass(frozen=True, slots=True, eq=False)
class Scramble:
    """One period of an epoch's scramble on a model's cells.

    Attributes:
        signs: -1 where the bit is inverted, else 1; float32 (cells, 16).
        seconds: which of the 8 seconds a cell belongs to, (cells,).
        chips: which chip; the cells of a chip share their signs, (cells,).
        per_second: chips that a second may have; second k's begin at ``k * per_second``.
        pairs: products of a cell's signs with those of the cell ``lag`` before it, 0 where that
            belongs to another second or to the same chip; float32 (cells, lags * 16), lags from 1.
    """

    signs: NDArray[np.float32]
    seconds: NDArray[np.int64]
    chips: NDArray[np.int64]
    per_second: int
    pairs: NDArray[np.float32]

    @classmethod
    def of(cls, key: SealKey, cell_seconds: NDArray[np.integer], chip_cells: int) -> Self:
        """The scramble of an epoch.

        Args:
            key: of the epoch.
            cell_seconds: the second each cell of the first period belongs to, (cells,).
            chip_cells: cells that share their signs, counted from the beginning of each second.
        """
        seconds = np.asarray(cell_seconds, np.int64)
        first = np.searchsorted(seconds, np.arange(SCRAMBLE_PERIOD_S))
        chip = (np.arange(len(seconds)) - first[seconds]) // chip_cells
        count = int(chip.max()) + 1
        words = np.stack([scramble_words(key, k, count) for k in range(SCRAMBLE_PERIOD_S)])
        bits = np.unpackbits(words.astype(">u2").view(np.uint8)).reshape(*words.shape, BITS)
        signs = 1 - 2 * bits[seconds, chip].astype(np.float32)
        chips = seconds * count + chip
        return cls(signs, seconds, chips, count, _pairs(signs, seconds, chips))

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def bits(self) -> NDArray[np.uint8]:
        """What messages are exclusive-ored with, (cells, 16)."""
        return (self.signs < 0).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the period: which of its cells the stretch's cell 0 is, and how far the energy
    there stands above what wrong places have, in standard deviations."""

    cell: int
    excess: float

    @property
    def least_chance(self) -> float:
        """A bound below what :func:`chance` can be at this place, and quickly known.

        The deviation that ``excess`` is counted in is at most ``sqrt(2 tr G**2)``, and
        ``-log(1 - x) >= x + x**2 / 2`` in Chernoff's bound.
        """
        return math.exp(-0.5 * max(0.0, self.excess) ** 2)


def limited(bits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Soft bits limited to twice their median size."""
    array = np.asarray(bits, np.float32)
    sizes = np.abs(array[array != 0])
    limit = _CLIP * float(np.median(sizes)) if sizes.size else 0.0
    return np.clip(array, -limit, limit)


def places(
    index: NDArray[np.integer], bits: NDArray[np.floating], scramble: Scramble, most: int = 3
) -> list[Place]:
    """The likeliest places of a stretch, best first.

    Args:
        index: the number of each cell, ascending from 0; a number may be missing or come twice.
        bits: soft bits (cells, 16), positive for 1.
        scramble: of the epoch.
        most: how many.
    """
    dense = _dense(index, bits)  # (cells, 16)
    if not len(dense):
        return []
    # The energy of a second, less that of its chips, is twice the products of cells of different
    # chips: products of cells so many apart, with the signs of both.
    period = len(scramble)
    products = _by_period(_products(dense, scramble), period)  # (period, lags * 16)
    met = scramble.pairs @ products.T  # (cell of the period, cell of the stretch modulo period)
    turned = np.arange(period)
    above = 2 * met[(turned[:, None] + turned) % period, turned].sum(axis=1, dtype=np.float64)
    # Deviation without a seal, roughly: as if all chips of a second were alike.
    starts = np.flatnonzero(np.diff(scramble.seconds, prepend=-1))
    ends = np.arange(period + len(dense))
    seconds = int(np.isin(ends % period, starts).sum()) + 1  # that may begin at any of the places
    per_second = _chip_energy(dense, scramble) / seconds  # (period, 16)
    deviation = np.sqrt(2 * np.square(per_second).sum(axis=1) * seconds)
    excess = above / np.maximum(deviation, 1e-9)
    order = np.argsort(-excess, kind="stable")[:most]
    return [Place(int(cell), float(excess[cell])) for cell in order]


def chance(
    index: NDArray[np.integer], bits: NDArray[np.floating], scramble: Scramble, cell: int
) -> float:
    """Upper bound on the chance that audio without this key's seal follows the scramble as well at
    this one place; times the places looked at, that it does at any."""
    dense = _dense(index, bits)
    absolute = cell + np.arange(len(dense))
    at = absolute % len(scramble)
    # What each coin moves: the sum of a chip's cells, by the coin's second and the turn it is in.
    turns = int(absolute[-1]) // len(scramble) + 1 if len(dense) else 0
    sums = np.zeros((turns, SCRAMBLE_PERIOD_S * scramble.per_second, BITS))
    np.add.at(sums, (absolute // len(scramble), scramble.chips[at]), dense)
    moved = sums.reshape(turns, SCRAMBLE_PERIOD_S, scramble.per_second, BITS)
    gram = np.einsum("mkcb,nkcb->kbmn", moved, moved)  # (8, 16, turns, turns)
    eigen = np.linalg.eigvalsh(gram).reshape(-1)
    eigen = eigen[eigen > 1e-9 * max(float(eigen.max(initial=0.0)), 1e-30)]
    if not eigen.size:
        return 1.0
    energy = float(np.square(descrambled(cell + np.asarray(index), bits, scramble)[1]).sum())
    # exp(-t E) det(1 - 2 t G)**-0.5; any t below 1 / (2 max eigenvalue) gives a valid bound.
    steps = np.concatenate([np.geomspace(1e-3, 0.5, 32), 1 - np.geomspace(0.5, 1e-4, 64)])
    t = steps[:, None] / (2 * eigen.max())
    exponent = -0.5 * np.log1p(-2 * t * eigen).sum(axis=1) - t[:, 0] * energy
    return math.exp(min(0.0, float(exponent.min())))


def follow(
    index: NDArray[np.integer], bits: NDArray[np.floating], scramble: Scramble
) -> NDArray[np.int64]:
    """The original's number of every cell, (cells,), where the file may have been cut or spliced.

    The best path through the places (Viterbi): what a cell adds to the energy there, less a cost
    for every change of place. Numbers count from the first cell's place in the period; a change is
    taken for the shortest it can be, less than 4 s either way.
    """
    dense = _dense(index, bits)
    cells, period = len(dense), len(scramble)
    if not cells:
        return np.zeros(0, np.int64)
    products = scramble.pairs @ _products(dense, scramble).T  # (cell of the period, cells)
    place, cell = np.arange(period), np.arange(cells)
    # What each cell adds to the energy at each place, by its products with earlier ones.
    gain = products[(place + cell[:, None]) % period, cell[:, None]].astype(np.float64)
    cost = _JUMP * max(float(gain.std()), 1e-9)
    totals = np.empty((cells, period))  # of the best path that ends there
    totals[0] = gain[0]
    for c in range(1, cells):
        last, total = totals[c - 1], totals[c]
        np.maximum(last, last.max() - cost, out=total)
        total += gain[c]
    path = np.empty(cells, np.int64)
    at = path[-1] = int(totals[-1].argmax())
    jumps = totals.argmax(axis=1)
    for c in range(cells - 2, -1, -1):
        if totals[c, jumps[c]] - cost > totals[c, at]:
            at = int(jumps[c])
        path[c] = at
    half = period // 2
    moves = (np.diff(path) + half) % period - half
    absolute = path[0] + np.arange(cells) + np.concatenate([[0], np.cumsum(moves)])
    return np.asarray(absolute[np.asarray(index)])


def descrambled(
    numbers: NDArray[np.integer], bits: NDArray[np.floating], scramble: Scramble
) -> tuple[int, NDArray[np.float32]]:
    """The scramble undone: the first second of the original, and soft bits by second from there.

    Args:
        numbers: of each cell in the original, up to whole periods, (cells,).
        bits: soft bits (cells, 16).

    Returns: a second, and (seconds, 16); seconds at the ends may be there in part only.
    """
    numbers = np.asarray(numbers)
    if not len(numbers):
        return 0, np.zeros((0, BITS), np.float32)
    turn, at = np.divmod(numbers, len(scramble))
    second = turn * SCRAMBLE_PERIOD_S + scramble.seconds[at]
    first = int(second.min())
    rows = np.zeros((int(second.max()) - first + 1, BITS), np.float32)
    np.add.at(rows, second - first, np.asarray(bits, np.float32) * scramble.signs[at])
    return first, rows


def _dense(index: NDArray[np.integer], bits: NDArray[np.floating]) -> NDArray[np.float32]:
    """One row per cell number from 0: zeros where none was read, sums where several were."""
    rows = np.zeros((int(index[-1]) + 1 if len(index) else 0, BITS), np.float32)
    np.add.at(rows, np.asarray(index), np.asarray(bits, np.float32))
    return rows


def _pairs(
    signs: NDArray[np.float32], seconds: NDArray[np.int64], chips: NDArray[np.int64]
) -> NDArray[np.float32]:
    """:attr:`Scramble.pairs`."""
    longest = int(np.bincount(seconds).max())
    pairs = np.zeros((len(signs), longest - 1, BITS), np.float32)
    for lag in range(1, longest):
        met = (seconds[lag:] == seconds[:-lag]) & (chips[lag:] != chips[:-lag])
        pairs[lag:, lag - 1] = signs[lag:] * signs[:-lag] * met[:, None]
    return pairs.reshape(len(signs), -1)


def _products(dense: NDArray[np.float32], scramble: Scramble) -> NDArray[np.float32]:
    """Each cell's soft bits times those so many cells before, as :attr:`Scramble.pairs` has them:
    (cells, lags * 16)."""
    lags = scramble.pairs.shape[1] // BITS
    products = np.zeros((len(dense), lags, BITS), np.float32)
    for lag in range(1, min(lags, len(dense) - 1) + 1):
        np.multiply(dense[lag:], dense[:-lag], out=products[lag:, lag - 1])
    return products.reshape(len(dense), -1)


def _by_period(rows: NDArray[np.floating], period: int) -> NDArray[np.floating]:
    """The sums of the rows that are whole periods apart, (period, …)."""
    padded = np.zeros((-(-len(rows) // period) * period, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return np.asarray(padded.reshape(-1, period, *rows.shape[1:]).sum(axis=0))


def _chip_energy(dense: NDArray[np.float32], scramble: Scramble) -> NDArray[np.float64]:
    """The energy of the chips' sums at every place, bit by bit: (period, 16)."""
    period = len(scramble)
    starts = np.flatnonzero(np.diff(scramble.chips, prepend=-1))
    lengths = np.diff(starts, append=period)
    energy = np.zeros((period, BITS))
    for length in np.unique(lengths):
        # The chips that begin at each cell, and before the first, as far as they are there.
        sums = np.zeros((len(dense) + length - 1, BITS))
        for late in range(length):
            sums[late : late + len(dense)] += dense
        by_begin = np.roll(_by_period(np.square(sums), period), 1 - length, axis=0)
        begins = (starts[lengths == length] - np.arange(period)[:, None]) % period
        energy += by_begin[begins].sum(axis=1)
    return energy
