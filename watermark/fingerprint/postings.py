"""Sorted words of many recordings, with the places where they stand.

One part of a :class:`~watermark.fingerprint.index.FingerprintIndex`. The words of all its tracks
are thought of as one row, in which each track begins at a multiple of 16: a *place* is a position
in that row, a *line* is where the first word of a query would stand in it. A part keeps, as arrays
that are mapped from files and shared by all processes that map them:

* ``directory``, ``tails``, ``places``: of each eight words the four that differ least from the
  words beside them, because a codec changes those less than the others; sorted, 5 bytes each in a
  large part. The upper bits of a word choose an entry of the directory, which says where words with
  these bits begin; the other bits stand in ``tails``.
* ``coarse``: every 16th word. It tells apart the few lines that are worth comparing word by word.
* ``starts``, ``lengths``: place and number of words of each track.
* ``keys``, ``key_starts``: the tracks' keys in UTF-8, one after the other; ``hashes``, ``owners``:
  sorted hashes of the keys, and whose they are.
* ``words`` and ``seconds``: the whole row and the tracks' durations, only in an index that has no
  store to ask for them.

>>> import numpy as np
>>> part = Part.of({"ours": Fingerprint(np.arange(1, 1291, dtype=np.uint32), 30.0)})
>>> part.number("ours"), part.key(0), part.number("theirs")
(0, 'ours', None)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watermark.fingerprint.haitsma_kalker import Fingerprint
from watermark.fingerprint.layout import (
    DTYPES,
    UNIT,
    WHOLE,
    InMemory,
    check,
    joined,
    kept_places,
    key_hash,
    low_bits,
    put_keys,
    put_sorted,
    starts_of,
)

__all__ = ["MOST_PLACES", "Line", "Part"]

MOST_PLACES = 2**32
"""Places that one part can have: 3.3 million tracks of 30 s."""

_LINES = 4_000  # lines of most votes that are compared coarsely
_COMPARED = 2_000_000  # coarse words compared for one part, at most
_COARSE_DISTANCE = 0.40  # copies stayed below 0.30 in 1,734 queries of 3 to 10 s
_MAPPED = 2**20  # bytes of a file from which on it is mapped
_COARSE_LEAST = 6  # coarse words that must be shared to say that two recordings differ


class Line(NamedTuple):
    """Where a query may lie in a track.

    Attributes:
        distance: share of bits that differ in the coarse words.
        votes: words of the query that stand in the track where the line says.
        part, track: whose line it is.
        offset: of the query's first word in the track, in words.
    """

    distance: float
    votes: int
    part: Part
    track: int
    offset: int


@dataclass(eq=False)
class Part:
    """Some tracks; see the module. ``name`` is that of its folder, empty for one in memory."""

    name: str
    arrays: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        """The number of tracks."""
        return len(self.arrays["lengths"])

    @property
    def size(self) -> int:
        """The length of the row of all tracks' words."""
        return int(self.arrays["starts"][-1])

    @property
    def has_words(self) -> bool:
        """Whether the tracks' words are kept here."""
        return "words" in self.arrays

    @classmethod
    def of(cls, tracks: Mapping[str, Fingerprint]) -> Part:
        """A part in memory, with all words. Takes at least one track."""
        lengths = np.array([len(track.words) for track in tracks.values()], np.uint32)
        starts = starts_of(lengths)
        words = np.zeros(starts[-1], np.uint32)
        for start, track in zip(starts, tracks.values(), strict=False):
            words[start : start + len(track.words)] = track.words
        places = kept_places(words, starts)
        both = np.sort(joined(words[places], places))
        sink = InMemory()
        put_sorted(sink, len(both), [both])
        names = [key.encode() for key in tracks]
        put_keys(
            sink,
            [np.frombuffer(b"".join(names), np.uint8)],
            np.array([len(name) for name in names]),
            np.array([key_hash(name) for name in names], np.uint64),
        )
        seconds = np.array([track.duration_s for track in tracks.values()])
        rows: dict[str, NDArray[Any]] = {
            "starts": starts,
            "lengths": lengths,
            "words": words,
            "seconds": seconds,
        }
        rows["coarse"] = words[::UNIT].copy()
        return cls("", sink.arrays | rows)

    @classmethod
    def read(cls, path: Path) -> Part:
        """Mapped from disk where it is large, since a mapping holds an open file; else read.

        Raises :class:`OSError`, or :class:`ValueError` for a damaged one.
        """
        names = [*DTYPES, "tails"]
        if (path / "words.npy").exists():
            names += WHOLE
        arrays = {name: _stored(path / f"{name}.npy") for name in names}
        check(arrays)
        return cls(path.name, arrays)

    # -- tracks -------------------------------------------------------------------------------

    def key(self, track: int) -> str:
        """The key of a track, by its number."""
        first, last = self.arrays["key_starts"][track : track + 2]
        return bytes(self.arrays["keys"][first:last]).decode()

    def number(self, key: str) -> int | None:
        """The number of a track, by its key; None if it is not here."""
        wanted, hashes = np.uint64(key_hash(key.encode())), self.arrays["hashes"]
        at = int(np.searchsorted(hashes, wanted))
        while at < len(hashes) and hashes[at] == wanted:
            track = int(self.arrays["owners"][at])
            if self.key(track) == key:
                return track
            at += 1
        return None

    def fingerprint(self, track: int) -> Fingerprint:
        """What was registered, in a part that keeps words."""
        start = int(self.arrays["starts"][track])
        words = self.arrays["words"][start : start + int(self.arrays["lengths"][track])]
        return Fingerprint(np.array(words), float(self.arrays["seconds"][track]))

    def tracks(self) -> Iterator[tuple[str, Fingerprint]]:
        """Key and fingerprint of each, in a part that keeps words."""
        for track in range(len(self)):
            yield self.key(track), self.fingerprint(track)

    # -- search -------------------------------------------------------------------------------

    def lines(
        self,
        query: NDArray[np.uint32],
        words: NDArray[np.uint32],
        at: NDArray[np.int64],
        most: int,
    ) -> list[Line]:
        """The lines on which words agree, without those on which coarse words differ.

        Args:
            query: the words of the query.
            words: words to look up, in order: the query's, or guesses of what they were.
            at: where each stands in the query.
            most: a word that stands in more places than this is not looked at.
        """
        lines, tracks, votes = self._voted(words, at, most, len(query))
        if not len(lines):
            return []
        distances, known = self._coarsely(query, lines, tracks)
        near = distances <= _COARSE_DISTANCE
        offsets = lines - self.arrays["starts"][tracks]
        return [
            Line(
                float(distances[i]) if known[i] else _COARSE_DISTANCE,
                int(votes[i]),
                self,
                int(tracks[i]),
                int(offsets[i]),
            )
            for i in np.flatnonzero(near | ~known)
        ]

    def _voted(
        self, words: NDArray[np.uint32], at: NDArray[np.int64], most: int, length: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Line, track and votes where most words agree; each array ``(lines,)``."""
        first, count, here = self._range(words)
        at = at[here]
        count[count > most] = 0
        where = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        places = self.arrays["places"][where].astype(np.int64)
        lines = places - np.repeat(at, count)
        if not len(lines):
            return lines, lines, lines
        order = np.argsort(lines)
        lines, places = lines[order], places[order]
        edges = np.flatnonzero(np.diff(lines, prepend=lines[0] - 1))
        votes = np.diff(edges, append=len(lines))
        room = max(1, min(_LINES, _COMPARED // (length // UNIT + 1)))
        if len(votes) > room:
            top = np.argpartition(-votes, room)[:room]
            edges, votes = edges[top], votes[top]
        # A line that begins before its track lies in the one before: the words say whose it is.
        ranks = np.repeat(np.arange(len(votes)), votes)
        voters = np.repeat(edges - np.cumsum(votes) + votes, votes) + np.arange(votes.sum())
        tracks = np.searchsorted(self.arrays["starts"], places[voters], "right") - 1
        pairs, votes = np.unique(ranks * len(self) + tracks, return_counts=True)
        ranks, tracks = np.divmod(pairs, len(self))
        return lines[edges[ranks]], tracks, votes

    def _range(
        self, words: NDArray[np.uint32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Where the words that are here begin, how many there are, and which they are."""
        directory, tails = self.arrays["directory"], self.arrays["tails"]
        rest = self._rest
        entries = words >> rest
        first, last = directory[entries].astype(np.int64), directory[entries + 1].astype(np.int64)
        here = np.flatnonzero((first < last) & (words != 0))
        first, last, tail = (
            first[here],
            last[here],
            (words[here] & low_bits(rest)).astype(tails.dtype),
        )
        first = _bisect(tails, first, last, tail)
        same = first < last
        same[same] = tails[first[same]] == tail[same]
        first, last, tail = first[same], last[same], tail[same]
        return first, _bisect(tails, first, last, tail, right=True) - first, here[same]

    @property
    def _rest(self) -> np.uint32:
        """The bits of a word that its entry of the directory does not say."""
        return np.uint32(33 - len(self.arrays["directory"]).bit_length())

    def first_of(self, words: NDArray[np.uint32]) -> NDArray[np.int64]:
        """How many of the sorted words are below each of these."""
        directory, tails = self.arrays["directory"], self.arrays["tails"]
        entries = words >> self._rest
        first, last = directory[entries].astype(np.int64), directory[entries + 1].astype(np.int64)
        return _bisect(tails, first, last, (words & low_bits(self._rest)).astype(tails.dtype))

    def sorted_words(self, numbers: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The sorted words of these numbers, which are in order."""
        directory = self.arrays["directory"]
        if not len(numbers):
            return np.empty(0, np.uint32)
        ends = numbers[[0, -1]].astype(np.uint32)  # of the directory's type: it is not converted
        first, last = np.searchsorted(directory, ends, "right") - [1, 0]
        edges = np.searchsorted(numbers, directory[first : last + 1])
        entries = np.repeat(np.arange(first, last, dtype=np.uint32), np.diff(edges))
        return np.asarray(entries << self._rest | self.arrays["tails"][numbers], np.uint32)

    def _coarsely(
        self, query: NDArray[np.uint32], lines: NDArray[np.int64], tracks: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Share of differing bits of the coarse words, and whether enough were compared."""
        starts = self.arrays["starts"][tracks]
        ends = np.minimum(starts + self.arrays["lengths"][tracks], lines + len(query))
        first = -(-np.maximum(starts, lines) // UNIT)
        width = max(0, int((-(-ends // UNIT) - first).max(initial=0)))
        coarse = first[:, None] + np.arange(width)  # (lines, width)
        inside = coarse * UNIT < ends[:, None]
        coarse[~inside] = 0
        at = np.where(inside, coarse * UNIT - lines[:, None], 0)
        ours, theirs = query[at], self.arrays["coarse"][coarse]
        inside &= (ours != 0) & (theirs != 0)
        differing = np.where(inside, np.bitwise_count(ours ^ theirs), 0).sum(axis=1)
        count = inside.sum(axis=1)
        return differing / (32 * np.maximum(count, 1)), count >= _COARSE_LEAST


def _stored(path: Path) -> NDArray[Any]:
    mapped: Literal["r"] | None = "r" if path.stat().st_size >= _MAPPED else None
    return np.asarray(np.load(path, mmap_mode=mapped, allow_pickle=False))


def _bisect(
    row: NDArray[Any], low: NDArray[np.int64], high: NDArray[np.int64], wanted: NDArray[Any],
    *, right: bool = False,
) -> NDArray[np.int64]:  # fmt: skip
    """The first place from ``low`` up to ``high`` whose value is not below ``wanted``, for each.

    With ``right``: the first whose value is above it.
    """
    low, high = low.copy(), high.copy()
    open_ = np.flatnonzero(low < high)
    while len(open_):
        middle = (low[open_] + high[open_]) >> 1
        found = row[middle]
        below = found <= wanted[open_] if right else found < wanted[open_]
        low[open_[below]] = middle[below] + 1
        high[open_[~below]] = middle[~below]
        open_ = open_[low[open_] < high[open_]]
    return low
