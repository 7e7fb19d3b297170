"""The consent history in the database, read again only where it grew.

Every document's signature, and its digest against its ledger entry, are checked when it is read: a
row that somebody wrote into the table by hand makes the whole registry unreadable, and nothing is
generated. Another process's changes are seen at the next call, by one look at the newest entry.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from studio.consent.signed.admission import DocumentRefusedError, check_signatures
from studio.consent.signed.documents import short_type, strict_json
from studio.consent.signed.signing import SignedDocument
from studio.consent.storage.history import Admission, ConsentHistory, ConsentRecord
from studio.consent.storage.ledger_entries import ENTRY_KINDS, entry_kind
from studio.core.db.tables.consent import consent_document
from studio.core.db.tables.ledger import ledger_entry
from studio.core.errors import LedgerError
from studio.provenance.ledger.clock import Repair, newest_repair, repairs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.consent.registry import ConsentRegistry
    from studio.core.db.database import Database

__all__ = ["ConsentMovedError", "ConsentStore"]


class ConsentMovedError(Exception):
    """Consent changed since it was read: read it again."""


class ConsentStore:
    """Reads and writes the table of consent. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._book = ConsentHistory()
        self._repaired = -1  # the newest repair of the clock that the history was read with
        self._repairs: list[Repair] = []

    def history(self) -> ConsentHistory:
        """The history as it is now. Raises :class:`LedgerError` for a damaged document."""
        with self._lock:
            with self._database.reading() as connection:
                newest, recorded = _newest(connection), _newest_entry(connection)
                if newest != recorded:
                    raise _missing(recorded)
                repaired = newest_repair(connection)
                if repaired != self._repaired:  # documents count as of another time: read all
                    self._book = ConsentHistory()
                    self._repairs, self._repaired = repairs(connection), repaired
                if newest == self._book.version:
                    return self._book
                entries = set(
                    connection.scalars(
                        select(ledger_entry.c.idx).where(
                            ledger_entry.c.kind.in_(ENTRY_KINDS),
                            ledger_entry.c.idx > self._book.version,
                        )
                    )
                )
                rows = connection.execute(
                    select(
                        consent_document,
                        ledger_entry.c.created_at,
                        ledger_entry.c.leaf,
                    )
                    .join(ledger_entry, ledger_entry.c.idx == consent_document.c.entry_idx)
                    .where(consent_document.c.entry_idx > self._book.version)
                    .order_by(consent_document.c.entry_idx)
                ).all()
            if missing := entries - {row.entry_idx for row in rows}:
                raise _missing(min(missing))
            for row in rows:
                self._take_in(row)
            return self._book

    @contextmanager
    def reading(self) -> Iterator[ConsentHistory]:
        """The history as it is now; no other thread adds to it until the block ends."""
        with self._lock:
            yield self.history()

    def registry(self) -> ConsentRegistry:
        """What the policy decides by, as it is now; the same object while nothing changes."""
        with self._lock:
            return self.history().registry()

    def documents(self) -> list[SignedDocument]:
        """Every document in the order in which it was recorded, for an export."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(consent_document).order_by(consent_document.c.entry_idx)
            ).all()
        return [_signed(row) for row in rows]

    def insert(
        self,
        connection: Connection,
        signed: SignedDocument,
        *,
        kind: str,
        admission: Admission,
        version: int,
    ) -> None:
        """Put the document beside the ledger entry that was appended last in this transaction.

        Raises :class:`ConsentMovedError` where consent is no longer of the ``version`` at which the
        document was examined.
        """
        self.require(connection, version)
        document = signed.document
        signatures = [signature.model_dump() for signature in signed.signatures]
        connection.execute(
            consent_document.insert().values(
                entry_idx=connection.scalar(select(func.max(ledger_entry.c.idx))),
                digest=signed.digest,
                document_id=document.id,
                kind=kind,
                holder=document.holder,
                serial=document.serial,
                admission=str(admission),
                content=signed.content,
                signatures=json.dumps(signatures, sort_keys=True).encode(),
            )
        )

    def require(self, connection: Connection, version: int) -> None:
        """Raises :class:`ConsentMovedError` unless consent is still of this version.

        Called while the write lock is held, so that nobody can change it before the commit.
        """
        if _newest(connection) != version:
            raise ConsentMovedError

    def _take_in(self, row: Any) -> None:
        try:
            signed = _signed(row)
            entry = json.loads(row.leaf)
            if not signed.digest == row.digest == entry["body"]["digest"]:
                raise ValueError("its digest is not the one in its ledger entry")
            if row.admission != entry["body"]["admission"]:
                raise ValueError("its ledger entry gives another reason for accepting it")
            if entry["kind"] != entry_kind(signed):
                raise ValueError("its ledger entry is of another kind")
            document = signed.document
            beside = (row.document_id, row.kind, row.holder, row.serial)
            if beside != (document.id, short_type(document), document.holder, document.serial):
                raise ValueError("what stands beside it is not its own")
            admission = Admission(row.admission)
            check_signatures(signed, self._book, admission)
        except (ValueError, KeyError, TypeError, DocumentRefusedError) as exc:
            raise LedgerError(
                f"the consent document of ledger entry {row.entry_idx} is not sound ({exc}); "
                "nothing is generated until the database is restored"
            ) from exc
        self._book.apply(
            ConsentRecord(
                signed=signed,
                entry=row.entry_idx,
                recorded_at=self._recorded_at(row),
                admission=admission,
            )
        )

    def _recorded_at(self, row: Any) -> datetime:
        """The time of the entry; of one dated ahead, the one that the repair gives it."""
        for repair in self._repairs:
            if repair.covers(row.entry_idx):
                return repair.held_as
        return datetime.fromisoformat(row.created_at)


def _newest(connection: Connection) -> int:
    newest = connection.scalar(select(func.max(consent_document.c.entry_idx)))
    return -1 if newest is None else int(newest)


def _newest_entry(connection: Connection) -> int:
    """The newest entry that records a document; one look at the index for each kind."""
    columns = [
        select(func.max(ledger_entry.c.idx)).where(ledger_entry.c.kind == kind).scalar_subquery()
        for kind in ENTRY_KINDS
    ]
    found = connection.execute(select(*columns)).one()
    return max((int(index) for index in found if index is not None), default=-1)


def _missing(entry: int) -> LedgerError:
    return LedgerError(
        f"the consent document of ledger entry {entry} is missing, or one has no entry; nothing is "
        "generated until the database is restored"
    )


def _signed(row: Any) -> SignedDocument:
    signed = SignedDocument.of(strict_json(row.content), json.loads(row.signatures))
    if signed.content != row.content:
        raise ValueError("it is not in its canonical form")
    return signed
