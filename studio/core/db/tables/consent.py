"""The table of consent: every accepted signed document.

It only grows; who holds what is worked out from it (:mod:`studio.consent.storage.history`). Each
row stands and falls with its ledger entry, which carries the document's digest.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from studio.core.db.tables.ledger import metadata

__all__ = ["consent_document"]

consent_document = Table(
    "consent_document",
    metadata,
    Column(
        "entry_idx",
        Integer,
        ForeignKey("ledger_entry.idx"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of content
    Column("document_id", String(32), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),  # holder, key, tags, grant, revocation
    Column("holder", String(64), nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("admission", String(32), nullable=False),  # studio.consent.storage.history.Admission
    Column("content", LargeBinary, nullable=False),  # canonical JSON (RFC 8785), as signed
    Column("signatures", LargeBinary, nullable=False),  # JSON, as in a file of signed consent
    UniqueConstraint("holder", "serial", name="consent_document_serial"),
)
"""The unique columns refuse a replay even where two processes import at once."""
