"""One ledger entry and its canonical bytes; format: ``docs/ledger-format.md``.

>>> canonical_leaf(0, "refusal", datetime(2026, 11, 22, tzinfo=UTC), {"b": 1.0, "a": "ü"}).decode()
'{"at":"2026-11-22T00:00:00.000000Z","body":{"a":"ü","b":1},"index":0,"kind":"refusal","version":2}'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from studio.core.errors import LedgerError

__all__ = ["INSTANT", "LEAF_VERSION", "Entry", "canonical_leaf", "entry_of"]

LEAF_VERSION = 2
"""Of the leaves written now. In a leaf of version 1 a typed `title` stands as it was typed."""

_READ_VERSIONS = (1, LEAF_VERSION)

INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""How a UTC time is written in a leaf."""


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


def canonical_leaf(
    index: int, kind: str, at: datetime, body: Mapping[str, Any], *, version: int = LEAF_VERSION
) -> bytes:
    """The bytes that are hashed. Raises :class:`LedgerError` for what JSON cannot carry exactly,
    and for a version that is not known here."""
    import rfc8785

    if version not in _READ_VERSIONS or isinstance(version, bool):
        raise LedgerError(f"a leaf of version {version!r} is not known here")

    entry: dict[str, Any] = {
        "version": version,
        "index": index,
        "at": at.astimezone(UTC).strftime(INSTANT),
        "kind": kind,
        "body": dict(body),
    }
    try:
        return rfc8785.dumps(entry)
    except rfc8785.CanonicalizationError as exc:
        raise LedgerError(f"a {kind} entry has no canonical form: {exc}") from exc


def entry_of(row: Any) -> Entry:
    """The entry in a row of the table. Raises :class:`LedgerError` where it cannot be read."""
    try:
        leaf = json.loads(row.leaf)
        return Entry(
            index=row.idx,
            kind=row.kind,
            at=datetime.strptime(leaf["at"], INSTANT).replace(tzinfo=UTC),
            body=leaf["body"],
            leaf=row.leaf,
            leaf_hash=row.leaf_hash,
            tree_head=row.tree_head,
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise LedgerError(
            f"entry {row.idx} of the ledger is damaged; run `studio ledger verify`"
        ) from exc
