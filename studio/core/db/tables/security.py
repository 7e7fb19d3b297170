"""Tables of the security log; addresses are erasable apart from events.

Rows are never changed. They are deleted at the old end when there are too many or they are too old
(:mod:`studio.accounts.security_log`).
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, Table

from studio.core.db.tables.ledger import metadata

__all__ = ["security_event", "security_origin"]

security_event = Table(
    "security_event",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),  # rises; gaps where pruned
    Column("chain", String(8), nullable=False, index=True),  # "change" or "access"
    Column("at", String(27), nullable=False, index=True),  # RFC 3339 UTC, microseconds
    Column("event", String(32), nullable=False),
    Column("outcome", String(8), nullable=False),  # "ok" or "refused"
    Column("account_id", String(32), index=True),  # who; None: nobody is known, or no accounts
    Column("subject", String(128), nullable=False),  # what it is about: an id, never a name
    Column("detail", String(255), nullable=False),
    Column("origin_commitment", String(64), nullable=False),  # to where it came from
    Column("previous", LargeBinary(32), nullable=False),  # hash of the row before in the chain
    Column("hash", LargeBinary(32), nullable=False),
)

security_origin = Table(
    "security_origin",
    metadata,
    Column(
        "seq",
        Integer,
        ForeignKey("security_event.seq"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("salt", LargeBinary(32), nullable=False),
    Column("value", String(64), nullable=False, index=True),  # an address is personal data
)
