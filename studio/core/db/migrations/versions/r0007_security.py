"""The log of security events, and the date on which an account was deleted.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_immutable

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; their rows can be deleted, which keeps them bounded, and never changed."""
    op.create_table(
        "security_event",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("chain", sa.String(8), nullable=False, index=True),
        sa.Column("at", sa.String(27), nullable=False, index=True),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("account_id", sa.String(32), index=True),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("detail", sa.String(255), nullable=False),
        sa.Column("origin_commitment", sa.String(64), nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "security_origin",
        sa.Column(
            "seq",
            sa.Integer,
            sa.ForeignKey("security_event.seq"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("salt", sa.LargeBinary(32), nullable=False),
        sa.Column("value", sa.String(64), nullable=False, index=True),
    )
    make_immutable(op, "security_event", ["seq"])
    make_immutable(op, "security_origin", ["seq"])
    op.add_column("account", sa.Column("deleted_at", sa.String(27)))


def downgrade() -> None:
    """There is none: a log is not thrown away by a migration."""
    raise RuntimeError("revision 0007 cannot be undone")
