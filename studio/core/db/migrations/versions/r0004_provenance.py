"""Openings of commitments, which can be erased, and the record of the site's keys.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from studio.core.db.append_only import make_append_only, make_immutable

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables; openings can be deleted but never changed."""
    op.create_table(
        "opening",
        sa.Column("entry_idx", sa.Integer, sa.ForeignKey("ledger_entry.idx"), primary_key=True),
        sa.Column("field", sa.String(128), primary_key=True),
        sa.Column("salt", sa.LargeBinary(32), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "key_record",
        sa.Column("purpose", sa.String(16), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("public", sa.String(255), nullable=False),
        sa.Column("recorded_at", sa.String(27), nullable=False),
    )
    make_immutable(op, "opening", ["entry_idx", "field"])
    make_append_only(op, "key_record", ["purpose", "number"])
    # A database of the first revision could replace an output by the unique key of its entry.
    make_append_only(op, "output", ["output_id"], ["seal_id"], ["entry_idx"])


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0004 cannot be undone")
