"""The codebook: message sequences of all registered watermarks.

Seals lie in groups of one epoch and equal sequence length, each group one array of 16-bit words
``(second, seal)``, so that :mod:`watermark.coding.identify` scores thousands of seals in one matrix
product. Large groups also have an inverted index from words to places.

>>> from watermark.coding.message import SealId, SealKey
>>> codebook = Codebook([CodebookEntry(SealId(bytes(8)), SealKey(1, bytes(32)), seconds=30)])
>>> len(codebook), SealId(bytes(8)) in codebook, [group.length for group in codebook.groups]
(1, True, [32])

A codebook of many seals can be kept on disk: :mod:`watermark.coding.codebook_store`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.coding.message import BITS, SealId, SealKey, message_words
from watermark.errors import CodebookError

__all__ = ["Codebook", "CodebookEntry", "SealGroup", "WordIndex", "bits_of"]

# Seals are searched in groups of equal length. Lengths are rounded up to these, or to multiples of
# the last: a sequence can be continued for ever, and seconds nobody sealed only widen the search.
_LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_SIGNS_KEPT = 2**22  # numbers; 16 MB for a group


@dataclass(frozen=True, slots=True)
class CodebookEntry:
    """One registered seal.

    Attributes:
        seal_id: which.
        key: the key of its epoch.
        seconds: how long the sealed track is, seconds.
        scrambled: whoever registered it knows that it was scrambled, so it is looked for in its
            scramble only, which is quicker. False says that this is not known.
    """

    seal_id: SealId
    key: SealKey
    seconds: float
    scrambled: bool = False


def bits_of(words: NDArray[np.uint16]) -> NDArray[np.float32]:
    """+-1 float32 ``(words, 16)``, most significant bit first."""
    bits = np.unpackbits(words.astype(">u2", order="C").view(np.uint8)).reshape(*words.shape, BITS)
    return bits.astype(np.float32) * 2 - 1


_Kind = tuple[SealKey, int, bool]  # key, length in seconds, whether scrambled


class Codebook:
    """The registered seals, arranged for search; grows by :meth:`add`.

    Memory: 2 bytes per seal and second; with the index (made at the first search once there are
    20,000 seals of a length) 6 bytes; up to 16 MB more for each small group that was searched.

    Args:
        entries: seals of any epochs and lengths.

    Raises:
        CodebookError: a seal that is listed twice, or shorter than a second.
    """

    def __init__(self, entries: Iterable[CodebookEntry] = ()) -> None:
        self._parts: dict[_Kind, tuple[SealGroup, ...]] = {}
        self._known: set[bytes] = set()  # those that are in no kept group
        self.add(entries)

    @classmethod
    def of_groups(cls, groups: Iterable[SealGroup]) -> Codebook:
        """A codebook of groups that are there; those that are kept are not added to."""
        codebook = cls()
        for group in groups:
            at = group.kind
            codebook._parts[at] = (*codebook._parts.get(at, ()), group)
            if not group.kept:
                codebook._known |= {group.seal_id(place).value for place in range(len(group))}
        return codebook

    @classmethod
    def of(cls, seals: Codebook | Iterable[CodebookEntry]) -> Codebook:
        """A codebook as it is, or one of entries. Raises CodebookError for anything else."""
        if isinstance(seals, Codebook):
            return seals
        wanted = "a codebook is a Codebook, or CodebookEntry objects"
        given: object = seals  # callers without a type checker pass anything
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise CodebookError(f"{wanted}, not {type(given).__name__}")
        entries = list(given)
        for entry in entries:
            if not isinstance(entry, CodebookEntry):
                raise CodebookError(f"{wanted}; one of these is of type {type(entry).__name__}")
        return cls(entries)

    def use(self, groups: Iterable[SealGroup]) -> None:
        """Hold the same seals in other groups."""
        other = Codebook.of_groups(groups)
        self._parts, self._known = other._parts, other._known

    def __len__(self) -> int:
        kept = sum(len(group) for parts in self._parts.values() for group in parts if group.kept)
        return kept + len(self._known)

    def __contains__(self, seal_id: object) -> bool:
        if not isinstance(seal_id, SealId):
            return False
        return seal_id.value in self._known or any(
            group.find(seal_id) is not None
            for parts in self._parts.values()
            for group in parts
            if group.kept
        )

    @property
    def groups(self) -> tuple[SealGroup, ...]:
        """The seals by sequence length, shortest first, and epoch; of one kind, kept ones first."""

        def order(kind: _Kind) -> tuple[int, int, bool]:
            return kind[1], kind[0].epoch, kind[2]

        return tuple(
            group for kind in sorted(self._parts, key=order) for group in self._parts[kind]
        )

    @property
    def kinds(self) -> Mapping[_Kind, Sequence[SealGroup]]:
        """The groups by what their seals have in common: key, sequence length, scrambled or not."""
        return dict(self._parts)

    @property
    def keys(self) -> tuple[SealKey, ...]:
        """The keys of the seals registered, the newest epoch first."""
        found = {key for key, _, _ in self._parts}
        return tuple(sorted(found, key=lambda key: key.epoch, reverse=True))

    @property
    def all_scrambled(self) -> bool:
        """All seals are known to be scrambled."""
        return all(scrambled for _, _, scrambled in self._parts)

    def add(self, entries: Iterable[CodebookEntry]) -> None:
        """Register more seals; 1.6 us per second of each on one core."""
        fresh: dict[_Kind, list[tuple[CodebookEntry, NDArray[np.uint16]]]] = {}
        for entry in entries:
            if entry.seal_id in self:
                raise CodebookError(f"seal {entry.seal_id} is in the codebook twice")
            if not entry.seconds > 0:
                raise CodebookError(f"seal {entry.seal_id} has no duration")
            self._known.add(entry.seal_id.value)
            length = _rounded(entry.seconds)
            words = message_words(entry.key, entry.seal_id, length)
            fresh.setdefault((entry.key, length, entry.scrambled), []).append((entry, words))
        for kind, items in fresh.items():
            parts = self._parts.get(kind, ())
            if not parts or parts[-1].kept:
                parts = self._parts[kind] = (*parts, SealGroup(*kind))
            ids = [entry.seal_id for entry, _ in items]
            parts[-1].extend(ids, np.stack([words for _, words in items]))


class SealGroup:
    """Seals of one epoch and sequence length: their ids, and their words as (second, seal).

    Attributes:
        key, length: of the seals; the length in seconds.
        scrambled: they are known to be scrambled.
        ids: uint64 ``(seals,)``, each the 8 bytes of a seal id, most significant first.
        kept: it lies on disk, its ids in order, and does not grow.
    """

    def __init__(self, key: SealKey, length: int, scrambled: bool = False) -> None:
        self.key, self.length, self.scrambled = key, length, scrambled
        self.ids = np.empty(0, np.uint64)
        self.kept = False
        self._parts: list[NDArray[np.uint16]] = []
        self._words = np.empty((length, 0), np.uint16)
        self._index: WordIndex | None = None
        self._signs: NDArray[np.float32] | None = None

    @classmethod
    def of_arrays(
        cls,
        key: SealKey,
        ids: NDArray[np.uint64],
        words: NDArray[np.uint16],
        index: WordIndex | None = None,
        *,
        scrambled: bool = False,
    ) -> SealGroup:
        """A group of ids and words, ``(length, seals)``; with an index it is kept."""
        group = cls(key, len(words), scrambled)
        group.ids, group._words, group._index = ids, words, index
        group.kept = index is not None
        return group

    @property
    def kind(self) -> _Kind:
        """What its seals have in common."""
        return self.key, self.length, self.scrambled

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, seal_id: SealId) -> int | None:
        """The place of a seal, or None."""
        wanted = np.uint64(int.from_bytes(seal_id.value, "big"))
        if self.kept:
            at = int(np.searchsorted(self.ids, wanted))
            return at if at < len(self.ids) and self.ids[at] == wanted else None
        found = np.flatnonzero(self.ids == wanted)
        return int(found[0]) if len(found) else None

    def seal_id(self, place: int) -> SealId:
        """The id of the seal at a place."""
        return SealId(int(self.ids[place]).to_bytes(8, "big"))

    def extend(self, ids: list[SealId], words: NDArray[np.uint16]) -> None:
        """Append seals with their words, ``(seals, length)``."""
        raw = b"".join(seal_id.value for seal_id in ids)
        self.ids = np.concatenate([self.ids, np.frombuffer(raw, ">u8").astype(np.uint64)])
        self._parts.append(words.T)
        self._index = self._signs = None

    @property
    def words(self) -> NDArray[np.uint16]:
        """uint16 ``(length, seals)``."""
        if self._parts:
            self._words = np.ascontiguousarray(np.concatenate([self._words, *self._parts], axis=1))
            self._parts = []
        return self._words

    @property
    def small(self) -> bool:
        """Its :meth:`signs` are kept, so that comparing with all is quick."""
        return self.length * len(self) * BITS <= _SIGNS_KEPT

    def signs(self, start: int, stop: int) -> NDArray[np.float32]:
        """The messages of some of the seals as +-1, ``(seals, length * 16)``."""
        if not self.small:
            return bits_of(self.words[:, start:stop].T).reshape(-1, self.length * BITS)
        if self._signs is None:
            self._signs = bits_of(self.words.T).reshape(len(self), -1)
        return self._signs[start:stop]

    @property
    def index(self) -> WordIndex:
        if self._index is None:
            self._index = WordIndex(self.words)
        return self._index


class WordIndex:
    """Inverted index: 16-bit word -> places (second * seals + seal) where it stands.

    Memory: 4 bytes per seal and second, and 256 kB a second.

    >>> index = WordIndex(np.array([[7, 9, 7], [9, 7, 7]], np.uint16))  # of 3 seals, 2 s each
    >>> index.places(np.array([7]))[0].tolist(), index.seals(np.array([7, 9]), 1)[0].tolist()
    ([0, 2, 4, 5], [1, 2, 0])
    """

    def __init__(self, words: NDArray[np.uint16]) -> None:
        if words.size >= 2**32:
            raise CodebookError("more than 2**32 seconds in one codebook; split it by epoch")
        self._length, self._count = words.shape
        self._places = np.argsort(words.reshape(-1), kind="stable").astype(np.uint32)
        counts = np.empty((2**BITS, self._length), np.uint32)  # of each word in each second
        for second, row in enumerate(words):
            counts[:, second] = np.bincount(row, minlength=2**BITS)
        self._starts = np.zeros(counts.size + 1, np.uint32)
        np.cumsum(counts, out=self._starts[1:])

    @classmethod
    def of_arrays(
        cls, length: int, count: int, places: NDArray[np.uint32], starts: NDArray[np.uint32]
    ) -> WordIndex:
        """An index of ``count`` seals of ``length`` seconds that was made before."""
        index = cls.__new__(cls)
        index._length, index._count, index._places, index._starts = length, count, places, starts
        return index

    @property
    def arrays(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """All there is to keep: the places by word, and where those of a word and second begin."""
        return self._places, self._starts

    def places(self, words: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places of words, word by word and in order, and how many each has."""
        first = words * self._length
        return self._between(self._starts[first], self._starts[first + self._length])

    def counts(self, words: NDArray[np.integer], second: int) -> int:
        """How many seals have one of the words in that second."""
        at = words * self._length + second
        return int((self._starts[at + 1] - self._starts[at]).sum(dtype=np.int64))

    def seals(
        self, words: NDArray[np.integer], second: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The seals that have one of the words in that second, word by word, and how many each."""
        at = words * self._length + second
        places, counts = self._between(self._starts[at], self._starts[at + 1])
        places -= second * self._count
        return places, counts

    def _between(
        self, starts: NDArray[np.uint32], stops: NDArray[np.uint32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places from each start to each stop, and how many."""
        counts = (stops - starts).astype(np.int64)
        before = np.cumsum(counts) - counts
        take = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        return self._places.take(take).astype(np.int64), counts


def _rounded(seconds: float) -> int:
    whole = max(1, math.ceil(seconds))
    for length in _LENGTHS:
        if whole <= length:
            return length
    return -(-whole // _LENGTHS[-1]) * _LENGTHS[-1]
