"""Limits that hold over every server of one database: requests a minute, work at a time.

Each server asks the database before it begins, so that two servers do not grant twice what one may.
What a server held when it ended in any way is given back by time.

>>> import tempfile
>>> from pathlib import Path
>>> database = Database.open(Path(tempfile.mkdtemp()) / "limits.db")
>>> one, other = (SharedBuckets(database, "rest", per_minute=2) for _ in range(2))
>>> [one.take("ada") == 0, other.take("ada") == 0, one.take("ada") > 29, other.take("vera") == 0]
[True, True, True, True]
>>> places = SharedPlaces(database, "checks", most=1, hold_s=60)
>>> first = places.take("ada")
>>> first is None, places.take("ada") is None
(False, True)
>>> database.close()
"""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import case, delete, func, literal, select, text
from sqlalchemy.dialects import postgresql, sqlite

from studio.core.db.database import Database
from studio.core.db.tables.jobs import rate_bucket, shared_place

__all__ = ["SharedBuckets", "SharedPlaces"]

_ODDS = 500  # of so many calls one clears away what is full or over


class SharedBuckets:
    """One bucket of ``per_minute`` for each caller, over all servers; as ``RateLimiter`` for one.

    Args:
        database: which all servers share.
        scope: names the limit, 32 characters at most.
        per_minute: how many units a caller may take a minute, and at once.
    """

    def __init__(self, database: Database, scope: str, per_minute: float) -> None:
        self._database = database
        self._scope = scope
        self._size = float(per_minute)
        self._rate = per_minute / 60.0  # units a second

    def take(self, caller: str, units: float = 1.0) -> float:
        """Take units; returns 0, or how many seconds the caller has to wait for them.

        Raises :class:`LedgerError` where the database cannot be asked.
        """
        units = min(units, self._size)
        insert = sqlite.insert if self._database.dialect == "sqlite" else postgresql.insert
        with self._database.sharing(durable=False) as connection:
            now = self._database.now_s(connection)
            elapsed = func.greatest if self._database.dialect == "postgresql" else func.max
            least = func.least if self._database.dialect == "postgresql" else func.min
            filled = least(
                literal(self._size),
                rate_bucket.c.left + elapsed(literal(0.0), now - rate_bucket.c.at) * self._rate,
            )
            granted = filled >= units
            statement = (
                insert(rate_bucket)
                .values(
                    scope=self._scope,
                    subject=_digest(caller),
                    left=self._size - units,
                    at=now,
                    wait_s=0.0,
                )
                .on_conflict_do_update(
                    index_elements=["scope", "subject"],
                    set_={
                        "left": case((granted, filled - units), else_=filled),
                        "at": now,
                        "wait_s": case((granted, 0.0), else_=(units - filled) / self._rate),
                    },
                )
                .returning(rate_bucket.c.wait_s)
            )
            wait_s = float(connection.scalar(statement) or 0.0)
            if secrets.randbelow(_ODDS) == 0:
                full_s = self._size / self._rate
                connection.execute(
                    delete(rate_bucket).where(
                        rate_bucket.c.scope == self._scope, rate_bucket.c.at < now - full_s
                    )
                )
        return wait_s


class SharedPlaces:
    """At most ``most`` places for each caller at a time, over all servers.

    Args:
        database: which all servers share.
        scope: names the limit, 32 characters at most.
        most: places of one caller.
        hold_s: longest that a place is held; that of a server which was killed is free then.
    """

    def __init__(self, database: Database, scope: str, most: int, hold_s: float) -> None:
        self._database = database
        self._scope = scope
        self._most = most
        self._hold_s = hold_s

    def take(self, caller: str) -> str | None:
        """A place, to be given back; None where all are taken."""
        subject, place = _digest(caller), secrets.token_hex(16)
        with self._database.sharing(durable=False) as connection:
            if self._database.dialect == "postgresql":  # two servers must not count at once
                lock = int.from_bytes(
                    hashlib.sha256(f"{self._scope} {subject}".encode()).digest()[:7]
                )
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            now = self._database.now_s(connection)
            connection.execute(delete(shared_place).where(shared_place.c.until < now))
            taken = connection.scalar(
                select(func.count()).where(
                    shared_place.c.scope == self._scope, shared_place.c.subject == subject
                )
            )
            if int(taken or 0) >= self._most:
                return None
            connection.execute(
                shared_place.insert().values(
                    place_id=place, scope=self._scope, subject=subject, until=now + self._hold_s
                )
            )
        return place

    def give_back(self, place: str) -> None:
        """End a place."""
        with self._database.sharing(durable=False) as connection:
            connection.execute(delete(shared_place).where(shared_place.c.place_id == place))


def _digest(caller: str) -> str:
    return hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()
