"""Parents of outputs, requests counted per account, near duplicates.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_append_only

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and the triggers that keep lineage as it is."""
    op.create_table(
        "output_parent",
        sa.Column("output_id", sa.String(16), sa.ForeignKey("output.output_id"), primary_key=True),
        sa.Column(
            "parent_id",
            sa.String(16),
            sa.ForeignKey("output.output_id"),
            nullable=False,
            index=True,
        ),
        sa.Column("relation", sa.String(8), nullable=False),
    )
    op.create_table(
        "generation_use",
        sa.Column("use_id", sa.String(32), primary_key=True),
        sa.Column("account_id", sa.String(32), nullable=False, index=True),
        sa.Column("started_at", sa.String(27), nullable=False, index=True),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("output_id", sa.String(16)),
    )
    op.create_table(
        "near_duplicate",
        sa.Column("output_id", sa.String(16), sa.ForeignKey("output.output_id"), primary_key=True),
        sa.Column("account_id", sa.String(32), nullable=False, index=True),
        sa.Column("like_id", sa.String(16), sa.ForeignKey("output.output_id"), nullable=False),
        sa.Column("distance", sa.Float, nullable=False),
        sa.Column("found_at", sa.String(27), nullable=False),
    )
    make_append_only(op, "output_parent", ["output_id"])
    make_append_only(op, "near_duplicate", ["output_id"])


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0005 cannot be undone")
