"""Merge parts of a fingerprint index, in bounded memory."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watermark.fingerprint.layout import (
    WHOLE,
    InMemory,
    OnDisk,
    Sink,
    joined,
    put,
    put_keys,
    put_sorted,
)
from watermark.fingerprint.postings import Part
from watermark.util.files import sync_folder

__all__ = ["merged", "remove"]

_CHUNK = 1 << 22  # words sorted at a time: about 200 MB of memory


def merged(parts: Sequence[Part], folder: Path | None, *, words: bool) -> Part:
    """One part of several.

    Args:
        parts: whose tracks follow each other; together less than :data:`MOST_PLACES`.
        folder: where the part is written, under a name of its own; None: in memory.
        words: whether the tracks' words are kept. Then all parts must have theirs.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    if folder is None:
        memory = InMemory()
        _merge(parts, memory, words=words)
        return Part("", memory.arrays)
    name = f"part-{secrets.token_hex(8)}"
    temporary = folder / f"{name}.new"
    temporary.mkdir()
    try:
        with closing(OnDisk(temporary)) as disk:
            _merge(parts, disk, words=words)
            disk.finish()
        sync_folder(temporary)
        temporary.rename(folder / name)
        sync_folder(folder)
    except BaseException:
        remove(temporary)
        raise
    return Part.read(folder / name)


def remove(path: Path) -> None:
    """Delete a part's folder, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)


def _merge(parts: Sequence[Part], sink: Sink, *, words: bool) -> None:
    arrays = [part.arrays for part in parts]
    bases = np.cumsum([0, *(part.size for part in parts)], dtype=np.int64)
    total = sum(len(part.arrays["places"]) for part in parts)
    put_sorted(sink, total, _in_order(parts, bases, total))
    starts = [a["starts"][:-1] + base for a, base in zip(arrays, bases, strict=False)]
    put(sink, "starts", np.int64, *starts, bases[-1:])
    put(sink, "lengths", np.uint32, *(a["lengths"] for a in arrays))
    put(sink, "coarse", np.uint32, *(a["coarse"] for a in arrays))
    sizes = np.concatenate([np.diff(a["key_starts"]) for a in arrays])
    hashes = np.empty(len(sizes), np.uint64)
    first = 0
    for a in arrays:
        hashes[first + a["owners"].astype(np.int64)] = a["hashes"]
        first += len(a["owners"])
    put_keys(sink, [a["keys"] for a in arrays], sizes, hashes)
    if words:
        for name, dtype in WHOLE.items():
            put(sink, name, dtype, *(a[name] for a in arrays))


def _in_order(
    parts: Sequence[Part], bases: NDArray[np.int64], total: int
) -> Iterator[NDArray[np.uint64]]:
    """The sorted words of all parts with their places, some million at a time."""
    largest = max(parts, key=lambda part: len(part.arrays["places"]))
    size = len(largest.arrays["places"])
    step = max(1, int(_CHUNK * size / max(1, total)))
    limits = np.unique(largest.sorted_words(np.arange(step, size, step)))
    cuts = [
        np.concatenate([[0], part.first_of(limits), [len(part.arrays["places"])]]) for part in parts
    ]
    for number in range(len(limits) + 1):
        blocks = []
        for part, cut, base in zip(parts, cuts, bases, strict=False):
            first, last = int(cut[number]), int(cut[number + 1])
            places = part.arrays["places"][first:last].astype(np.int64) + base
            blocks.append(joined(part.sorted_words(np.arange(first, last)), places))
        chunk = np.concatenate(blocks)
        chunk.sort()
        yield chunk
