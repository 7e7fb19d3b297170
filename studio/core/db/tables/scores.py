"""The table of scores: what the house model performed, by output.

A row is never changed and may be deleted. The score's SHA-256 stands in the output's ledger entry.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, LargeBinary, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["output_score"]

output_score = Table(
    "output_score",
    metadata,
    Column("output_id", String(16), ForeignKey("output.output_id"), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # the score's JSON, zlib
)
