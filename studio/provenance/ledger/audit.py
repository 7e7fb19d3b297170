"""Recompute a ledger from its rows and find the first altered entry.

It runs in one pass and in memory that does not grow with the leaves, so a ledger of a million
entries can be audited where it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, func, select

from studio.core.db.append_only import missing_guards
from studio.core.db.tables.ledger import ledger_entry, ledger_node, output
from studio.core.db.tables.provenance import GUARDED, opening
from studio.core.errors import LedgerError
from studio.provenance.ledger.clock import REPAIR
from studio.provenance.ledger.entry import INSTANT, canonical_leaf
from studio.provenance.ledger.private_fields import Opening, committed_fields
from studio.provenance.ledger.tree.merkle import (
    EMPTY_HEAD,
    completed_nodes,
    head_from_nodes,
    leaf_hash,
    tree_head,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Audit", "audit"]

_BATCH = 4096  # entries read at a time


@dataclass(frozen=True, slots=True)
class Audit:
    """Result of recomputing the whole ledger."""

    size: int
    tree_head: bytes
    first_bad_index: int | None
    fault: str | None  # what is wrong with the first bad entry
    unguarded: tuple[str, ...] = ()  # append-only triggers that are missing
    clock_set_back: tuple[int, ...] = ()  # entries at which the clock had gone back; no fault

    @property
    def ok(self) -> bool:
        return self.fault is None and not self.unguarded


@dataclass(slots=True)
class _Progress:
    """What is known of the entries gone through so far."""

    hashes: list[bytes] = field(default_factory=list)
    # Complete subtrees that are not yet part of a larger one: O(log n).
    peaks: dict[tuple[int, int], bytes] = field(default_factory=dict)
    head: bytes = EMPTY_HEAD
    nodes: int = 0
    outputs: int = 0
    latest: str = ""
    set_back: list[int] = field(default_factory=list)


def audit(connection: Connection) -> Audit:
    """Check every entry with its nodes, output and openings, in order of index."""
    unguarded = tuple(missing_guards(connection, GUARDED))
    size = _count(connection, ledger_entry)
    done = _Progress()

    def result(index: int | None, fault: str | None) -> Audit:
        return Audit(size, done.head, index, fault, unguarded, tuple(done.set_back))

    for start in range(0, size, _BATCH):
        batch = _read(connection, start)
        for row in batch.rows:
            position = len(done.hashes)
            fault = _check(row, position, batch, done)
            if fault is not None:
                return result(position, fault)
    if len(done.hashes) != size:
        return result(len(done.hashes), f"entry {len(done.hashes)} is missing")
    if _count(connection, ledger_node) != done.nodes:
        return result(size, "tree nodes beyond the last entry")
    if tree_head(done.hashes) != done.head:  # the RFC's own recursion, against our incremental one
        return result(size, "the tree head does not follow RFC 6962")
    if _count(connection, output) != done.outputs:
        return result(size, "an output without an entry")
    return result(None, None)


@dataclass(frozen=True, slots=True)
class _Batch:
    rows: list[Any]
    nodes: Mapping[tuple[int, int], bytes]
    outputs: Mapping[int, Any]
    openings: Mapping[int, list[Any]]


def _read(connection: Connection, start: int) -> _Batch:
    """The next entries from ``start`` in order of index, and what belongs to them."""
    rows = list(
        connection.execute(
            select(ledger_entry)
            .where(ledger_entry.c.idx >= start)
            .order_by(ledger_entry.c.idx)
            .limit(_BATCH)
        )
    )
    end = start + len(rows)
    nodes: dict[tuple[int, int], bytes] = {}
    for level in range(end.bit_length()):
        column = ledger_node.c.idx
        query = select(column, ledger_node.c.hash).where(
            ledger_node.c.level == level, column >= start >> level, column < end >> level
        )
        nodes.update({(level, index): hash_ for index, hash_ in connection.execute(query)})
    outputs = {
        row.entry_idx: row
        for row in connection.execute(
            select(output).where(output.c.entry_idx >= start, output.c.entry_idx < end)
        )
    }
    openings: dict[int, list[Any]] = {}
    for row in connection.execute(
        select(opening).where(opening.c.entry_idx >= start, opening.c.entry_idx < end)
    ):
        openings.setdefault(row.entry_idx, []).append(row)
    return _Batch(rows, nodes, outputs, openings)


def _check(row: Any, position: int, batch: _Batch, done: _Progress) -> str | None:
    """What is wrong with one entry, or None; takes it into ``done``."""
    fault = _row_fault(row, position)
    if fault is not None:
        return fault
    done.hashes.append(row.leaf_hash)
    children: list[tuple[int, int]] = []
    for level, index, hash_ in completed_nodes(
        position, row.leaf_hash, lambda *key: done.peaks[key]
    ):
        children += [(level - 1, 2 * index), (level - 1, 2 * index + 1)] if level else []
        done.peaks[level, index] = hash_
        done.nodes += 1
        if batch.nodes.get((level, index)) != hash_:
            fault = f"tree node ({level}, {index}) is not the one its entries give"
    for key in children:
        del done.peaks[key]
    done.head = head_from_nodes(position + 1, lambda *key: done.peaks[key])
    if fault is None and done.head != row.tree_head:
        fault = "the tree head is not the one the entries give"
    if row.kind == REPAIR:  # says itself that time begins anew
        done.latest = row.created_at
    if row.created_at < done.latest or row.kind == "clock":
        done.set_back.append(position)
    done.latest = max(done.latest, row.created_at)
    done.outputs += row.idx in batch.outputs
    return (
        fault
        or _output_fault(row, batch.outputs)
        or _opening_fault(row, batch.openings.get(row.idx, []))
    )


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
        at = datetime.strptime(leaf["at"], INSTANT).replace(tzinfo=UTC)
        canonical = canonical_leaf(
            leaf["index"], leaf["kind"], at, leaf["body"], version=leaf["version"]
        )
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


def _opening_fault(row: Any, stored: list[Any]) -> str | None:
    """Whether what is kept outside the leaf is what the leaf commits to; erased is no fault."""
    if not stored:
        return None
    committed = committed_fields(json.loads(row.leaf)["body"])
    for kept in stored:
        if not Opening(kept.salt, kept.value).matches(committed.get(kept.field)):
            return f"the value kept for {kept.field} is not the one the entry commits to"
    return None


def _count(connection: Connection, table: Table) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)
