"""The ledger: every event of the studio as an entry of an append-only Merkle tree.

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
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from studio.errors import LedgerError
from studio.provenance.release import GenerationRequest, OutputId, Release
from studio.provenance.tree import (
    EMPTY_HEAD,
    completed_nodes,
    head_from_nodes,
    leaf_hash,
    tree_head,
)
from studio.store.database import Database
from studio.store.tables import ledger_entry, ledger_node, output, seal_reservation

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LEAF_VERSION", "Audit", "Entry", "Ledger", "StoredOutput", "canonical_leaf"]

LEAF_VERSION = 1

_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it stands in the ledger."""

    index: int
    kind: str
    at: datetime  # UTC
    body: Mapping[str, Any]
    leaf: bytes  # canonical JSON of all of the above
    leaf_hash: bytes
    tree_head: bytes  # of the tree of entries 0..index

    def to_json(self) -> dict[str, Any]:
        return {
            **json.loads(self.leaf),
            "leaf_hash": self.leaf_hash.hex(),
            "tree_head": self.tree_head.hex(),
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """Result of recomputing the whole ledger."""

    size: int
    tree_head: bytes
    first_bad_index: int | None
    fault: str | None  # what is wrong with the first bad entry

    @property
    def ok(self) -> bool:
        return self.fault is None


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """What verification needs of one output, besides its entry."""

    output_id: OutputId
    seal_id: str
    epoch: int
    duration_s: float
    fingerprint: bytes


def canonical_leaf(index: int, kind: str, at: datetime, body: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed. Raises :class:`LedgerError` for what JSON cannot carry exactly."""
    import rfc8785

    entry: dict[str, Any] = {
        "version": LEAF_VERSION,
        "index": index,
        "at": at.astimezone(UTC).strftime(_INSTANT),
        "kind": kind,
        "body": dict(body),
    }
    try:
        return rfc8785.dumps(entry)
    except rfc8785.CanonicalizationError as exc:
        raise LedgerError(f"a {kind} entry has no canonical form: {exc}") from exc


class Ledger:
    """Append, look up, audit. One object may be shared by threads; many processes by file."""

    def __init__(
        self, database: Database, outputs: Path, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._database = database
        self._outputs = outputs
        self._clock = clock or (lambda: datetime.now(UTC))

    @classmethod
    def open(
        cls, path: Path, *, outputs: Path, clock: Callable[[], datetime] | None = None
    ) -> Ledger:
        """Open or make the database at ``path``; ``outputs`` is where released files lie."""
        return cls(Database.open(path), outputs, clock)

    def close(self) -> None:
        self._database.close()

    # -- appending ----------------------------------------------------------------------------

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append one entry, durably. Raises :class:`LedgerError`; nothing was appended then."""
        with self._database.writing() as connection:
            return self._append(connection, kind, body)

    def append_release(
        self, body: Mapping[str, Any], *, file_name: str, fingerprint: bytes
    ) -> Entry:
        """Append a ``release`` entry together with its row of the outputs table, or neither."""
        seal_id = body["seal"]["id"]
        body = {
            **body,
            "output_id": seal_id,
            "file": {**body["file"], "name": file_name},
            "fingerprint_sha256": hashlib.sha256(fingerprint).hexdigest(),
        }
        try:
            with self._database.writing() as connection:
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
                return entry
        except LedgerError as exc:
            if isinstance(exc.__cause__, IntegrityError):
                raise LedgerError(f"output {seal_id} is in the ledger already") from exc
            raise

    def reserve(self, seal_id: str, epoch: int) -> None:
        """Take a seal id for good. Raises :class:`LedgerError` if it was ever taken before."""
        with self._database.writing() as connection:
            connection.execute(
                seal_reservation.insert().values(
                    seal_id=seal_id, epoch=epoch, reserved_at=self._clock().strftime(_INSTANT)
                )
            )

    def _append(self, connection: Connection, kind: str, body: Mapping[str, Any]) -> Entry:
        last = connection.scalar(select(func.max(ledger_entry.c.idx)))
        index = 0 if last is None else int(last) + 1
        at = self._clock()
        leaf = canonical_leaf(index, kind, at, body)
        for level, node_index, hash_ in completed_nodes(
            index, leaf_hash(leaf), _node_reader(connection)
        ):
            connection.execute(ledger_node.insert().values(level=level, idx=node_index, hash=hash_))
        head = head_from_nodes(index + 1, _node_reader(connection))
        entry = Entry(index, kind, at, dict(body), leaf, leaf_hash(leaf), head)
        connection.execute(
            ledger_entry.insert().values(
                idx=index,
                kind=kind,
                created_at=at.astimezone(UTC).strftime(_INSTANT),
                leaf=leaf,
                leaf_hash=entry.leaf_hash,
                tree_head=head,
            )
        )
        return entry

    # -- looking up ---------------------------------------------------------------------------

    def size(self) -> int:
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(ledger_entry)) or 0)

    def entry(self, index: int) -> Entry | None:
        with self._database.reading() as connection:
            row = connection.execute(
                select(ledger_entry).where(ledger_entry.c.idx == index)
            ).one_or_none()
        return None if row is None else _entry(row)

    def entries(
        self, *, kind: str | None = None, newest_first: bool = False, limit: int | None = None
    ) -> list[Entry]:
        """Entries in order of index, or the other way round."""
        query = select(ledger_entry)
        if kind is not None:
            query = query.where(ledger_entry.c.kind == kind)
        order = ledger_entry.c.idx.desc() if newest_first else ledger_entry.c.idx
        with self._database.reading() as connection:
            return [_entry(row) for row in connection.execute(query.order_by(order).limit(limit))]

    def release(self, output_id: str) -> Release | None:
        """The release of that output, rebuilt from its entry, or None."""
        query = (
            select(ledger_entry)
            .join(output, output.c.entry_idx == ledger_entry.c.idx)
            .where(output.c.output_id == output_id)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._release(_entry(row))

    def releases(self, *, newest_first: bool = False, limit: int | None = None) -> list[Release]:
        """All releases, oldest first unless asked otherwise."""
        entries = self.entries(kind="release", newest_first=newest_first, limit=limit)
        return [self._release(entry) for entry in entries]

    def output_count(self) -> int:
        """How many outputs were released, and so how many seals the desk searches."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(output)) or 0)

    def outputs(self, *, after: int = -1) -> Iterator[tuple[int, StoredOutput]]:
        """Outputs whose entry index is above ``after``, with that index, in order."""
        query = (
            select(ledger_entry, output.c.fingerprint)
            .join(output, output.c.entry_idx == ledger_entry.c.idx)
            .where(ledger_entry.c.idx > after)
            .order_by(ledger_entry.c.idx)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            body = _entry(row).body
            yield (
                row.idx,
                StoredOutput(
                    output_id=OutputId(body["output_id"]),
                    seal_id=body["seal"]["id"],
                    epoch=body["seal"]["epoch"],
                    duration_s=body["audio"]["duration_s"],
                    fingerprint=row.fingerprint,
                ),
            )

    def _release(self, entry: Entry) -> Release:
        try:
            body = entry.body
            return Release(
                output_id=OutputId(body["output_id"]),
                path=self._outputs / body["file"]["name"],
                sha256=body["file"]["sha256"],
                seal_id=body["seal"]["id"],
                entry_index=entry.index,
                entry_hash=entry.leaf_hash.hex(),
                request=GenerationRequest.from_json(body["request"]),
                decision=body["decision"],
                rate=body["audio"]["rate"],
                channels=body["audio"]["channels"],
                duration_s=body["audio"]["duration_s"],
                title=body["title"],
                credits=tuple(body["credits"]),
                created_at=entry.at,
                seal=body["seal"],
                model=body["model"],
            )
        except (KeyError, TypeError) as exc:
            raise LedgerError(
                f"entry {entry.index} of the ledger is damaged; run `studio ledger verify`"
            ) from exc

    # -- auditing -----------------------------------------------------------------------------

    def verify(self) -> Audit:
        """Recompute every leaf, hash, node and head, and every output's digests.

        What this cannot see alone is a tail cut off or a ledger rewritten whole with new hashes:
        that takes a tree head noted elsewhere, to compare with :attr:`Audit.tree_head`.
        """
        hashes: list[bytes] = []
        nodes: dict[tuple[int, int], bytes] = {}
        with self._database.reading() as connection:
            rows = connection.execute(select(ledger_entry).order_by(ledger_entry.c.idx)).all()
            stored_nodes = {
                (row.level, row.idx): row.hash for row in connection.execute(select(ledger_node))
            }
            stored_outputs = {
                row.entry_idx: row for row in connection.execute(select(output)).all()
            }
        head = EMPTY_HEAD
        for position, row in enumerate(rows):
            fault = _row_fault(row, position)
            if fault is None:
                hashes.append(row.leaf_hash)
                for level, index, hash_ in completed_nodes(
                    position, row.leaf_hash, lambda *key: nodes[key]
                ):
                    nodes[level, index] = hash_
                    if stored_nodes.get((level, index)) != hash_:
                        fault = f"tree node ({level}, {index}) is not the one its entries give"
                head = head_from_nodes(position + 1, lambda *key: nodes[key])
                if fault is None and head != row.tree_head:
                    fault = "the tree head is not the one the entries give"
            if fault is None:
                fault = _output_fault(row, stored_outputs)
            if fault is not None:
                return Audit(len(rows), head, position, fault)
        if len(stored_nodes) != len(nodes):
            return Audit(len(rows), head, len(rows), "tree nodes beyond the last entry")
        if tree_head(hashes) != head:  # the RFC's own recursion, against our incremental one
            return Audit(len(rows), head, len(rows), "the tree head does not follow RFC 6962")
        if any(index >= len(rows) for index in stored_outputs):
            return Audit(len(rows), head, len(rows), "an output without an entry")
        return Audit(len(rows), head, None, None)


def _node_reader(connection: Connection) -> Callable[[int, int], bytes]:
    def node(level: int, index: int) -> bytes:
        found = connection.scalar(
            select(ledger_node.c.hash).where(
                ledger_node.c.level == level, ledger_node.c.idx == index
            )
        )
        if found is None:
            raise LedgerError(f"the ledger is damaged: tree node ({level}, {index}) is missing")
        return bytes(found)

    return node


def _entry(row: Any) -> Entry:
    try:
        leaf = json.loads(row.leaf)
        return Entry(
            index=row.idx,
            kind=row.kind,
            at=datetime.strptime(leaf["at"], _INSTANT).replace(tzinfo=UTC),
            body=leaf["body"],
            leaf=row.leaf,
            leaf_hash=row.leaf_hash,
            tree_head=row.tree_head,
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise LedgerError(
            f"entry {row.idx} of the ledger is damaged; run `studio ledger verify`"
        ) from exc


def _row_fault(row: Any, position: int) -> str | None:
    """What is wrong with one row taken by itself, or None."""
    if row.idx != position:
        return f"entry {position} is missing"
    if not all(isinstance(value, bytes) for value in (row.leaf, row.leaf_hash, row.tree_head)):
        return "leaf, hash and head are not all bytes"
    if leaf_hash(row.leaf) != row.leaf_hash:
        return "the leaf does not have the hash recorded for it"
    try:
        leaf = json.loads(row.leaf)
        at = datetime.strptime(leaf["at"], _INSTANT).replace(tzinfo=UTC)
        canonical = canonical_leaf(leaf["index"], leaf["kind"], at, leaf["body"])
    except (ValueError, KeyError, TypeError, LedgerError):
        return "the leaf is not an entry"
    if canonical != row.leaf:
        return "the leaf is not in canonical form"
    if (leaf["index"], leaf["kind"], leaf["at"]) != (row.idx, row.kind, row.created_at):
        return "index, kind or time beside the leaf are not the leaf's own"
    return None


def _output_fault(row: Any, outputs: Mapping[int, Any]) -> str | None:
    """Whether a release and its row of the outputs table agree."""
    stored = outputs.get(row.idx)
    if row.kind != "release":
        return None if stored is None else "an output points at an entry that is no release"
    if stored is None:
        return "the release has no output"
    try:
        body = json.loads(row.leaf)["body"]
        named = (body["output_id"], body["seal"]["id"], body["file"]["name"])
        digest = body["fingerprint_sha256"]
    except (KeyError, TypeError):
        return "the release does not name its output"
    if (stored.output_id, stored.seal_id, stored.file_name) != named:
        return "the output is not the one the release names"
    if (
        not isinstance(stored.fingerprint, bytes)
        or hashlib.sha256(stored.fingerprint).hexdigest() != digest
    ):
        return "the output's fingerprint is not the one the release names"
    return None
