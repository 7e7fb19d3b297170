"""Long examinations: known at every server, and after the one that examines has ended.

Revision ID: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. Its rows come and go."""
    op.create_table(
        "long_check",
        sa.Column("check_id", sa.String(32), primary_key=True),
        sa.Column("account_id", sa.String(32)),
        sa.Column("case_id", sa.String(64)),
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("stop", sa.Boolean, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_index("ix_long_check_case_id", "long_check", ["case_id"])


def downgrade() -> None:
    """There is none: migrations only go forward."""
    raise RuntimeError("revision 0017 cannot be undone")
