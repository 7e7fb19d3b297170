"""Recomputing a ledger from its rows: which is the first entry that is not as it was written?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from studio.errors import LedgerError
from studio.provenance.entry import INSTANT, canonical_leaf
from studio.provenance.tree import (
    EMPTY_HEAD,
    completed_nodes,
    head_from_nodes,
    leaf_hash,
    tree_head,
)

__all__ = ["Audit", "audit"]


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


def audit(
    rows: Sequence[Any],
    stored_nodes: Mapping[tuple[int, int], bytes],
    stored_outputs: Mapping[int, Any],
) -> Audit:
    """Check entries in order of index, tree nodes by (level, index), outputs by entry index."""
    hashes: list[bytes] = []
    nodes: dict[tuple[int, int], bytes] = {}
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
