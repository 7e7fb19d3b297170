"""The ledger, its tree, reserved seal ids and released outputs; all of them append-only.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_append_only

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
    make_append_only(op, "ledger_entry", ["idx"])
    make_append_only(op, "ledger_node", ["level", "idx"])
    make_append_only(op, "seal_reservation", ["seal_id"])
    make_append_only(op, "output", ["output_id"], ["seal_id"], ["entry_idx"])


def downgrade() -> None:
    """There is none: a ledger is not thrown away by a migration."""
    raise RuntimeError("the first revision of the ledger cannot be undone")
