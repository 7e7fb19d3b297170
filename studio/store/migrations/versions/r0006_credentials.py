"""Tables of credentials.

Revision ID: 0006
"""

from __future__ import annotations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0006 cannot be undone")
