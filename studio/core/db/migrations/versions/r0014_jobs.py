"""Work that several processes share: requests for music, workers, limits.

Revision ID: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Their rows come and go."""
    op.create_table(
        "job",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("job_id", sa.String(32), nullable=False, unique=True),
        sa.Column("account_id", sa.String(32)),
        sa.Column("payer", sa.String(80), nullable=False),
        sa.Column("face", sa.String(8), nullable=False),
        sa.Column("label", sa.String(300), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("takes", sa.Integer, nullable=False),
        sa.Column("body", sa.Text),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("stop", sa.Boolean, nullable=False),
        sa.Column("claim", sa.String(32)),
        sa.Column("leased_until", sa.Float),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16)),
        sa.Column("fraction", sa.Float, nullable=False),
        sa.Column("text", sa.String(200), nullable=False),
        sa.Column("error", sa.String(48)),
        sa.Column("error_text", sa.String(1000)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
    )
    for column in ("account_id", "payer", "state"):
        op.create_index(f"ix_job_{column}", "job", [column])
    op.create_table(
        "job_output",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("take", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("output_id", sa.String(16), nullable=False),
    )
    op.create_table(
        "job_worker",
        sa.Column("worker_id", sa.String(32), primary_key=True),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_table(
        "rate_bucket",
        sa.Column("scope", sa.String(32), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("left", sa.Float, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("wait_s", sa.Float, nullable=False),
    )
    op.create_table(
        "shared_place",
        sa.Column("place_id", sa.String(32), primary_key=True),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_index("ix_shared_place_subject", "shared_place", ["subject"])


def downgrade() -> None:
    """There is none: migrations only go forward."""
    raise RuntimeError("revision 0014 cannot be undone")
