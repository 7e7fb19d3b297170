"""Tables of accounts, sessions, failed logins and owners of outputs.

Only ownership is append-only. The others change by their nature; what changed in an account is an
entry of the ledger, which names the account by its random id and never by its name.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["account", "account_session", "login_throttle", "output_owner"]

account = Table(
    "account",
    metadata,
    Column("account_id", String(32), primary_key=True),  # random, hexadecimal
    Column("name", String(64), nullable=False, unique=True),  # lower case
    Column("role", String(16), nullable=False),  # a studio.accounts.permissions.Role
    Column("password_hash", String(255), nullable=False),  # argon2id, PHC string
    Column("disabled", Boolean, nullable=False),
    Column("created_at", String(27), nullable=False),  # RFC 3339 UTC, microseconds
    Column("signed_in_at", String(27)),  # the last time; None: never
    Column("deleted_at", String(27)),  # from then on only the id is kept
)

account_session = Table(
    "account_session",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # SHA-256 of the token, hexadecimal
    Column(
        "account_id",
        String(32),
        ForeignKey("account.account_id"),
        nullable=False,
        index=True,
    ),
    Column("kind", String(8), nullable=False),  # "page" or "token"
    Column("created_at", String(27), nullable=False),
    Column("used_at", String(27), nullable=False),  # to the minute
    Column("expires_at", String(27), nullable=False),
)
"""The token itself is with the one who signed in and nowhere else."""

login_throttle = Table(
    "login_throttle",
    metadata,
    Column("scope", String(8), primary_key=True),  # "account" or "address"
    Column("subject", String(64), primary_key=True),  # SHA-256 of the name or the address
    Column("failures", Integer, nullable=False),
    Column("failed_at", String(27), nullable=False),
    Column("blocked_until", String(27), nullable=False),
)
"""Hashed, because people type passwords where a name is asked for."""

output_owner = Table(
    "output_owner",
    metadata,
    Column("output_id", String(16), primary_key=True),
    Column("account_id", String(32), ForeignKey("account.account_id"), nullable=False, index=True),
    Column("reserved_at", String(27), nullable=False),
)
"""Written when the seal id is reserved, so that no output is ever released without its owner."""
