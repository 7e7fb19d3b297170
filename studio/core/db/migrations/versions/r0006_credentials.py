"""The signed manifests of released files, append-only.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_append_only

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of manifests."""
    op.create_table(
        "manifest",
        sa.Column("output_id", sa.String(16), sa.ForeignKey("output.output_id"), primary_key=True),
        sa.Column("label", sa.String(128), nullable=False, unique=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    make_append_only(op, "manifest", ["output_id"], ["label"])


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0006 cannot be undone")
