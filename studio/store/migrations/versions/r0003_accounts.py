"""Tables of accounts.

Revision ID: 0003
"""

from __future__ import annotations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0003 cannot be undone")
