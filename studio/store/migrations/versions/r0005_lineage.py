"""Tables of lineage.

Revision ID: 0005
"""

from __future__ import annotations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """There is none: what the ledger refers to is not thrown away by a migration."""
    raise RuntimeError("revision 0005 cannot be undone")
