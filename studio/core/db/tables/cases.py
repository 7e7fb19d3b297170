"""The tables of cases: what an examiner opened, examined and noted, in its order.

Rows are never changed. A whole case can be deleted: file names and notes are personal data. The
verdicts themselves stay in the ledger.
"""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["case_file", "case_item"]

case_item = Table(
    "case_item",
    metadata,
    Column("case_id", String(16), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),  # 0 opens the case
    Column("kind", String(16), nullable=False),  # open, examination, note
    Column("at", String(27), nullable=False),  # RFC 3339 UTC, microseconds
    Column("account_id", String(32)),  # who; None: the local owner
    Column("body", LargeBinary, nullable=False),  # JSON
)

case_file = Table(
    "case_file",
    metadata,
    Column("case_id", String(16), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),  # of the examination
    Column("name", String(32), primary_key=True),  # 1.suspect.png, 1.suspect.flac, ...
    Column("content", LargeBinary, nullable=False),
)
