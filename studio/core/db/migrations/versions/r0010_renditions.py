"""Renditions: stems and scores released for an output.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_append_only

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, which only ever grows."""
    op.create_table(
        "rendition",
        sa.Column(
            "entry_idx",
            sa.Integer,
            sa.ForeignKey("ledger_entry.idx"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("part", sa.String(16), primary_key=True),
        sa.Column("output_id", sa.String(16), sa.ForeignKey("output.output_id"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary),
        sa.Column("label", sa.String(128), unique=True),
        sa.Column("manifest", sa.LargeBinary),
    )
    op.create_index("ix_rendition_output_id", "rendition", ["output_id"])
    make_append_only(op, "rendition", ["entry_idx", "part"], ["label"])


def downgrade() -> None:
    """There is none: a record is not thrown away by a migration."""
    raise RuntimeError("revision 0010 cannot be undone")
