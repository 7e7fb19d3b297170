"""The arrays of one part of a fingerprint index, and what writes them.

:class:`InMemory` and :class:`OnDisk` take arrays in blocks, so that nobody holds a large one whole;
:mod:`watermark.fingerprint.postings` says what each array is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DTYPES",
    "UNIT",
    "WHOLE",
    "InMemory",
    "OnDisk",
    "Sink",
    "check",
    "joined",
    "kept_places",
    "key_hash",
    "low_bits",
    "put",
    "put_keys",
    "put_sorted",
    "starts_of",
]

UNIT = 16
"""Words: a track begins at a multiple of it, and every such place has a coarse word."""

DTYPES = {
    "directory": np.uint32,
    "places": np.uint32,
    "starts": np.int64,
    "lengths": np.uint32,
    "keys": np.uint8,
    "key_starts": np.int64,
    "hashes": np.uint64,
    "owners": np.uint32,
    "coarse": np.uint32,
}
"""Arrays that every part has, besides the tails."""

WHOLE = {"words": np.uint32, "seconds": np.float64}
"""Arrays of a part that keeps its tracks' words."""

_TAILS = {8: np.uint32, 16: np.uint16, 24: np.uint8}  # by bits of the directory
_GROUP, _KEPT = 8, 4  # of so many words, so many are looked up


class InMemory:
    """Keeps arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._filled: dict[str, int] = {}

    def begin(self, name: str, dtype: Any, size: int) -> None:
        self.arrays[name] = np.empty(size, dtype)
        self._filled[name] = 0

    def append(self, name: str, values: NDArray[Any]) -> None:
        first = self._filled[name]
        self._filled[name] = first + len(values)
        self.arrays[name][first : first + len(values)] = values


class OnDisk:
    """Writes each array to an ``.npy`` file of a folder as it comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, tuple[BinaryIO, np.dtype[Any]]] = {}

    def begin(self, name: str, dtype: Any, size: int) -> None:
        file = (self._folder / f"{name}.npy").open("wb")
        described = np.dtype(dtype)
        self._files[name] = file, described
        header = {"descr": described.str, "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, name: str, values: NDArray[Any]) -> None:
        file, dtype = self._files[name]
        file.write(np.ascontiguousarray(values, dtype).data)

    def finish(self) -> None:
        """Put everything onto the disk."""
        for file, _ in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files, whether or not they are whole."""
        for file, _ in self._files.values():
            file.close()


Sink = InMemory | OnDisk


def put(sink: Sink, name: str, dtype: Any, *blocks: NDArray[Any]) -> None:
    """A whole array, of blocks that follow each other."""
    sink.begin(name, dtype, sum(len(block) for block in blocks))
    for block in blocks:
        sink.append(name, block)


def put_keys(sink: Sink, keys: Sequence[NDArray[Any]], sizes: NDArray[Any], hashes: Any) -> None:
    """The keys (UTF-8, in blocks), their lengths in bytes, and their hashes by track."""
    owners = np.argsort(hashes, kind="stable")
    put(sink, "keys", np.uint8, *keys)
    put(sink, "key_starts", np.int64, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]))
    put(sink, "hashes", np.uint64, hashes[owners])
    put(sink, "owners", np.uint32, owners)


def put_sorted(sink: Sink, total: int, chunks: Iterable[NDArray[np.uint64]]) -> None:
    """Words with their places, in order: the word in the upper half of each number."""
    bits = 8 if total < 1 << 16 else 16 if total < 1 << 26 else 24
    rest = np.uint32(32 - bits)
    counts = np.zeros((1 << bits) + 1, np.uint32)
    sink.begin("tails", _TAILS[bits], total)
    sink.begin("places", np.uint32, total)
    for chunk in chunks:
        if not len(chunk):
            continue
        words = (chunk >> np.uint64(32)).astype(np.uint32)
        entries = words >> rest
        found = np.bincount(entries - entries[0])
        counts[entries[0] + 1 : entries[0] + 1 + len(found)] += found.astype(np.uint32)
        sink.append("tails", (words & low_bits(rest)).astype(_TAILS[bits]))
        sink.append("places", chunk.astype(np.uint32))  # the lower half
    put(sink, "directory", np.uint32, np.cumsum(counts, dtype=np.uint32))


def joined(words: NDArray[np.uint32], places: NDArray[Any]) -> NDArray[np.uint64]:
    """Each word with its place as one number, which sorts by word first."""
    return words.astype(np.uint64) << np.uint64(32) | places.astype(np.uint64)


def kept_places(words: NDArray[np.uint32], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the words that are looked up.

    Of each eight the four that differ least from their neighbours; never silence.
    """
    change = np.zeros(len(words) + 1, np.uint16)
    change[1:-1] = np.bitwise_count(words[1:] ^ words[:-1])
    change[starts] = 16  # nothing stands beside it
    cost = np.where(words == 0, np.uint16(255), change[1:] + change[:-1])
    ranked = cost.reshape(-1, _GROUP) * np.uint16(_GROUP) + np.arange(_GROUP, dtype=np.uint16)
    best = np.sort(ranked, axis=1)[:, :_KEPT] % _GROUP
    places = (np.arange(0, len(words), _GROUP)[:, None] + best).reshape(-1)
    return np.asarray(places[words[places] != 0], np.int64)


def starts_of(lengths: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Where tracks of so many words begin, and the end: ``(tracks + 1,)``."""
    padded = -(-lengths.astype(np.int64) // UNIT) * UNIT
    return np.concatenate([[0], np.cumsum(padded)]).astype(np.int64)


def key_hash(name: bytes) -> int:
    """64 bits of a key (UTF-8), the same in every process."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def low_bits(rest: np.uint32) -> np.uint32:
    """A mask of the lowest ``rest`` bits."""
    return np.uint32((1 << int(rest)) - 1)


def check(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise :class:`ValueError` if a part's arrays do not belong together."""
    tracks, total = len(arrays["lengths"]), len(arrays["places"])
    places = int(arrays["starts"][-1])
    bits = len(arrays["directory"]).bit_length() - 1
    fits = (
        bits in _TAILS
        and len(arrays["directory"]) == (1 << bits) + 1
        and arrays["tails"].dtype == _TAILS[bits]
        and int(arrays["directory"][-1]) == total == len(arrays["tails"])
        and all(len(arrays[name]) == tracks + 1 for name in ("starts", "key_starts"))
        and all(len(arrays[name]) == tracks for name in ("hashes", "owners"))
        and int(arrays["key_starts"][-1]) == len(arrays["keys"])
        and len(arrays["coarse"]) * UNIT == places
        and ("words" not in arrays or len(arrays["words"]) == places)
        and all(arrays[name].dtype == dtype for name, dtype in DTYPES.items() if name in arrays)
    )
    if not fits:
        raise ValueError("the arrays of an index do not fit together")
