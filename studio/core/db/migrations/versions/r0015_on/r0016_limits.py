"""Limits over all servers: bytes uploaded, and sounds that the public asked about.

Revision ID: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Their rows come and go."""
    op.create_table(
        "upload_size",
        sa.Column("upload_id", sa.String(32), primary_key=True),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("ix_upload_size_subject", "upload_size", ["subject"])
    op.create_table(
        "asked_sound",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("sketch", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("ix_asked_sound_at", "asked_sound", ["at"])


def downgrade() -> None:
    """There is none: migrations only go forward."""
    raise RuntimeError("revision 0016 cannot be undone")
