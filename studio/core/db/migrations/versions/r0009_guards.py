"""The guards of the first tables, made anew: every database has the same ones.

Revision ID: 0009
"""

from __future__ import annotations

from alembic import op

from studio.core.db.append_only import make_append_only

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their triggers read otherwise in databases of the first revision; the audit compares them."""
    make_append_only(op, "ledger_entry", ["idx"])
    make_append_only(op, "ledger_node", ["level", "idx"])
    make_append_only(op, "seal_reservation", ["seal_id"])


def downgrade() -> None:
    """There is none: triggers are not taken away by a migration."""
    raise RuntimeError("revision 0009 cannot be undone")
