"""An inverted index of fingerprints for a hundred thousand recordings.

Every word of every track stands in a sorted list with its place. The words of a query vote for
alignments (track and offset), and the alignments of most votes are compared bit by bit. After a
coarse codec few words survive whole, so if that finds nothing, the most doubtful bits of each word
are tried both ways, and for a query that does not know them, all words one bit away.

With a folder the index is kept on disk and mapped, not loaded: opening it costs nothing, adding
writes a small new part, and parts of like size are merged as they come together. A part is there
whole or not at all; the list of parts changes in one step.

12 bytes a word: about 16 kB for 30 s of music.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> index = FingerprintIndex()
>>> tracks = [Fingerprint(rng.integers(1, 2**32, 1290, dtype=np.uint32), 30.0) for _ in range(9)]
>>> for n, track in enumerate(tracks):
...     index.add(f"track {n}", track)
>>> found = index.search(tracks[7].between(10.0, 16.0))
>>> found[0].key, round(found[0].offset_s)
('track 7', 10)
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import FingerprintError
from watermark.fingerprint.haitsma_kalker import Fingerprint, FingerprintMatch, compare
from watermark.util.files import replacing

__all__ = ["FingerprintIndex"]

_MAX_POSTINGS = 2_000  # a word standing in more places than this tells nothing (held notes)
_MAX_NEARBY = 200  # the same for a word that was guessed
_CANDIDATES = 12  # alignments of most votes that are compared bit by bit
_LIST = "index.json"
_VERSION = 1


class FingerprintIndex:
    """The registered recordings, by key.

    Args:
        folder: where the index is kept between runs; None keeps it in memory.
        fresh: begin with nothing, whatever the folder holds.

    Raises:
        FingerprintError: the folder holds an index of another version, or a damaged one. It can be
            deleted: an index is made from fingerprints that are stored elsewhere.
    """

    def __init__(self, folder: Path | None = None, *, fresh: bool = False) -> None:
        self._folder = folder
        self._parts: list[_Part] = []
        self._new: dict[str, Fingerprint] = {}  # in no part yet
        self._where: dict[str, tuple[_Part, int]] = {}
        self.note = ""
        """A word of the owner's that is kept with the parts, and changes in the same step."""
        if folder is not None and not fresh:
            self._open(folder)

    def __len__(self) -> int:
        return len(self._where) + len(self._new)

    def __contains__(self, key: str) -> bool:
        return key in self._where or key in self._new

    def add(self, key: str, reference: Fingerprint) -> None:
        """Register a recording; on disk after :meth:`save`."""
        self._new[key] = reference

    def reference(self, key: str) -> Fingerprint:
        """What was registered under a key. Raises :class:`KeyError`."""
        self._settle()
        part, number = self._where[key]
        return part.fingerprint(number)

    def save(self, note: str = "") -> None:
        """Keep what was added since, with a note, in one step. Raises :class:`OSError`."""
        self._settle()
        self.note = note
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for part in self._parts:
            part.write(self._folder)
        body = {"version": _VERSION, "note": note, "parts": [part.name for part in self._parts]}
        with replacing(self._folder / _LIST) as file:
            file.write(json.dumps(body).encode())
        kept = {part.name for part in self._parts}
        for path in self._folder.glob("part-*"):
            if path.name not in kept:  # merged, or of a run that broke off
                shutil.rmtree(path, ignore_errors=True)

    def search(self, query: Fingerprint, limit: int = 5) -> list[FingerprintMatch]:
        """The matches (see :data:`~watermark.fingerprint.haitsma_kalker.MATCH_DISTANCE`), nearest
        first.

        One per key.
        """
        self._settle()
        at = np.arange(len(query.words))
        found = self._compare_best(query, query.words, at, _MAX_POSTINGS)
        if not found:
            words, at = _nearby(query)
            found = self._compare_best(query, words, at, _MAX_NEARBY)
        return sorted(found, key=lambda item: item.distance)[:limit]

    def _compare_best(
        self, query: Fingerprint, words: NDArray[np.uint32], at: NDArray[np.int64], most: int
    ) -> list[FingerprintMatch]:
        found: dict[str, FingerprintMatch] = {}
        # In order, neighbouring words lie near each other in the sorted lists: fewer cache misses.
        order = np.argsort(words, kind="stable")
        words, at = words[order], at[order]
        for part in self._parts:
            for track, offset in part.votes(words, at, most, len(query.words)):
                for near in (offset - 1, offset, offset + 1):
                    result = compare(query.words, part.track(track), near)
                    if result is None or not result.is_match:
                        continue
                    key = part.keys[track]
                    if key not in found or result.distance < found[key].distance:
                        found[key] = replace(result, key=key)
        return list(found.values())

    def _settle(self) -> None:
        """Sort what was added since, and merge parts of like size."""
        if not self._new:
            return
        self._take(_Part.of(list(self._new.items())))
        self._new = {}
        while len(self._parts) > 1 and self._parts[-2].size < 2 * self._parts[-1].size:
            last, before = self._parts.pop(), self._parts.pop()
            self._take(_Part.merged(before, last))

    def _take(self, part: _Part) -> None:
        self._parts.append(part)
        self._where |= {key: (part, number) for number, key in enumerate(part.keys)}

    def _open(self, folder: Path) -> None:
        try:
            body = json.loads((folder / _LIST).read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as exc:
            raise FingerprintError(f"the fingerprint index {folder.name} is damaged") from exc
        if not isinstance(body, dict) or body.get("version") != _VERSION:
            raise FingerprintError(f"the fingerprint index {folder.name} is of another version")
        try:
            for name in body["parts"]:
                self._take(_Part.read(folder / Path(name).name))
            self.note = str(body["note"])
        except (OSError, EOFError, ValueError, KeyError, TypeError) as exc:
            raise FingerprintError(f"the fingerprint index {folder.name} is damaged") from exc


@dataclass(eq=False)
class _Part:
    """Some tracks' words, sorted, with the place of each.

    Attributes:
        name: of its folder.
        keys: of the tracks.
        seconds: how long each is.
        flat: the words of all tracks, one after the other.
        starts: where each begins in ``flat``, and the end.
        words, places: the words in order, and where in ``flat`` each stands; silence is left out.
        written: whether it is on disk.
    """

    name: str
    keys: list[str]
    seconds: NDArray[np.float64]
    flat: NDArray[np.uint32]
    starts: NDArray[np.int64]
    words: NDArray[np.uint32]
    places: NDArray[Any]
    written: bool = False

    @property
    def size(self) -> int:
        return len(self.flat)

    @classmethod
    def of(cls, tracks: list[tuple[str, Fingerprint]]) -> _Part:
        lengths = [len(reference.words) for _, reference in tracks]
        flat = np.concatenate([reference.words for _, reference in tracks])
        seconds = np.array([reference.duration_s for _, reference in tracks])
        starts = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))])
        return cls._sorted([key for key, _ in tracks], seconds, flat, starts)

    @classmethod
    def merged(cls, one: _Part, other: _Part) -> _Part:
        return cls._sorted(
            one.keys + other.keys,
            np.concatenate([one.seconds, other.seconds]),
            np.concatenate([one.flat, other.flat]),
            np.concatenate([one.starts, other.starts[1:] + one.size]),
        )

    @classmethod
    def _sorted(
        cls,
        keys: list[str],
        seconds: NDArray[np.float64],
        flat: NDArray[np.uint32],
        starts: NDArray[np.int64],
    ) -> _Part:
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat, 1, sorter=order) :]
        places = order.astype(np.uint32 if len(flat) < 2**32 else np.int64)
        name = f"part-{secrets.token_hex(8)}"
        return cls(name, keys, seconds, flat, starts, flat[order], places)

    def write(self, folder: Path) -> None:
        if self.written:
            return
        temporary = folder / f"{self.name}.new"
        temporary.mkdir()
        for name in ("seconds", "flat", "starts", "words", "places"):
            np.save(temporary / f"{name}.npy", getattr(self, name), allow_pickle=False)
        (temporary / "keys.json").write_text(json.dumps(self.keys), encoding="utf-8")
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(folder / self.name)
        self.written = True

    @classmethod
    def read(cls, path: Path) -> _Part:
        """Mapped from disk. Raises :class:`OSError` or :class:`ValueError`."""

        def mapped(name: str) -> Any:
            return np.asarray(np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False))

        keys = json.loads((path / "keys.json").read_text(encoding="utf-8"))
        part = cls(
            path.name,
            keys,
            np.array(mapped("seconds")),
            mapped("flat"),
            np.array(mapped("starts")),
            mapped("words"),
            mapped("places"),
            written=True,
        )
        if len(part.starts) != len(keys) + 1 or part.starts[-1] != len(part.flat):
            raise ValueError("the parts of an index do not fit together")
        return part

    def track(self, number: int) -> NDArray[np.uint32]:
        return self.flat[self.starts[number] : self.starts[number + 1]]

    def fingerprint(self, number: int) -> Fingerprint:
        return Fingerprint(np.array(self.track(number)), float(self.seconds[number]))

    def votes(
        self, words: NDArray[np.uint32], at: NDArray[np.int64], most: int, length: int
    ) -> list[tuple[int, int]]:
        """(track, offset in words) of the alignments most agree on; ``words[i]`` is at ``at[i]``.

        An alignment is where the query's first word falls among all tracks' words. What votes for a
        query that begins before its track may lie in the track before: both are candidates.
        """
        low = np.searchsorted(self.words, words, "left")
        here = (low < len(self.words)) & (words != 0)
        here[here] = self.words[low[here]] == words[here]
        words, at, low = words[here], at[here], low[here]
        count = np.searchsorted(self.words, words, "right") - low
        count[count > most] = 0
        where = np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())
        lines = self.places[where].astype(np.int64) - np.repeat(at, count)
        if not len(lines):
            return []
        lines.sort()
        edges = np.flatnonzero(np.diff(lines, prepend=lines[0] - 1))
        counts = np.diff(edges, append=len(lines))
        if len(counts) > _CANDIDATES:
            top = np.argpartition(-counts, _CANDIDATES)[:_CANDIDATES]
        else:
            top = np.arange(len(counts))
        found = []
        for line in lines[edges[top]]:
            first = int(np.searchsorted(self.starts, line, "right")) - 1
            last = int(np.searchsorted(self.starts, line + length, "left"))
            found += [
                (track, int(line - self.starts[track]))
                for track in range(max(0, first), min(last, len(self.keys)))
            ]
        return found


def _nearby(query: Fingerprint) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Words that the query's may have been before a codec, and where each would stand."""
    words, one = query.words[:, None], np.uint32(1)
    if query.doubtful is None:
        turned = words ^ (one << np.arange(32, dtype=np.uint32))
    else:
        bits = one << query.doubtful.astype(np.uint32)  # (words, 4)
        choices = np.arange(1, 2 ** bits.shape[1])[:, None] >> np.arange(bits.shape[1]) & 1
        turned = words ^ (bits @ choices.T.astype(np.uint32)).astype(np.uint32)
    turned[query.words == 0] = 0
    at = np.repeat(np.arange(len(words)), turned.shape[1])
    return turned.reshape(-1), at
