"""Signed documents of consent: holders, keys, tags, grants and revocations, as they were signed.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_append_only

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the triggers that refuse UPDATE and DELETE."""
    op.create_table(
        "consent_document",
        sa.Column(
            "entry_idx",
            sa.Integer,
            sa.ForeignKey("ledger_entry.idx"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("document_id", sa.String(32), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("admission", sa.String(32), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("signatures", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("holder", "serial", name="consent_document_serial"),
    )
    make_append_only(
        op,
        "consent_document",
        ["entry_idx"],
        ["digest"],
        ["document_id"],
        ["holder", "serial"],
    )


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0002 cannot be undone")
