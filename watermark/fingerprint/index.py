"""An inverted index of fingerprints for a million recordings.

Half of the words of every track stand in a sorted list with their places
(:mod:`watermark.fingerprint.postings`). The words of a query vote for alignments (track and
offset). Alignments on which a few words of the track, kept beside the list, differ too much are
left out; those that remain are compared bit by bit with the track's own words. After a coarse
codec few words survive whole, so if that finds nothing, the most doubtful bits of each word are
tried both ways, and for a query that does not know them, all words one bit away.

With a folder the index is kept on disk and mapped, not loaded: opening it costs nothing, processes
share its pages, adding writes a small new part, and parts of like size are merged as they come
together. A part is there whole or not at all; the list of parts changes in one step. Many processes
may read and write one folder: writers take turns, and each takes in what the others wrote.

A track of 30 s takes 3.8 kB where its words can be asked for elsewhere (``store``), and 9 kB
where they are kept here, too.

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
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watermark.errors import FingerprintError
from watermark.fingerprint.haitsma_kalker import Fingerprint, FingerprintMatch, compare
from watermark.fingerprint.merging import merged, remove
from watermark.fingerprint.postings import MOST_PLACES, Line, Part
from watermark.util.files import locked, replacing

__all__ = ["FingerprintIndex", "Store"]

Store = Callable[[Sequence[str]], Mapping[str, Fingerprint]]
"""Gives the fingerprints of some keys that were registered."""

_MAX_POSTINGS = 2_000  # a word standing in more places than this tells nothing (held notes)
_MAX_NEARBY = 200  # the same for a word that was guessed
_CANDIDATES = 24  # tracks that are compared bit by bit
_PER_TRACK = 3  # alignments of one track that are
_FEW = 1 << 18  # words (200 tracks of 30 s): parts smaller than this are merged at once
_LIST, _LOCK = "index.json", "index.lock"
_VERSION = 2


class FingerprintIndex:
    """The registered recordings, by key. Threads may share it.

    Args:
        folder: where the index is kept between runs; None keeps it in memory.
        fresh: begin with nothing, whatever the folder holds.
        store: where fingerprints are kept anyway. A folder then does without them, and the few
            that a search compares are asked for, all at once.

    Raises:
        FingerprintError: the folder holds an index of another version, a damaged one, or one that
            needs a store. It can be deleted: an index is made from fingerprints that are stored
            elsewhere.
        OSError: a fresh index cannot be begun in the folder.
    """

    def __init__(
        self, folder: Path | None = None, *, fresh: bool = False, store: Store | None = None
    ) -> None:
        self._folder = folder
        self._store = store
        self._lock = threading.Lock()  # of what follows
        self._new: dict[str, Fingerprint] = {}  # in no part yet
        self._loose: list[Part] = []  # in memory, with their words
        self._listed = _Listed()  # on disk
        self._saving = threading.Lock()
        self.note = ""
        """A word of the owner's that is kept with the parts, and changes in the same step."""
        if folder is None:
            return
        if fresh:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / _LOCK):
                self._listed = _Listed(secrets.token_hex(8))
                _write(folder, self._listed, self.note)
        else:
            self._listed, self.note = _read(folder) or (self._listed, "")
            if store is None and not all(part.has_words for part in self._listed.parts):
                raise FingerprintError(f"the fingerprint index {folder.name} needs a store")

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._all())) + len(self._new)

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._new or self._find(key) is not None

    def add(self, key: str, reference: Fingerprint) -> None:
        """Register a recording; on disk after :meth:`save`. A known key stays what it is."""
        with self._lock:
            if self._find(key) is None:
                self._new.setdefault(key, reference)

    def reference(self, key: str) -> Fingerprint:
        """What was registered under a key. Raises :class:`KeyError`."""
        with self._lock:
            if key in self._new:
                return self._new[key]
            found = self._find(key)
        if found is None:
            raise KeyError(key)
        return self._words([found])[key]

    def save(self, note: str = "") -> None:
        """Keep what was added since, with a note, in one step.

        Waits while another process writes, and takes in what it wrote. If another process has begun
        the folder afresh meanwhile, nothing is written, and this index goes on in memory.

        Raises:
            OSError: it cannot be written. Nothing is lost; it may be tried again.
            FingerprintError: what another process wrote is damaged.
        """
        with self._saving:
            with self._lock:
                self._settle()
                self.note = note
                loose = list(self._loose)
            if self._folder is None:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder / _LOCK):
                listed = self._written(self._folder, loose, note)
            with self._lock:
                if listed is not None:
                    self._listed = listed
                    self._loose = [part for part in self._loose if part not in loose]

    def search(self, query: Fingerprint, limit: int = 5) -> list[FingerprintMatch]:
        """The matches (see :data:`~watermark.fingerprint.haitsma_kalker.MATCH_DISTANCE`), nearest
        first.

        One per key. Raises what the store raises.
        """
        with self._lock:
            self._settle()
            parts = self._all()
        at = np.arange(len(query.words))
        found = self._compare_best(parts, query, query.words, at, _MAX_POSTINGS)
        if not found:
            words, at = _nearby(query)
            found = self._compare_best(parts, query, words, at, _MAX_NEARBY)
        return sorted(found, key=lambda item: item.distance)[:limit]

    def _compare_best(
        self,
        parts: Iterable[Part],
        query: Fingerprint,
        words: NDArray[np.uint32],
        at: NDArray[np.int64],
        most: int,
    ) -> list[FingerprintMatch]:
        found: dict[str, FingerprintMatch] = {}
        # In order, neighbouring words lie near each other in the sorted lists: fewer cache misses.
        order = np.argsort(words, kind="stable")
        words, at = words[order], at[order]
        lines = [line for part in parts for line in part.lines(query.words, words, at, most)]
        best = _best(lines)
        references = self._words(list(best))
        for (part, track), offsets in best.items():
            key = part.key(track)
            for offset in offsets:
                for near in (offset - 1, offset, offset + 1):
                    result = compare(query.words, references[key].words, near)
                    if result is None or not result.is_match:
                        continue
                    if key not in found or result.distance < found[key].distance:
                        found[key] = replace(result, key=key)
        return list(found.values())

    def _words(self, tracks: Sequence[tuple[Part, int]]) -> dict[str, Fingerprint]:
        """The fingerprints of some tracks, by key; the store is asked once, or not at all."""
        found = {
            part.key(track): part.fingerprint(track) for part, track in tracks if part.has_words
        }
        missing = [part.key(track) for part, track in tracks if not part.has_words]
        if missing and self._store is not None:
            found |= self._store(missing)
        for key in missing:
            if key not in found:
                raise FingerprintError(f"the fingerprint of {key} is not in the store")
        return found

    # -- parts; the lock is held --------------------------------------------------------------

    def _all(self) -> list[Part]:
        return [*self._listed.parts, *self._loose]

    def _find(self, key: str) -> tuple[Part, int] | None:
        for part in self._all():
            track = part.number(key)
            if track is not None:
                return part, track
        return None

    def _settle(self) -> None:
        """Sort what was added since, and merge parts of like size."""
        if not self._new:
            return
        new = Part.of(self._new)
        self._new = {}
        last = _like(self._loose, [new])
        del self._loose[len(self._loose) + 1 - len(last) :]
        self._loose.append(new if len(last) == 1 else merged(last, None, words=True))

    # -- on disk; the folder's lock is held ---------------------------------------------------

    def _written(self, folder: Path, loose: Sequence[Part], note: str) -> _Listed | None:
        """The parts on disk with those in memory; None if they cannot be joined."""
        before, theirs = self._listed, _read(folder, known=self._listed.parts)
        if theirs is None and before.origin is None:
            now = _Listed(secrets.token_hex(8))
        elif theirs is not None and before.origin in (None, theirs[0].origin):
            now, _ = theirs
        else:
            return None
        parts = list(now.parts)
        added = _besides(loose, parts)
        if added:
            last = _like(parts, added)
            del parts[len(parts) + len(added) - len(last) :]
            words = self._store is None and all(part.has_words for part in last)
            parts.append(merged(last, folder, words=words))
        now = _Listed(now.origin, tuple(parts))
        _write(folder, now, note)
        return now


@dataclass(frozen=True, slots=True)
class _Listed:
    """The parts on disk. The origin tells an index from one that was begun afresh."""

    origin: str | None = None
    parts: tuple[Part, ...] = ()


def _read(folder: Path, known: Iterable[Part] = ()) -> tuple[_Listed, str] | None:
    """The parts in a folder, and the note; None if there is no index.

    Raises :class:`FingerprintError`.
    """
    mapped = {part.name: part for part in known}
    content = None
    while True:
        before = content
        try:
            content = (folder / _LIST).read_bytes()
            body = json.loads(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise FingerprintError(f"the fingerprint index {folder.name} is damaged") from exc
        if not isinstance(body, dict) or body.get("version") != _VERSION:
            raise FingerprintError(f"the fingerprint index {folder.name} is of another version")
        try:
            names = [Path(name).name for name in body["parts"]]
            parts = [mapped.get(name) or Part.read(folder / name) for name in names]
            return _Listed(str(body["origin"]), tuple(parts)), str(body["note"])
        except FileNotFoundError as exc:
            # A writer has merged these parts since the list was read: there is another list.
            if content == before:
                raise FingerprintError(f"the fingerprint index {folder.name} is damaged") from exc
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as exc:
            raise FingerprintError(f"the fingerprint index {folder.name} is damaged") from exc


def _write(folder: Path, listed: _Listed, note: str) -> None:
    """Replace the list of parts, and delete what it does not name."""
    names = [part.name for part in listed.parts]
    body = {"version": _VERSION, "origin": listed.origin, "note": note, "parts": names}
    with replacing(folder / _LIST) as file:
        file.write(json.dumps(body).encode())
    for path in folder.glob("part-*"):
        if path.name not in names:  # merged, or of a run that broke off
            remove(path)


def _besides(loose: Sequence[Part], parts: Sequence[Part]) -> list[Part]:
    """What is in memory without the tracks that another process has written meanwhile."""
    keys = [part.key(track) for part in loose for track in range(len(part))]
    known = {key for key in keys if any(other.number(key) is not None for other in parts)}
    if not known:
        return list(loose)
    tracks = {key: track for part in loose for key, track in part.tracks() if key not in known}
    return [Part.of(tracks)] if tracks else []


def _like(parts: Sequence[Part], added: Sequence[Part]) -> list[Part]:
    """The added parts, and the last of those before that are not much larger: to be merged."""
    taken = list(added)
    size = sum(part.size for part in added)
    for part in reversed(parts):
        if part.size >= max(2 * size, _FEW) or part.size + size >= MOST_PLACES:
            break
        taken.insert(0, part)
        size += part.size
    return taken


def _best(lines: Iterable[Line]) -> dict[tuple[Part, int], list[int]]:
    """The tracks that agree best, and where."""
    best: dict[tuple[Part, int], list[int]] = {}
    for line in sorted(lines, key=lambda line: (line.distance, -line.votes)):
        track = line.part, line.track
        if track not in best and len(best) == _CANDIDATES:
            continue
        offsets = best.setdefault(track, [])
        if len(offsets) < _PER_TRACK:
            offsets.append(line.offset)
    return best


def _nearby(query: Fingerprint) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Words that the query's may have been before a codec, and where each would stand."""
    words, one = query.words[:, None], np.uint32(1)
    if query.doubtful is None:
        turned = words ^ (one << np.arange(32, dtype=np.uint32))
    else:
        bits = one << query.doubtful.astype(np.uint32)  # (words, 6)
        choices = np.arange(1, 2 ** bits.shape[1])[:, None] >> np.arange(bits.shape[1]) & 1
        turned = words ^ (bits @ choices.T.astype(np.uint32)).astype(np.uint32)
    turned[query.words == 0] = 0
    at = np.repeat(np.arange(len(words)), turned.shape[1])
    return turned.reshape(-1), at
