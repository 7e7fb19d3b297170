"""The table of signed C2PA manifests of released files.

Append-only. A manifest is easily stripped from a file; the seal leads to the output, and the output
leads here. The manifest's SHA-256 stands in the output's ledger entry.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, LargeBinary, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["manifest"]

manifest = Table(
    "manifest",
    metadata,
    Column("output_id", String(16), ForeignKey("output.output_id"), primary_key=True),
    Column("label", String(128), nullable=False, unique=True),  # the manifest's URN
    Column("content", LargeBinary, nullable=False),  # a C2PA manifest store (JUMBF)
)
