"""Accounts: add, list, change, sign in, and own outputs.

Every change is an entry of the ledger in the same transaction. The entry names the account by its
random id; the name stands in the database alone.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from studio.accounts.audit import name_kept, password_digest
from studio.accounts.login_throttle import Throttle, forget_failures
from studio.accounts.passwords import Passwords, refusal
from studio.accounts.permissions import Actor, Permission, Role
from studio.accounts.sessions import Session, SessionKind, Sessions, end_all
from studio.core.db.tables.accounts import account, output_owner
from studio.core.errors import AccessDeniedError, LedgerError, SignInError, UsageError
from studio.provenance.ledger.entry import INSTANT
from studio.provenance.ledger.private_fields import Personal
from studio.provenance.shelf import Shelf

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from studio.accounts.security_log import Outcome, SecurityLog
    from studio.core.config import AccountsConfig
    from studio.core.db.database import Database
    from studio.provenance.ledger.log import Ledger

__all__ = ["Account", "Accounts"]

_TYPED = ("title", "note")  # of a release, what its maker typed
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")  # ASCII: two names never look alike


@dataclass(frozen=True, slots=True)
class Account:
    """One account, without its password."""

    account_id: str
    name: str
    role: Role
    disabled: bool
    created_at: datetime  # UTC
    signed_in_at: datetime | None  # the last time; None: never

    def to_json(self) -> dict[str, Any]:
        return {
            "account_id": self.account_id,
            "name": self.name,
            "role": str(self.role),
            "disabled": self.disabled,
            "created_at": self.created_at.isoformat(),
            "signed_in_at": None if self.signed_in_at is None else self.signed_in_at.isoformat(),
        }


class Accounts:
    """All accounts of one studio. ``by`` in a change is the account id of who makes it."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        config: AccountsConfig,
        *,
        security_log: SecurityLog | None = None,
        passwords: Passwords | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._ledger = ledger
        self._database = database
        self._clock = clock or (lambda: datetime.now(UTC))
        self._passwords = passwords or Passwords()
        self._log = security_log
        self._throttle = Throttle(database, self._clock)
        self._sessions = Sessions(database, config, self._clock)
        self._exist = False

    # -- looking up ---------------------------------------------------------------------------

    def exist(self) -> bool:
        """Whether there is any account, so that signing in is a must. Never becomes false again."""
        if not self._exist:
            with self._database.reading() as connection:
                self._exist = bool(connection.scalar(select(func.count()).select_from(account)))
        return self._exist

    def all(self) -> list[Account]:
        """By name; deleted ones are no accounts any more."""
        query = select(account).where(account.c.deleted_at.is_(None)).order_by(account.c.name)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [_account(row) for row in rows]

    def named(self, name: str) -> Account:
        """Raises :class:`UsageError` where there is none."""
        with self._database.reading() as connection:
            return _account(_row(connection, name))

    # -- changing -----------------------------------------------------------------------------

    def add(self, name: str, role: Role, password: str, *, by: str | None) -> Account:
        """Add an account; the first one must be an administrator's. Raises :class:`UsageError`."""
        name = _checked_name(name)
        _check_password(password, name)
        account_id, hashed = secrets.token_hex(16), self._passwords.hash(password)
        now = self._clock()

        def write(connection: Connection) -> None:
            if connection.scalar(select(account.c.name).where(account.c.name == name)) is not None:
                raise UsageError(f"there is an account {name!r} already")
            first = not connection.scalar(select(func.count()).select_from(account))
            if first and role is not Role.ADMINISTRATOR:
                raise UsageError(
                    "the first account must be an administrator's: with it, signing in becomes a "
                    "must, and nobody else could add further accounts"
                )
            connection.execute(
                insert(account).values(
                    account_id=account_id,
                    name=name,
                    role=str(role),
                    password_hash=hashed,
                    disabled=False,
                    created_at=now.strftime(INSTANT),
                    signed_in_at=None,
                )
            )

        self._record(
            "added",
            account_id,
            by,
            write,
            role=str(role),
            name=Personal(name),
            password_sha256=password_digest(hashed),
        )
        return self.named(name)

    def set_password(self, name: str, password: str, *, by: str | None) -> None:
        """Replace the password and sign the account out everywhere. Raises :class:`UsageError`."""
        found = self.named(name)
        _check_password(password, found.name)
        hashed = self._passwords.hash(password)

        def write(connection: Connection) -> None:
            _update(connection, found, password_hash=hashed)
            end_all(connection, found.account_id)

        digest = password_digest(hashed)
        self._record("password", found.account_id, by, write, password_sha256=digest)

    def set_role(self, name: str, role: Role, *, by: str | None) -> None:
        """Give another role, from the next sign-in on. Raises :class:`UsageError`."""
        found = self.named(name)

        def write(connection: Connection) -> None:
            if role is not Role.ADMINISTRATOR:
                _keep_an_administrator(connection, found)
            _update(connection, found, role=str(role))
            end_all(connection, found.account_id)

        self._record("role", found.account_id, by, write, role=str(role))

    def disable(self, name: str, *, by: str | None) -> None:
        """Close an account at once; what it made stays. Raises :class:`UsageError`."""
        found = self.named(name)

        def write(connection: Connection) -> None:
            _keep_an_administrator(connection, found)
            _update(connection, found, disabled=True)
            end_all(connection, found.account_id)

        self._record("disabled", found.account_id, by, write)

    def enable(self, name: str, *, by: str | None) -> None:
        """Open a disabled account again. Raises :class:`UsageError`."""
        found = self.named(name)
        self._record(
            "enabled",
            found.account_id,
            by,
            lambda connection: _update(connection, found, disabled=False),
        )

    def delete(self, name: str, *, by: str | None) -> int:
        """Delete a disabled account permanently; return how many typed texts were erased.

        Name, password, sessions, the addresses it came from, and the titles and notes that were
        typed for its outputs are erased. Its random id stays, so that its outputs, their owner and
        their ledger entries stay as they are. Raises :class:`UsageError`.
        """
        found = self.named(name)
        if not found.disabled:
            raise UsageError(f"disable {found.name!r} first; only a disabled account is deleted")
        made = self.outputs_of(found.account_id)
        typed = [*self._ledger.kept(made, _TYPED), *Shelf(self._ledger).kept_titles(made)]
        erased = [*typed, *name_kept(self._ledger, found.account_id)]
        if erased:
            self._ledger.erase_all(erased, why="account-deleted")
        now = self._clock().strftime(INSTANT)

        def write(connection: Connection) -> None:
            row = _row(connection, found.name)
            if not row["disabled"]:
                raise UsageError(f"{found.name!r} was enabled meanwhile")
            _update(
                connection,
                found,
                name=f"deleted {found.account_id}",  # which no account can be called
                password_hash="",
                signed_in_at=None,
                deleted_at=now,
            )
            end_all(connection, found.account_id)
            forget_failures(connection, found.name)
            if self._log is not None:
                self._log.forget_origins(connection, found.account_id)

        self._record("deleted", found.account_id, by, write)
        for table in ("account", "account_session", "login_throttle", "security_origin"):
            self._database.scrub(table)
        return len(typed)

    def _record(
        self,
        change: str,
        account_id: str,
        by: str | None,
        write: Callable[[Connection], None],
        **more: str | Personal,
    ) -> None:
        body = {"change": change, "account": account_id, "by": by, **more}
        self._ledger.append("account", body, also=write)

    # -- signing in ---------------------------------------------------------------------------

    def sign_in(
        self, name: str, password: str, *, address: str, kind: SessionKind = "token"
    ) -> Session:
        """Open a session. Raises :class:`SignInError`; ``address`` is where the attempt is from."""
        actor = self._authenticate(name, password, address, "sign-in")
        session = self._sessions.open(actor, kind)
        self._note("sign-in", "ok", actor.account_id, address, str(kind))
        return session

    def change_password(self, actor: Actor, old: str, new: str, *, address: str) -> None:
        """Replace one's own password, knowing the old one.

        Raises :class:`SignInError` for a wrong old one, :class:`UsageError` for a weak new one.
        """
        self._authenticate(actor.name, old, address, "password-check")
        self.set_password(actor.name, new, by=actor.account_id)

    def actor_of(self, token: str, *, kind: SessionKind | None = None) -> Actor | None:
        """Who holds the token of a live session, or None."""
        return self._sessions.actor_of(token, kind=kind)

    def sign_out(self, token: str) -> None:
        actor = self._sessions.actor_of(token)
        self._sessions.end(token)
        if actor is not None:
            self._note("sign-out", "ok", actor.account_id, None, "")

    def _authenticate(self, name: str, password: str, address: str, event: str) -> Actor:
        """Who has this name and password; ``event`` is what a failure is called in the log."""
        name = name.strip().casefold()
        with self._database.reading() as connection:
            query = select(account).where(account.c.name == name)
            row = connection.execute(query).mappings().one_or_none()
        # What was typed as a name is not written down: people type passwords there.
        known = None if row is None else str(row["account_id"])
        try:
            self._throttle.charge(name, address)
        except SignInError:
            self._note(event, "refused", known, address, "too many attempts")
            raise
        stored = None if row is None or row["disabled"] else str(row["password_hash"])
        if not self._passwords.matches(password, stored) or row is None:
            why = "unknown name" if row is None else "wrong password"
            if row is not None and row["disabled"]:
                why = "disabled account"
            self._note(event, "refused", known, address, why)
            raise SignInError("the name or the password is wrong")
        self._throttle.pay_back(name, address)
        if self._passwords.is_outdated(row["password_hash"]):
            self._rehash(_account(row), self._passwords.hash(password))
        return Actor(row["account_id"], row["name"], Role(row["role"]))

    def _rehash(self, found: Account, hashed: str) -> None:
        """Keep the same password under a newer hash."""
        self._record(
            "rehashed",
            found.account_id,
            found.account_id,
            lambda connection: _update(connection, found, password_hash=hashed),
            password_sha256=password_digest(hashed),
        )

    def _note(
        self, event: str, outcome: Outcome, account_id: str | None, address: str | None, detail: str
    ) -> None:
        if self._log is not None:
            self._log.record(
                event, outcome=outcome, account_id=account_id, address=address, detail=detail
            )

    # -- what an account may still do -----------------------------------------------------------

    def may(self, account_id: str, permission: Permission) -> bool:
        """Whether the account is open and its role, as it is now, has the permission."""
        with self._database.reading() as connection:
            return _may(connection, account_id, permission)

    def require(self, connection: Connection, account_id: str, permission: Permission) -> None:
        """As :meth:`may`, within the caller's transaction. Raises :class:`AccessDeniedError`."""
        if not _may(connection, account_id, permission):
            raise AccessDeniedError("the account may not do this any more")

    # -- whose an output is -------------------------------------------------------------------

    def own(self, output_id: str, account_id: str) -> None:
        """Note the owner of an output that is about to be made; it never changes."""
        with self._database.writing() as connection:
            connection.execute(
                insert(output_owner).values(
                    output_id=output_id,
                    account_id=account_id,
                    reserved_at=self._clock().strftime(INSTANT),
                )
            )

    def owner_of(self, output_id: str) -> str | None:
        """The account id, or None: made before there were accounts, or not made here."""
        query = select(output_owner.c.account_id).where(output_owner.c.output_id == output_id)
        with self._database.reading() as connection:
            return connection.scalar(query)

    def outputs_of(self, account_id: str) -> list[str]:
        """Ids reserved for the account, newest first; not each was released in the end."""
        query = (
            select(output_owner.c.output_id)
            .where(output_owner.c.account_id == account_id)
            .order_by(output_owner.c.reserved_at.desc(), output_owner.c.output_id)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))


def _may(connection: Connection, account_id: str, permission: Permission) -> bool:
    query = select(account.c.role, account.c.disabled).where(account.c.account_id == account_id)
    row = connection.execute(query).one_or_none()
    return row is not None and not row.disabled and Role(row.role).may(permission)


def _checked_name(name: str) -> str:
    name = name.strip().casefold()
    if not _NAME.fullmatch(name):
        raise UsageError(
            "an account name is 1 to 64 of a-z, 0-9, dot, hyphen and underscore, and begins and "
            "ends with a letter or digit"
        )
    return name


def _check_password(password: str, name: str) -> None:
    why = refusal(password, name=name)
    if why is not None:
        raise UsageError(why)


def _row(connection: Connection, name: str) -> RowMapping:
    query = select(account).where(
        account.c.name == name.strip().casefold(), account.c.deleted_at.is_(None)
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise UsageError(f"there is no account {name!r}; `studio account list` lists them")
    return row


def _account(row: RowMapping) -> Account:
    signed_in_at = row["signed_in_at"]
    try:
        return Account(
            account_id=row["account_id"],
            name=row["name"],
            role=Role(row["role"]),
            disabled=bool(row["disabled"]),
            created_at=_instant(row["created_at"]),
            signed_in_at=None if signed_in_at is None else _instant(signed_in_at),
        )
    except ValueError as exc:
        raise LedgerError(
            f"the account {row['account_id']} is damaged; run `studio ledger verify`"
        ) from exc


def _instant(text: str) -> datetime:
    return datetime.strptime(text, INSTANT).replace(tzinfo=UTC)


def _update(connection: Connection, found: Account, **values: Any) -> None:
    connection.execute(
        update(account).where(account.c.account_id == found.account_id).values(**values)
    )


def _keep_an_administrator(connection: Connection, found: Account) -> None:
    """Refuse to take the last administrator away: nobody could sign in and undo it."""
    others = connection.scalar(
        select(func.count())
        .select_from(account)
        .where(
            account.c.role == str(Role.ADMINISTRATOR),
            account.c.disabled.is_(False),
            account.c.account_id != found.account_id,
        )
    )
    if not others:
        raise UsageError(f"{found.name!r} is the last administrator")
