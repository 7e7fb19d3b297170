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
    """

    signs: NDArray[np.float32]
    seconds: NDArray[np.int64]
    chips: NDArray[np.int64]
    per_second: int

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
        return cls(signs, seconds, seconds * count + chip, count)

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
    cells = len(dense)
    if not cells:
        return []
    sums, at_second, at_chip = _sums(dense, scramble)
    plain = np.concatenate([np.zeros((1, BITS)), np.cumsum(dense, axis=0, dtype=np.float64)])
    rows = np.take_along_axis(sums, np.broadcast_to(at_second, (BITS, *at_second.shape)), axis=2)
    energy = np.square(np.diff(rows, axis=2)).sum(axis=(0, 2), dtype=np.float64)  # (period,)
    chips = np.square(np.diff(plain[at_chip], axis=1))  # (period, chips, 16)
    # Expectation, and (roughly: as if all chips of a second were alike) deviation without a seal.
    expected = chips.sum(axis=(1, 2))
    per_second = chips.sum(axis=1) / max(1, at_second.shape[1] - 1)
    deviation = np.sqrt(2 * np.square(per_second).sum(axis=1) * max(1, at_second.shape[1] - 1))
    excess = (energy - expected) / np.maximum(deviation, 1e-9)
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
    sums, at_second, at_chip = _sums(dense, scramble)
    borders = [np.take_along_axis(b, _last_border(b, cells), axis=1) for b in (at_second, at_chip)]
    second, chip = (np.broadcast_to(b, (BITS, period, cells)) for b in borders)
    before = np.take_along_axis(sums, chip, axis=2) - np.take_along_axis(sums, second, axis=2)
    gain = (np.diff(sums, axis=2) * before).sum(axis=0).T  # (cells, places)
    cost = _JUMP * max(float(gain.std()), 1e-9)
    came = np.empty((cells, period), np.int64)
    total = np.zeros(period)
    stay = np.arange(period)
    for c in range(cells):
        jump = int(total.argmax())
        better = total[jump] - cost > total
        came[c] = np.where(better, jump, stay)
        total = np.where(better, total[jump] - cost, total) + gain[c]
    place = np.empty(cells, np.int64)
    place[-1] = int(total.argmax())
    for c in range(cells - 1, 0, -1):
        place[c - 1] = came[c, place[c]]
    half = period // 2
    moves = (np.diff(place) + half) % period - half
    absolute = place[0] + np.arange(cells) + np.concatenate([[0], np.cumsum(moves)])
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


def _sums(
    dense: NDArray[np.float32], scramble: Scramble
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Running sums with the scramble undone at every place, (16, period, cells + 1), and the cells
    where a second, and where a chip, begins there, (period, …)."""
    cells, period = len(dense), len(scramble)
    turns = -(-(period + cells) // period) + 1
    signs = np.tile(scramble.signs.T, turns)  # (16, …)
    windows = np.lib.stride_tricks.sliding_window_view(signs, cells, axis=1)[:, :period]
    sums = np.zeros((BITS, period, cells + 1), np.float32)
    np.cumsum(windows * dense.T[:, None], axis=2, out=sums[:, :, 1:])
    labels = (np.tile(scramble.seconds, turns), np.tile(scramble.chips, turns))
    at_second, at_chip = (_borders(label, period, cells) for label in labels)
    return sums, at_second, at_chip


def _last_border(borders: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Which of a place's borders each cell comes after, (period, cells)."""
    marks = np.zeros((len(borders), cells + 1), np.int64)
    np.put_along_axis(marks, borders[:, 1:], 1, axis=1)
    return np.cumsum(marks[:, :cells], axis=1)


def _borders(labels: NDArray[np.int64], period: int, cells: int) -> NDArray[np.int64]:
    """Where the label changes within ``cells`` from each of ``period`` places, (period, count):
    0 first, then the changes, then the end as often as it takes."""
    change = np.flatnonzero(np.diff(labels)) + 1
    place = np.arange(period)[:, None]
    first = np.searchsorted(change, place, "right")
    width = int(np.searchsorted(change, period + cells) - first[0, 0]) + 1
    at = np.minimum(first + np.arange(width), len(change) - 1)
    inner = np.minimum(change[at] - place, cells)
    ends = np.full((period, 1), cells)
    return np.concatenate([np.zeros((period, 1), np.int64), inner, ends], axis=1)
