"""The table of renditions: stems and scores made after an output's release.

Append-only. What each row holds stands, or its SHA-256, in the ``renditions`` entry it names.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["rendition"]

rendition = Table(
    "rendition",
    metadata,
    Column(
        "entry_idx",
        Integer,
        ForeignKey("ledger_entry.idx"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("part", String(16), primary_key=True),  # drums, bass, lead, harmony; score
    Column("output_id", String(16), ForeignKey("output.output_id"), nullable=False, index=True),
    Column("sha256", String(64), nullable=False),  # of the file
    Column("fingerprint", LargeBinary),  # of its sound; none of a score
    Column("label", String(128), unique=True),  # the URN of its manifest; none of a score
    Column("manifest", LargeBinary),  # a C2PA manifest store (JUMBF)
)
