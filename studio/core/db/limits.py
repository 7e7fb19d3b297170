"""Limits that hold over every server of one database: requests, work at a time, bytes, sounds.

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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import case, delete, func, literal, select, text
from sqlalchemy.dialects import postgresql, sqlite

from studio.core.db.database import Database
from studio.core.db.tables.jobs import asked_sound, rate_bucket, shared_place, upload_size

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SharedBuckets", "SharedBytes", "SharedPlaces", "SharedSounds", "SoundTurn"]

_ODDS = 500  # of so many calls one clears away what is full or over
_HOUR_S = 3600.0
_HELD_S = 3 * _HOUR_S  # longest that a file waits and is examined; else its server was killed
_SOUNDS_LOCK = 0x53_4F_55_4E_44  # "SOUND": one question at a time is compared and remembered


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
            _alone(self._database, connection, self._scope, subject)
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


class SharedBytes:
    """Bytes that each caller may upload, over all servers.

    Args:
        database: which all servers share.
        scope: names the limit, 32 characters at most.
        held: bytes of one caller on disk at a time.
        hourly: bytes of one caller within an hour, deleted since or not.
    """

    def __init__(self, database: Database, scope: str, *, held: int, hourly: int) -> None:
        self._database = database
        self._scope = scope
        self._held = held
        self._hourly = hourly

    def charge(self, caller: str, upload_id: str, more: int) -> tuple[str, float] | None:
        """Count more bytes of an upload; None, or which limit they would pass and the wait (s).

        The limit is ``held`` or ``hourly``; nothing is counted then. Raises :class:`LedgerError`.
        """
        subject = _digest(caller)
        mine = (upload_size.c.scope == self._scope) & (upload_size.c.subject == subject)
        size = func.coalesce(func.sum(upload_size.c.size), 0)
        with self._database.sharing(durable=False) as connection:
            _alone(self._database, connection, self._scope, subject)
            now = self._database.now_s(connection)
            lapsed = upload_size.c.at < now - _HELD_S
            everybody = secrets.randbelow(_ODDS) == 0
            connection.execute(delete(upload_size).where(lapsed if everybody else mine & lapsed))
            held = connection.scalar(select(size).where(mine, upload_size.c.held))
            if int(held or 0) + more > self._held:
                return "held", 60.0
            lately = mine & (upload_size.c.at > now - _HOUR_S)
            spent, oldest = connection.execute(
                select(size, func.min(upload_size.c.at)).where(lately)
            ).one()
            if int(spent) + more > self._hourly:
                return "hourly", _HOUR_S if oldest is None else oldest + _HOUR_S - now
            this = upload_size.c.upload_id == upload_id
            grown = connection.execute(
                upload_size.update().where(this).values(size=upload_size.c.size + more, at=now)
            )
            if not grown.rowcount:
                connection.execute(
                    upload_size.insert().values(
                        upload_id=upload_id,
                        scope=self._scope,
                        subject=subject,
                        size=more,
                        held=True,
                        at=now,
                    )
                )
        return None

    def let_go(self, upload_id: str) -> None:
        """The file of an upload is deleted; its bytes count within the hour all the same."""
        with self._database.sharing(durable=False) as connection:
            connection.execute(
                upload_size.update().where(upload_size.c.upload_id == upload_id).values(held=False)
            )


class SoundTurn:
    """One question's turn: nobody else's is compared or remembered until it ends."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.now = now
        self._connection = connection

    def since(self, number: int) -> list[tuple[int, float, bytes]]:
        """(number, when, sketch) of the last hour's questions after ``number``, in order."""
        query = (
            select(asked_sound)
            .where(asked_sound.c.number > number, asked_sound.c.at > self.now - _HOUR_S)
            .order_by(asked_sound.c.number)
        )
        return [
            (int(row.number), float(row.at), bytes(row.sketch))
            for row in self._connection.execute(query)
        ]

    def add(self, sketch: bytes) -> int:
        """Remember a question; its number."""
        statement = asked_sound.insert().values(sketch=sketch, at=self.now)
        return int(self._connection.scalar(statement.returning(asked_sound.c.number)) or 0)


class SharedSounds:
    """Sketches of the sounds that were asked about within the hour, at whatever server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def turn(self) -> Iterator[SoundTurn]:
        """The next question's turn. Raises :class:`LedgerError`."""
        with self._database.sharing(durable=False) as connection:
            if self._database.dialect == "postgresql":  # so numbers are in the order of commits
                connection.execute(text("SELECT pg_advisory_xact_lock(:l)"), {"l": _SOUNDS_LOCK})
            now = self._database.now_s(connection)
            connection.execute(delete(asked_sound).where(asked_sound.c.at < now - _HOUR_S))
            yield SoundTurn(connection, now)


def _alone(database: Database, connection: Connection, scope: str, subject: str) -> None:
    """Two servers do not count for one caller at a time, until the transaction ends."""
    if database.dialect == "postgresql":
        lock = int.from_bytes(hashlib.sha256(f"{scope} {subject}".encode()).digest()[:7])
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _digest(caller: str) -> str:
    return hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()
