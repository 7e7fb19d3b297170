"""The performances that outputs are: tokens of the house model, to be heard again.

Revision ID: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_immutable

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; outputs of before have no row and are performed anew, as before."""
    op.create_table(
        "output_performance",
        sa.Column("output_id", sa.String(16), sa.ForeignKey("output.output_id"), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    make_immutable(op, "output_performance", ["output_id"])


def downgrade() -> None:
    """There is none: a record is not thrown away by a migration."""
    raise RuntimeError("revision 0012 cannot be undone")
