"""The tables of scores and performances: what the house model performed, and how, by output.

A row is never changed and may be deleted. The SHA-256 of either stands in the output's ledger
entry; outputs of studios before revision 0012 have no performance.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, LargeBinary, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["output_performance", "output_score"]

output_score = Table(
    "output_score",
    metadata,
    Column("output_id", String(16), ForeignKey("output.output_id"), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # the score's JSON, zlib
)

output_performance = Table(
    "output_performance",
    metadata,
    Column("output_id", String(16), ForeignKey("output.output_id"), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # studio.music.models.house.played
)
