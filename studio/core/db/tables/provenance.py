"""Tables of committed values and of the site's keys.

``opening`` is the one table of provenance whose rows may be deleted: that is how personal data is
erased without touching a leaf (:mod:`studio.provenance.ledger.private_fields`).
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, Table, Text

from studio.core.db.tables.ledger import metadata

__all__ = ["GUARDED", "key_record", "opening"]

opening = Table(
    "opening",
    metadata,
    Column("entry_idx", Integer, ForeignKey("ledger_entry.idx"), primary_key=True),
    Column("field", String(128), primary_key=True),  # path in the entry's body, "/" between
    Column("salt", LargeBinary(32), nullable=False),
    Column("value", Text, nullable=False),
)
"""Salt and value of each commitment in a leaf, until they are erased."""

key_record = Table(
    "key_record",
    metadata,
    Column("purpose", String(16), primary_key=True),  # seal, ledger
    Column("number", Integer, primary_key=True, autoincrement=False),  # epoch of a seal key
    Column("public", String(255), nullable=False),  # public key, or digest of a secret one
    Column("recorded_at", String(27), nullable=False),
)
"""Every key the site ever used, so that a lost or exchanged one is noticed."""

GUARDED = (
    "consent_document",
    "key_record",
    "ledger_entry",
    "ledger_node",
    "manifest",
    "near_duplicate",
    "output",
    "output_owner",
    "output_parent",
    "rendition",
    "seal_reservation",
)
"""Every append-only table, whichever domain's it is: the audit looks for their triggers."""
