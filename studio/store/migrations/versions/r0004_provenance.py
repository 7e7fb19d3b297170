"""Tables of provenance.

Revision ID: 0004
"""

from __future__ import annotations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0004 cannot be undone")
