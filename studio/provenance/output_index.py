"""Search index of outputs: the codebook of watermarks, and fingerprints.

An output is a key of the index, and so is each of its recorded stems
(:func:`~studio.provenance.renditions.part_key`).

Both follow the ledger; a reading never misses an output released before. The fingerprint index is
kept on disk beside it and only grows by what is new. Of each recording it keeps what a search
needs; the few fingerprints that are compared whole are read from the database. Its note names an
output's entry, by index and tree head, up to which it holds all outputs. Where the ledger does not
agree, or the index is of an earlier version, it is made again. The codebook is kept in the same way
(:mod:`watermark.coding.codebook_store`), but written only once some thousand seals are new: a few
are as quickly made as read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from studio.core.db.tables.ledger import output
from studio.core.db.tables.renditions import rendition
from studio.core.errors import LedgerError
from studio.provenance.renditions import RenditionStore, part_key, split_key
from watermark.coding.codebook import Codebook, CodebookEntry
from watermark.coding.codebook_store import CodebookStore
from watermark.coding.message import SealId
from watermark.errors import CodebookError, FingerprintError
from watermark.fingerprint.haitsma_kalker import Fingerprint
from watermark.fingerprint.index import FingerprintIndex
from watermark.models.base import SCRAMBLING_WEIGHTS

if TYPE_CHECKING:
    from studio.provenance.keys import KeyRing
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger, StoredOutput

__all__ = ["OutputIndex"]

_log = logging.getLogger(__name__)

_UNKEPT = 4_096  # new seals from which the codebook is written: making so many takes 0.2 s

_PAGE = 10_000  # outputs taken in at a time: 400 MB of memory, and what a broken-off run loses


class OutputIndex:
    """Codebook and fingerprint index over every release of the ledger.

    ``folder`` is where the fingerprint index is kept between runs, and ``seals`` where the codebook
    is; None keeps them in memory.
    """

    def __init__(
        self,
        ledger: Ledger,
        keys: KeyRing,
        folder: Path | None = None,
        seals: Path | None = None,
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._folder = folder
        self._lock = threading.Lock()
        self._last = -1  # index of the newest release taken in
        self._last_part = -1  # index of the newest entry of stems taken in
        self._held = -1  # the index on disk held every output up to this entry
        self._store = None if seals is None else CodebookStore(seals, keys.of)
        self._kept = -1  # the codebook on disk held every output up to this entry
        self._unkept = 0  # seals that are not in it
        self._replaced = False  # what is kept cannot be used
        self._renditions = RenditionStore(ledger)
        self._parts: dict[str, list[str]] = {}  # keys of an output's stems
        self.codebook = Codebook()
        self.index = FingerprintIndex()
        self._opened = False

    def __len__(self) -> int:
        return len(self.codebook)

    def keys_of(self, output_id: str) -> tuple[str, ...]:
        """The keys of an output's recordings: the mix first, then its stems."""
        return (output_id, *self._parts.get(output_id, ()))

    def refresh(self) -> None:
        """Take in what was released since. Raises :class:`LedgerError`, also for a lost key."""
        with self._lock:
            if not self._opened:
                self.index = self._open()
                self._open_codebook()
                self._last = min(self._held, self._kept)
                self._opened = True
            before = self._last, self._last_part
            while self._take_page():
                self._save()
                self._save_codebook()
            for entry_index, row in self._renditions.sounding(after=self._last_part):
                name = part_key(row.output_id, row.part)
                # Made again, a stem sounds the same: one fingerprint of it is enough.
                known = self._parts.setdefault(row.output_id, [])
                if name not in known:
                    known.append(name)
                if name not in self.index:
                    self.index.add(name, _print_of(name, row.fingerprint))
                self._last_part = entry_index
            if (self._last, self._last_part) != before:
                self._save()
            self._save_codebook()

    def _take_page(self) -> bool:
        """Take in the next outputs; whether there may be more."""
        count = 0
        for entry_index, stored in self._ledger.outputs(after=self._last, most=_PAGE):
            if entry_index > self._kept:
                self.codebook.add([self._entry(stored)])
                self._unkept += 1
            if entry_index > self._held and stored.output_id not in self.index:
                self.index.add(stored.output_id, _print_of(stored.output_id, stored.fingerprint))
            self._last = entry_index
            count += 1
        return count == _PAGE

    def _open(self) -> FingerprintIndex:
        """The index on disk if it is of this very ledger, or an empty one."""
        if self._folder is None:
            return FingerprintIndex()
        with suppress(FingerprintError):
            index = FingerprintIndex(self._folder, store=self._stored)
            entry = self._noted(index.note)
            if entry is not None:
                self._held = entry.index
                return index
            if not len(index):
                return index  # begun by another process just now
        try:
            return FingerprintIndex(self._folder, fresh=True, store=self._stored)
        except OSError:
            # Where nothing can be written the index lives in memory, and the next run makes it.
            return FingerprintIndex()

    def _open_codebook(self) -> None:
        """Take the codebook on disk if it is of this very ledger."""
        if self._store is None:
            return
        try:
            codebook, note = self._store.open()
            entry = self._noted(note)
            if entry is None and note:
                raise CodebookError("the kept codebook is of another ledger")
        except CodebookError as exc:
            _log.warning("%s; the words of all seals are made anew", exc)
            self._replaced = True
            return
        if entry is not None:
            self.codebook, self._kept = codebook, entry.index

    def _save_codebook(self) -> None:
        """Keep the codebook on disk if much of it is not there, or use what others keep there."""
        if self._store is None or self._unkept < _UNKEPT:
            return
        entry = self._ledger.entry(self._last)
        # Where it cannot be written, the words live in memory, and the next start makes them anew.
        with suppress(OSError, CodebookError):
            if entry and self._store.save(self.codebook, _note(entry), replace=self._replaced):
                self._kept, self._unkept, self._replaced = self._last, 0, False
            else:
                self._take_kept(self._store)

    def _take_kept(self, store: CodebookStore) -> None:
        """Go on with the codebook that another process wrote, and what was released since."""
        codebook, note = store.open()
        kept = self._noted(note)
        if kept is None or kept.index <= self._kept:
            return
        missing = [
            self._entry(stored)
            for entry_index, stored in self._ledger.outputs(after=kept.index)
            if entry_index <= self._last
        ]
        codebook.add(missing)
        self.codebook, self._kept, self._unkept = codebook, kept.index, len(missing)

    def _entry(self, stored: StoredOutput) -> CodebookEntry:
        # Stems are sealed by today's weights under the output's seal: those of an older output may
        # be scrambled while it is not. So nothing is known of older ones.
        return CodebookEntry(
            seal_id=SealId.parse(stored.seal_id),
            key=self._keys.of(stored.epoch),
            seconds=stored.duration_s,
            scrambled=stored.seal_digest in SCRAMBLING_WEIGHTS,
        )

    def _noted(self, note: str) -> Entry | None:
        """The entry of the ledger that a note names, or None where the ledger does not agree."""
        last, _, head = note.partition(" ")
        entry = self._ledger.entry(int(last)) if last.isdigit() else None
        return entry if entry is not None and entry.tree_head.hex() == head else None

    def _save(self) -> None:
        entry = self._ledger.entry(self._last)
        # What could not be written lives in memory until the next time.
        with suppress(OSError, FingerprintError):
            self.index.save("" if entry is None else _note(entry))

    def _stored(self, keys: Sequence[str]) -> dict[str, Fingerprint]:
        """The fingerprints of some recordings, from the database."""
        ids = {split_key(key)[0] for key in keys}
        mixes = select(output.c.output_id, output.c.fingerprint).where(output.c.output_id.in_(ids))
        stems = (
            select(rendition.c.output_id, rendition.c.part, rendition.c.fingerprint)
            .where(rendition.c.output_id.in_(ids), rendition.c.fingerprint.is_not(None))
            .order_by(rendition.c.entry_idx)
        )
        found: dict[str, bytes] = {}
        with self._ledger.database.reading() as connection:
            for row in connection.execute(mixes):
                found[row.output_id] = row.fingerprint
            if any(split_key(key)[1] for key in keys):
                for output_id, part, content in connection.execute(stems):
                    found.setdefault(part_key(output_id, part), content)
        return {key: _print_of(key, found.get(key)) for key in keys}


def _note(entry: Entry) -> str:
    return f"{entry.index} {entry.tree_head.hex()}"


def _print_of(key: str, content: bytes | None) -> Fingerprint:
    try:
        return Fingerprint.from_bytes(content or b"")
    except FingerprintError as exc:
        raise LedgerError(
            f"the fingerprint of output {key} is damaged; run `studio ledger verify`"
        ) from exc
