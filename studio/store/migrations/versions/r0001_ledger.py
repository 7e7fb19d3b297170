"""The ledger, its tree, reserved seal ids and released outputs; all of them append-only.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and the triggers that refuse UPDATE and DELETE."""
    op.create_table(
        "ledger_entry",
        sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False, index=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("tree_head", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "ledger_node",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "seal_reservation",
        sa.Column("seal_id", sa.String(16), primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("reserved_at", sa.String(27), nullable=False),
    )
    op.create_table(
        "output",
        sa.Column("output_id", sa.String(16), primary_key=True),
        sa.Column(
            "seal_id",
            sa.String(16),
            sa.ForeignKey("seal_reservation.seal_id"),
            nullable=False,
            unique=True,
        ),
        sa.Column(
            "entry_idx",
            sa.Integer,
            sa.ForeignKey("ledger_entry.idx"),
            nullable=False,
            unique=True,
        ),
        sa.Column("file_name", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    )
    for table in ("ledger_entry", "ledger_node", "seal_reservation", "output"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    # INSERT OR REPLACE deletes without firing DELETE triggers unless recursive triggers are on,
    # so a row whose key is already there is refused as well.
    for table, key in (
        ("ledger_entry", "idx = NEW.idx"),
        ("ledger_node", "level = NEW.level AND idx = NEW.idx"),
        ("seal_reservation", "seal_id = NEW.seal_id"),
        ("output", "output_id = NEW.output_id OR seal_id = NEW.seal_id"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608 - constants
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {key}) "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def downgrade() -> None:
    """There is none: a ledger is not thrown away by a migration."""
    raise RuntimeError("the first revision of the ledger cannot be undone")
