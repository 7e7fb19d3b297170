"""Cases: files examined for one question, with notes.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_immutable

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; rows are deleted with their case, and never changed."""
    op.create_table(
        "case_item",
        sa.Column("case_id", sa.String(16), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("account_id", sa.String(32)),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    make_immutable(op, "case_item", ["case_id", "seq"])


def downgrade() -> None:
    """There is none: cases are not thrown away by a migration."""
    raise RuntimeError("revision 0011 cannot be undone")
