"""Tables of lineage, and of requests counted per account.

``output_parent`` and ``near_duplicate`` only ever grow; ``generation_use`` counts requests.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["generation_use", "near_duplicate", "output_parent"]

output_parent = Table(
    "output_parent",
    metadata,
    Column("output_id", String(16), ForeignKey("output.output_id"), primary_key=True),
    Column("parent_id", String(16), ForeignKey("output.output_id"), nullable=False, index=True),
    Column("relation", String(8), nullable=False),  # "vary" or "extend"
)
"""Written with the child's release entry, which says the same."""

generation_use = Table(
    "generation_use",
    metadata,
    Column("use_id", String(32), primary_key=True),  # random
    Column("account_id", String(32), nullable=False, index=True),  # "local" without accounts
    Column("started_at", String(27), nullable=False, index=True),  # RFC 3339 UTC, microseconds
    Column("seconds", Float, nullable=False),  # of music asked for
    Column("state", String(8), nullable=False),  # running, released, refused, stopped, failed
    Column("output_id", String(16)),  # once released
)
"""One row per request that was begun; what each state counts for is
:mod:`studio.generation.limits.quota`'s."""

near_duplicate = Table(
    "near_duplicate",
    metadata,
    Column("output_id", String(16), ForeignKey("output.output_id"), primary_key=True),
    Column("account_id", String(32), nullable=False, index=True),
    Column("like_id", String(16), ForeignKey("output.output_id"), nullable=False),
    Column("distance", Float, nullable=False),  # bit error rate of the fingerprints
    Column("found_at", String(27), nullable=False),
)
"""Outputs whose sound is nearly that of an earlier one that is not among their ancestors."""
