"""Delay failed logins, per account and address; stored, so a restart keeps it.

After a few free attempts each further failure doubles the time until the next attempt is looked at.
An attempt is charged *before* the password is checked and paid back when it was right, so that many
attempts at the same moment cannot all pass while the counter still stands low.

>>> [delay_s(failures, ACCOUNT) for failures in (5, 6, 7, 30)]
[0.0, 2.0, 4.0, 900.0]
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, insert, select

from studio.core.db.tables.accounts import login_throttle
from studio.core.errors import SignInError
from studio.provenance.ledger.entry import INSTANT

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, RowMapping

    from studio.core.db.database import Database

__all__ = ["ACCOUNT", "ADDRESS", "Limit", "Throttle", "delay_s", "forget_failures", "network_of"]


@dataclass(frozen=True, slots=True)
class Limit:
    """How failures of one scope are slowed down."""

    scope: str
    free: int  # failures without a delay
    longest_s: float


ACCOUNT = Limit("account", free=5, longest_s=900.0)
ADDRESS = Limit("address", free=20, longest_s=900.0)  # a whole office may share one

_FORGET = timedelta(hours=24)  # without a failure for so long, a counter starts anew


def delay_s(failures: int, limit: Limit) -> float:
    """Seconds from the latest of so many failures until the next attempt is looked at."""
    over = failures - limit.free
    return 0.0 if over <= 0 else min(limit.longest_s, 2.0 ** min(over, 30))


def network_of(address: str) -> str:
    """What counts as one address: an IPv6 host has a whole /64 to choose from.

    >>> network_of("2001:db8:1:2:3:4:5:6"), network_of("192.0.2.7"), network_of("testclient")
    ('2001:db8:1:2::/64', '192.0.2.7', 'testclient')
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class Throttle:
    """Counts failures in the database."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def charge(self, name: str, address: str) -> None:
        """Count an attempt as failed. Raises :class:`SignInError` where one has to wait first."""
        now = self._clock()
        with self._database.writing() as connection:
            connection.execute(
                delete(login_throttle).where(
                    login_throttle.c.failed_at < _text(now - _FORGET),
                    login_throttle.c.blocked_until < _text(now),
                )
            )
            rows = [
                (limit, subject, _row(connection, limit, subject))
                for limit, subject in _subjects(name, address)
            ]
            waits = [_wait_s(row, now) for _, _, row in rows if row is not None]
            if waits and max(waits) > 0:
                raise SignInError(
                    f"too many attempts; please wait {_in_words(max(waits))}",
                    retry_after_s=max(waits),
                )
            for limit, subject, row in rows:
                _set(connection, limit, subject, 1 + (0 if row is None else row["failures"]), now)

    def pay_back(self, name: str, address: str) -> None:
        """The attempt just charged was right: the account starts anew, the address loses one."""
        (account, by_name), (limit, by_address) = _subjects(name, address)
        with self._database.writing() as connection:
            connection.execute(delete(login_throttle).where(_key(account, by_name)))
            row = _row(connection, limit, by_address)
            if row is not None:
                _set(connection, limit, by_address, row["failures"] - 1, self._clock())


def forget_failures(connection: Connection, name: str) -> None:
    """Forget the failures under an account's name, within the caller's transaction."""
    connection.execute(delete(login_throttle).where(_key(ACCOUNT, _digest(name.casefold()))))


def _subjects(name: str, address: str) -> Iterable[tuple[Limit, str]]:
    return (
        (ACCOUNT, _digest(name.casefold())),
        (ADDRESS, _digest(network_of(address))),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _key(limit: Limit, subject: str) -> ColumnElement[bool]:
    return and_(login_throttle.c.scope == limit.scope, login_throttle.c.subject == subject)


def _row(connection: Connection, limit: Limit, subject: str) -> RowMapping | None:
    query = select(login_throttle).where(_key(limit, subject))
    return connection.execute(query).mappings().one_or_none()


def _set(connection: Connection, limit: Limit, subject: str, failures: int, now: datetime) -> None:
    connection.execute(delete(login_throttle).where(_key(limit, subject)))
    if failures > 0:
        connection.execute(
            insert(login_throttle).values(
                scope=limit.scope,
                subject=subject,
                failures=failures,
                failed_at=_text(now),
                blocked_until=_text(now + timedelta(seconds=delay_s(failures, limit))),
            )
        )


def _wait_s(row: RowMapping, now: datetime) -> float:
    until = datetime.strptime(row["blocked_until"], INSTANT).replace(tzinfo=UTC)
    return (until - now).total_seconds()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime(INSTANT)


def _in_words(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{math.ceil(whole / 60)} minutes"
