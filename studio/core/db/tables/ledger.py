"""Tables of the ledger; :mod:`studio.core.db.migrations` creates them.

All four only ever grow: triggers refuse UPDATE and DELETE. What happens to an output later (an
export, a withdrawal) is another ledger entry, never a changed row.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

__all__ = ["APPEND_ONLY", "ledger_entry", "ledger_node", "metadata", "output", "seal_reservation"]

metadata = MetaData()

ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("idx", Integer, primary_key=True, autoincrement=False),  # from 0, without gaps
    Column("kind", String(32), nullable=False, index=True),
    Column("created_at", String(27), nullable=False),  # RFC 3339 UTC, microseconds
    Column("leaf", LargeBinary, nullable=False),  # canonical JSON (RFC 8785) of the whole entry
    Column("leaf_hash", LargeBinary(32), nullable=False),  # SHA-256(0x00 ‖ leaf), RFC 6962
    Column("tree_head", LargeBinary(32), nullable=False),  # of the tree of entries 0..idx
)
"""The entries. ``kind`` and ``created_at`` repeat what the leaf says, for queries."""

ledger_node = Table(
    "ledger_node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),  # 0: leaves
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)
"""Hashes of all complete subtrees: node (level, i) covers entries i·2^level .. (i+1)·2^level - 1.

With them an append and a proof cost O(log n).
"""

seal_reservation = Table(
    "seal_reservation",
    metadata,
    Column("seal_id", String(16), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("reserved_at", String(27), nullable=False),
)
"""Every seal id ever given out, whether or not its output was released."""

output = Table(
    "output",
    metadata,
    Column("output_id", String(16), primary_key=True),
    Column(
        "seal_id",
        String(16),
        ForeignKey("seal_reservation.seal_id"),
        nullable=False,
        unique=True,
    ),
    Column("entry_idx", Integer, ForeignKey("ledger_entry.idx"), nullable=False, unique=True),
    Column("file_name", String(64), nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),  # its SHA-256 stands in the entry
)
"""Released outputs: what verification needs beside the entry."""

APPEND_ONLY = (ledger_entry, ledger_node, seal_reservation, output)
