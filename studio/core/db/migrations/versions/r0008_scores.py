"""The scores that outputs were performed from.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_immutable

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; its rows can be deleted, for a score may hold a typed melody."""
    op.create_table(
        "output_score",
        sa.Column("output_id", sa.String(16), sa.ForeignKey("output.output_id"), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    make_immutable(op, "output_score", ["output_id"])


def downgrade() -> None:
    """There is none: a record is not thrown away by a migration."""
    raise RuntimeError("revision 0008 cannot be undone")
