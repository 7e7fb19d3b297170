"""Sessions: random tokens, stored as hashes, that expire.

A ``page`` session lives in the browser's cookie and ends after some hours, or when nobody used it
for a while; a ``token`` session serves the REST layer and the command line and lives for days. The
database knows the SHA-256 of a token only: who reads it cannot sign in with what he finds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from sqlalchemy import delete, insert, select, update

from studio.accounts.permissions import Actor, Role
from studio.core.db.tables.accounts import account, account_session
from studio.core.errors import LedgerError
from studio.provenance.ledger.entry import INSTANT

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.core.config import AccountsConfig
    from studio.core.db.database import Database

__all__ = ["Session", "SessionKind", "Sessions", "end_all"]

SessionKind = Literal["page", "token"]

_NOTE_EVERY = timedelta(minutes=1)  # use is written down so often, not with every request


@dataclass(frozen=True, slots=True)
class Session:
    """What signing in gives."""

    token: str
    actor: Actor
    expires_at: datetime  # UTC


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(
        self, database: Database, config: AccountsConfig, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._clock = clock
        self._life = {
            "page": timedelta(hours=config.session_hours),
            "token": timedelta(days=config.token_days),
        }
        self._idle = timedelta(minutes=config.idle_minutes)

    def open(self, actor: Actor, kind: SessionKind) -> Session:
        """A new session; ended ones are cleared away on the occasion."""
        token, now = secrets.token_urlsafe(32), self._clock()
        expires_at = now + self._life[kind]
        with self._database.writing() as connection:
            connection.execute(
                delete(account_session).where(account_session.c.expires_at < now.strftime(INSTANT))
            )
            connection.execute(
                insert(account_session).values(
                    token_hash=_hash(token),
                    account_id=actor.account_id,
                    kind=kind,
                    created_at=now.strftime(INSTANT),
                    used_at=now.strftime(INSTANT),
                    expires_at=expires_at.strftime(INSTANT),
                )
            )
            connection.execute(
                update(account)
                .where(account.c.account_id == actor.account_id)
                .values(signed_in_at=now.strftime(INSTANT))
            )
        return Session(token, actor, expires_at)

    def actor_of(self, token: str, *, kind: SessionKind | None = None) -> Actor | None:
        """Who holds the token, or None: unknown, ended, of another kind, or account disabled."""
        query = (
            select(account_session, account.c.name, account.c.role, account.c.disabled)
            .join(account, account.c.account_id == account_session.c.account_id)
            .where(account_session.c.token_hash == _hash(token))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        now = self._clock()
        if row is None or row["disabled"] or row["expires_at"] <= now.strftime(INSTANT):
            return None
        if kind is not None and row["kind"] != kind:
            return None
        if row["kind"] == "page" and row["used_at"] <= (now - self._idle).strftime(INSTANT):
            return None
        if not self._database.read_only and row["used_at"] <= (now - _NOTE_EVERY).strftime(INSTANT):
            with self._database.writing() as connection:
                connection.execute(
                    update(account_session)
                    .where(account_session.c.token_hash == row["token_hash"])
                    .values(used_at=now.strftime(INSTANT))
                )
        try:
            return Actor(row["account_id"], row["name"], Role(row["role"]))
        except ValueError as exc:
            raise LedgerError(
                f"the account {row['account_id']} is damaged; run `studio ledger verify`"
            ) from exc

    def end(self, token: str) -> None:
        """Sign out; a token that is not known is no error."""
        with self._database.writing() as connection:
            connection.execute(
                delete(account_session).where(account_session.c.token_hash == _hash(token))
            )


def end_all(connection: Connection, account_id: str) -> None:
    """Sign an account out everywhere, within the caller's transaction."""
    connection.execute(delete(account_session).where(account_session.c.account_id == account_id))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
