"""Music that workers let be heard while it is made.

Revision ID: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column. Rows come and go."""
    op.add_column(
        "job", sa.Column("preview", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "preview_piece",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("take", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("claim", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rate", sa.Integer, nullable=False),
        sa.Column("channels", sa.Integer, nullable=False),
        sa.Column("samples", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":  # samples do not compress, nor are they kept
        op.execute("ALTER TABLE preview_piece SET UNLOGGED")
        op.execute("ALTER TABLE preview_piece ALTER COLUMN samples SET STORAGE EXTERNAL")


def downgrade() -> None:
    """There is none: migrations only go forward."""
    raise RuntimeError("revision 0015 cannot be undone")
