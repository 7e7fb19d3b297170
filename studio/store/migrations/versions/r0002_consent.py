"""Tables of consent.

Revision ID: 0002
"""

from __future__ import annotations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0002 cannot be undone")
