"""The ledger: every event as an entry of an append-only Merkle tree.

An entry's leaf is the canonical JSON (RFC 8785) of ``{"version", "index", "at", "kind", "body"}``.
Leaf hashes and the head over all entries so far follow RFC 6962 and are stored beside it; the
format is written down in ``docs/ledger-format.md``. The database refuses UPDATE and DELETE, and
:meth:`Ledger.verify` recomputes everything, so that a change made behind the triggers' back shows.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     ledger = Ledger.open(Path(folder) / "ledger.db", outputs=Path(folder))
...     entry = ledger.append("refusal", {"why": "an example"})
...     audit = ledger.verify()
...     ledger.close()
>>> entry.index, audit.ok, audit.size
(0, True, 1)
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from studio.core.db.database import Database
from studio.core.db.tables.accounts import output_owner
from studio.core.db.tables.ledger import ledger_entry, ledger_node, output, seal_reservation
from studio.core.db.tables.provenance import key_record, opening
from studio.core.errors import LedgerError
from studio.provenance.ledger.audit import Audit, audit
from studio.provenance.ledger.clock import (
    ACCEPTED,
    AGREEMENT,
    REPAIR,
    check_clock,
    plan_repair,
    time_elsewhere,
)
from studio.provenance.ledger.entry import INSTANT, LEAF_VERSION, Entry, canonical_leaf, entry_of
from studio.provenance.ledger.openings import forget, kept_of, openings_of
from studio.provenance.ledger.private_fields import Opening, Personal, take_out
from studio.provenance.ledger.tree.merkle import (
    completed_nodes,
    head_from_nodes,
    leaf_hash,
)
from studio.provenance.ledger.tree.nodes import Node, with_nodes
from studio.provenance.ledger.tree.proofs import consistency_path, inclusion_path
from studio.provenance.release import OutputId, Release

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LEAF_VERSION", "Audit", "Entry", "Ledger", "StoredOutput", "canonical_leaf"]

_CLOCK_TOLERANCE = timedelta(seconds=1)  # clocks of several machines, and their corrections


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """What verification needs of one output, besides its entry."""

    output_id: OutputId
    seal_id: str
    epoch: int
    seal_digest: str  # SHA-256 of the weights that sealed it
    duration_s: float
    fingerprint: bytes


_Indexed = tuple[int, StoredOutput]


class Ledger:
    """Append, look up, audit. One object may be shared by threads; many processes by database."""

    def __init__(
        self, database: Database, outputs: Path, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._database = database
        self._outputs = outputs
        self._clock = clock or (lambda: datetime.now(UTC))
        self._is_system_clock = clock is None  # which another clock can be asked about
        self._appended: Callable[[Entry], None] = lambda _entry: None
        self._beside: Callable[[Connection, Entry], None] = lambda _connection, _entry: None
        self._ready: Callable[[], object] | None = None
        self._gate = threading.RLock()

    @classmethod
    def open(
        cls, location: Path | str, *, outputs: Path, clock: Callable[[], datetime] | None = None
    ) -> Ledger:
        """Open or make the SQLite file or PostgreSQL database; released files lie in ``outputs``.

        Raises as :meth:`studio.core.db.database.Database.open` does.
        """
        return cls(Database.open(location), outputs, clock)

    @property
    def database(self) -> Database:
        """The database of the entries, for what is read or written beside them."""
        return self._database

    def before_append(self, check: Callable[[], object]) -> None:
        """Have ``check`` called before anything is first written; what it raises stops that."""
        self._ready = check

    def beside_append(self, call: Callable[[Connection, Entry], None]) -> None:
        """Have ``call`` write what it keeps about an entry, in the transaction that appends it."""
        self._beside = call

    def after_append(self, call: Callable[[Entry], None]) -> None:
        """Have ``call`` told of every entry once it is committed; it must not raise."""
        self._appended = call

    def inner(self) -> Ledger:
        """The same ledger without what is called before and after an append.

        For what opens the ledger itself, and must not wait for that.
        """
        other = Ledger(self._database, self._outputs, self._clock)
        other._is_system_clock = self._is_system_clock
        other._beside = self._beside
        return other

    def close(self) -> None:
        self._database.close()

    # -- appending ----------------------------------------------------------------------------

    def append(
        self,
        kind: str,
        body: Mapping[str, Any],
        *,
        also: Callable[[Connection], None] | None = None,
    ) -> Entry:
        """Append one entry, durably. Raises :class:`LedgerError`; nothing was appended then.

        ``also`` writes what the entry is about (a grant, an account) in the same transaction,
        after the entry: both stand or neither does. What it raises passes through.
        """
        with self._writing() as connection:
            entry = self._append(connection, kind, body)
            if also is not None:
                also(connection)
            self._beside(connection, entry)
        self._appended(entry)
        return entry

    def append_release(
        self,
        body: Mapping[str, Any],
        *,
        file_name: str,
        fingerprint: bytes,
        also: Callable[[Connection], None] | None = None,
    ) -> Entry:
        """Append a ``release`` entry together with its row of the outputs table, or neither.

        It commits to the account that the output was reserved for.

        ``also`` as for :meth:`append`, after both.
        """
        seal_id = body["seal"]["id"]
        body = dict(body)
        credits = body.pop("credits")
        body = {
            **body,
            "output_id": seal_id,
            "credit_lines": [Personal(line) for line in credits],  # they name rights holders
            "file": {**body["file"], "name": file_name},
            "fingerprint_sha256": hashlib.sha256(fingerprint).hexdigest(),
        }
        try:
            with self._writing() as connection:
                owner = connection.scalar(
                    select(output_owner.c.account_id).where(output_owner.c.output_id == seal_id)
                )
                # Committed to, so that proofs of two outputs do not show that one made both.
                body["owner"] = None if owner is None else Personal(owner)
                entry = self._append(connection, "release", body)
                connection.execute(
                    output.insert().values(
                        output_id=seal_id,
                        seal_id=seal_id,
                        entry_idx=entry.index,
                        file_name=file_name,
                        fingerprint=fingerprint,
                    )
                )
                if also is not None:
                    also(connection)
                self._beside(connection, entry)
        except LedgerError as exc:
            if isinstance(exc.__cause__, IntegrityError):
                raise LedgerError(f"output {seal_id} is in the ledger already") from exc
            raise
        self._appended(entry)
        return entry

    def reserve(self, seal_id: str, epoch: int) -> None:
        """Reserve a seal id permanently.

        Raises :class:`LedgerError` if it was ever taken before, or the epoch's key is retired.
        """
        newest = select(func.max(key_record.c.number)).where(key_record.c.purpose == "seal")
        with self._writing() as connection:
            if (connection.scalar(newest) or epoch) != epoch:
                raise LedgerError(f"the seal key of epoch {epoch} was retired meanwhile; ask again")
            connection.execute(
                seal_reservation.insert().values(
                    seal_id=seal_id, epoch=epoch, reserved_at=self._clock().strftime(INSTANT)
                )
            )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._gate:  # other threads wait for the check; what it writes itself may pass
            if self._ready is not None:
                check, self._ready = self._ready, None
                try:
                    check()
                except BaseException:
                    self._ready = check
                    raise
        with self._database.writing() as connection:
            yield connection

    def _append(self, connection: Connection, kind: str, body: Mapping[str, Any]) -> Entry:
        last = connection.execute(
            select(ledger_entry.c.idx, ledger_entry.c.created_at)
            .order_by(ledger_entry.c.idx.desc())
            .limit(1)
        ).one_or_none()
        at = self._clock().astimezone(UTC)
        if last is None:
            check_clock(kind, at, None, self._elsewhere(connection))
            return self._append_at(connection, 0, at, kind, body)
        index = int(last.idx) + 1
        latest = datetime.strptime(last.created_at, INSTANT).replace(tzinfo=UTC)
        if at - latest > AGREEMENT:
            check_clock(kind, at, latest, self._elsewhere(connection))
        if at < latest:
            # Time in the ledger never goes back; that the clock did is an entry of its own.
            if latest - at > _CLOCK_TOLERANCE and not self._noted(connection, last.created_at):
                note = {
                    "reads": at.strftime(INSTANT),
                    "behind_s": (latest - at).total_seconds(),
                }
                self._append_at(connection, index, latest, "clock", note)
                index += 1
            at = latest
        return self._append_at(connection, index, at, kind, body)

    def _elsewhere(self, connection: Connection) -> datetime | None:
        if not self._is_system_clock:
            return None
        return time_elsewhere(connection, self._database.file)

    def _noted(self, connection: Connection, at: str) -> bool:
        """Whether the ledger says of this very time that the clock was set back."""
        query = select(ledger_entry.c.idx).where(
            ledger_entry.c.kind == "clock", ledger_entry.c.created_at == at
        )
        return connection.execute(query.limit(1)).one_or_none() is not None

    def _append_at(
        self, connection: Connection, index: int, at: datetime, kind: str, body: Mapping[str, Any]
    ) -> Entry:
        public, openings = take_out(body)
        leaf = canonical_leaf(index, kind, at, public)
        hash_ = leaf_hash(leaf)

        def grow(node: Node) -> tuple[dict[tuple[int, int], bytes], bytes]:
            completed = completed_nodes(index, hash_, node)
            fresh = {(level, i): complete for level, i, complete in completed}
            return fresh, head_from_nodes(
                index + 1, lambda *key: fresh[key] if key in fresh else node(*key)
            )

        fresh, head = with_nodes(connection, grow)
        connection.execute(
            ledger_node.insert(),
            [{"level": level, "idx": i, "hash": node} for (level, i), node in fresh.items()],
        )
        entry = Entry(index, kind, at, public, leaf, hash_, head)
        connection.execute(
            ledger_entry.insert().values(
                idx=index,
                kind=kind,
                created_at=at.strftime(INSTANT),
                leaf=leaf,
                leaf_hash=entry.leaf_hash,
                tree_head=head,
            )
        )
        if openings:
            connection.execute(
                opening.insert(),
                [
                    {"entry_idx": index, "field": field, "salt": kept.salt, "value": kept.value}
                    for field, kept in openings.items()
                ],
            )
        return entry

    # -- the clock ------------------------------------------------------------------------------

    def accept_clock(self) -> Entry:
        """Say that the clock is right, although the newest entry is long ago."""
        return self.append(ACCEPTED, {"reads": self._clock().astimezone(UTC).strftime(INSTANT)})

    def repair_clock(self) -> Entry:
        """Record which entries were dated in the future; the clock is right now.

        Raises :class:`UsageError` where none is, :class:`ClockError` where the clock is not right.
        """
        with self._writing() as connection:
            now = self._clock().astimezone(UTC)
            check_clock(REPAIR, now, None, self._elsewhere(connection))
            body = plan_repair(connection, now)
            at = max(now, datetime.strptime(body["held_as"], INSTANT).replace(tzinfo=UTC))
            entry = self._append_at(connection, body["last"] + 1, at, REPAIR, body)
            self._beside(connection, entry)
        self._appended(entry)
        return entry

    # -- personal data --------------------------------------------------------------------------

    def openings(self, index: int) -> dict[str, Opening]:
        """What the commitments of an entry hide, by field, as far as it was not erased."""
        with self._database.reading() as connection:
            return openings_of(connection, index)

    def erase(self, index: int, field: str) -> Entry:
        """Erase a personal value permanently, and record an ``erasure`` entry.

        Leaf, tree and proofs stay as they are. Raises :class:`UsageError` where there is nothing.
        """
        entry = self.append(
            "erasure",
            {"entry": index, "field": field},
            also=lambda connection: forget(connection, index, field),
        )
        self.scrub()
        return entry

    def kept(self, output_ids: Collection[str], fields: Collection[str]) -> list[tuple[int, str]]:
        """Which of these fields the release entries of these outputs still keep, with the entry."""
        with self._database.reading() as connection:
            return kept_of(connection, output_ids, fields)

    def erase_all(
        self,
        values: Sequence[tuple[int, str]],
        *,
        why: str,
        also: Callable[[Connection], None] | None = None,
    ) -> Entry:
        """Erase several values (entry, field) with one ``erasure`` entry, or none of them.

        ``also`` as for :meth:`append`. Raises :class:`UsageError` where one is not there.
        """

        def forget_all(connection: Connection) -> None:
            for index, field in values:
                forget(connection, index, field)
            if also is not None:
                also(connection)

        fields = [{"entry": index, "field": field} for index, field in values]
        entry = self.append("erasure", {"fields": fields, "why": why}, also=forget_all)
        self.scrub()
        return entry

    def scrub(self) -> None:
        """Take erased values out of the database's files as well."""
        self._database.scrub(opening.name)

    # -- looking up ---------------------------------------------------------------------------

    def size(self) -> int:
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(ledger_entry)) or 0)

    def entry(self, index: int) -> Entry | None:
        with self._database.reading() as connection:
            row = connection.execute(
                select(ledger_entry).where(ledger_entry.c.idx == index)
            ).one_or_none()
        return None if row is None else entry_of(row)

    def entries(
        self,
        *,
        kind: str | None = None,
        after: int = -1,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Entry]:
        """Entries above index ``after`` in order of index, or the other way round."""
        query = select(ledger_entry).where(ledger_entry.c.idx > after)
        if kind is not None:
            query = query.where(ledger_entry.c.kind == kind)
        order = ledger_entry.c.idx.desc() if newest_first else ledger_entry.c.idx
        with self._database.reading() as connection:
            return [entry_of(row) for row in connection.execute(query.order_by(order).limit(limit))]

    def release(self, output_id: str) -> Release | None:
        """The release of that output, rebuilt from its entry, or None."""
        query = (
            select(ledger_entry)
            .join(output, output.c.entry_idx == ledger_entry.c.idx)
            .where(output.c.output_id == output_id)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            openings = openings_of(connection, row.idx)
            return Release.from_entry(entry_of(row), openings, self._outputs)

    def releases(self, *, newest_first: bool = False, limit: int | None = None) -> list[Release]:
        """All releases, oldest first unless asked otherwise."""
        entries = self.entries(kind="release", newest_first=newest_first, limit=limit)
        if not entries:
            return []
        kept: dict[int, dict[str, Opening]] = {}
        indexes = [entry.index for entry in entries]
        query = select(opening).where(
            opening.c.entry_idx >= min(indexes), opening.c.entry_idx <= max(indexes)
        )
        with self._database.reading() as connection:
            for row in connection.execute(query):
                kept.setdefault(row.entry_idx, {})[row.field] = Opening(row.salt, row.value)
        return [
            Release.from_entry(entry, kept.get(entry.index, {}), self._outputs) for entry in entries
        ]

    def output_count(self) -> int:
        """How many outputs were released, and so how many seals are searched."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(output)) or 0)

    def outputs(self, *, after: int = -1, most: int | None = None) -> Iterator[_Indexed]:
        """Outputs whose entry index is above ``after``, with that index, in order."""
        query = (
            select(ledger_entry, output.c.fingerprint)
            .join(output, output.c.entry_idx == ledger_entry.c.idx)
            .where(ledger_entry.c.idx > after)
            .order_by(ledger_entry.c.idx)
            .limit(most)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            body = entry_of(row).body
            seal, seconds = body["seal"], body["audio"]["duration_s"]
            output_id = OutputId(body["output_id"])
            sealed = seal["id"], seal["epoch"], seal["digest"]
            yield row.idx, StoredOutput(output_id, *sealed, seconds, row.fingerprint)

    # -- proving --------------------------------------------------------------------------------

    def head(self, size: int) -> bytes:
        """The tree head of the first ``size`` entries, from the stored nodes."""
        with self._database.reading() as connection:
            return with_nodes(connection, partial(head_from_nodes, size))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that entry ``index`` is among the first ``size``; O(log² size)."""
        with self._database.reading() as connection:
            return with_nodes(connection, partial(inclusion_path, index, size))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """The proof that the first ``second`` entries begin with the first ``first``."""
        with self._database.reading() as connection:
            return with_nodes(connection, partial(consistency_path, first, second))

    # -- auditing -----------------------------------------------------------------------------

    def verify(self) -> Audit:
        """Recompute every leaf, hash, node and head, and every output's digests.

        What this cannot see alone is a tail cut off or a ledger rewritten whole with new hashes:
        that takes a tree head noted elsewhere, to compare with :attr:`Audit.tree_head`.
        """
        with self._database.reading() as connection:
            return audit(connection)
