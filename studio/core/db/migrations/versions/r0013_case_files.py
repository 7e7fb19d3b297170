"""Pictures and sounds of the examinations of a case.

Revision ID: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_immutable

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; rows are deleted with their case, and never changed."""
    op.create_table(
        "case_file",
        sa.Column("case_id", sa.String(16), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    make_immutable(op, "case_file", ["case_id", "seq", "name"])


def downgrade() -> None:
    """There is none: cases are not thrown away by a migration."""
    raise RuntimeError("revision 0013 cannot be undone")
