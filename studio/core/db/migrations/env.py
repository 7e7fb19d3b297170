"""Alembic's entry point: migrate over the connection the caller already holds."""

from __future__ import annotations

from alembic import context

from studio.core.db.tables.ledger import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
# The caller has begun the transaction and commits it: schema and version change together.
context.run_migrations()
