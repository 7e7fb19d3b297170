"""What is known of long examinations at every server, and after the one that examines has ended.

The server that examines writes down how it stands; the others, and that server after a restart,
tell what was written last. One that is not written about any more was interrupted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from studio.core.db.tables.jobs import long_check

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import RowMapping

    from studio.core.db.database import Database

__all__ = ["CheckRecord", "CheckRecords"]

_KEPT_S = 24 * 3600.0  # an examination can be asked for so long
_LEASE_S = 30.0  # not written about for so long: its server has ended
_INTERRUPTED = {
    "code": "interrupted",
    "message": "the server that examined it was stopped; send the recording again",
}


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """How an examination stood when it was last written about.

    Attributes:
        body: what the REST layer tells of it; JSON values.
    """

    check_id: str
    account_id: str | None
    case_id: str | None
    name: str
    body: dict[str, Any]

    @property
    def state(self) -> str:
        """queued, running, cancelling, done, cancelled or failed."""
        return str(self.body["state"])


class CheckRecords:
    """The records of every server. Safe to share between threads; processes by database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        check_id: str,
        *,
        account_id: str | None,
        case_id: str | None,
        name: str,
        body: dict[str, Any],
    ) -> None:
        """Write down a new one, and forget those of yesterday. Raises :class:`LedgerError`."""
        with self._database.sharing() as connection:
            now = self._database.now_s(connection)
            connection.execute(delete(long_check).where(long_check.c.seen_at < now - _KEPT_S))
            connection.execute(
                long_check.insert().values(
                    check_id=check_id,
                    account_id=account_id,
                    case_id=case_id,
                    name=name[:300],
                    body=json.dumps(body),
                    live=True,
                    stop=False,
                    seen_at=now,
                )
            )

    def write(self, check_id: str, body: dict[str, Any], *, live: bool) -> bool:
        """Write down how it stands; whether its owner asked another server to stop it.

        Raises :class:`LedgerError`.
        """
        with self._database.sharing(durable=not live) as connection:
            now = self._database.now_s(connection)
            stop = connection.scalar(
                update(long_check)
                .where(long_check.c.check_id == check_id)
                .values(body=json.dumps(body), live=live, seen_at=now)
                .returning(long_check.c.stop)
            )
        return bool(stop)

    def abandon(self, check_ids: Collection[str]) -> None:
        """The server that examines these ends: they were interrupted. Raises LedgerError."""
        with self._database.sharing() as connection:
            lapsed = self._database.now_s(connection) - 2 * _LEASE_S
            these = long_check.c.check_id.in_(check_ids) & long_check.c.live
            connection.execute(update(long_check).where(these).values(seen_at=lapsed))

    def stop(self, check_id: str) -> None:
        """Ask the server that examines it to stop. Raises :class:`LedgerError`."""
        with self._database.sharing() as connection:
            connection.execute(
                update(long_check).where(long_check.c.check_id == check_id).values(stop=True)
            )

    def find(self, check_id: str) -> CheckRecord | None:
        """The examination of that id; None where there is none. Raises :class:`LedgerError`."""
        found = self._read(long_check.c.check_id == check_id)
        return found[0] if found else None

    def of_case(self, case_id: str) -> list[CheckRecord]:
        """Those of a case, oldest first. Raises :class:`LedgerError`."""
        return self._read(long_check.c.case_id == case_id)

    def _read(self, where: Any) -> list[CheckRecord]:
        with self._database.reading() as connection:
            now = self._database.now_s(connection)
            since = long_check.c.seen_at > now - _KEPT_S
            query = select(long_check).where(where, since).order_by(long_check.c.seen_at)
            rows = list(connection.execute(query).mappings())
        return [_record(row, now) for row in rows]


def _record(row: RowMapping, now: float) -> CheckRecord:
    body = json.loads(row["body"])
    if row["live"] and row["seen_at"] < now - _LEASE_S:
        body |= {"state": "failed", "ahead": 0, "error": _INTERRUPTED}
    elif row["live"] and row["stop"]:
        body["state"] = "cancelling"
    return CheckRecord(row["check_id"], row["account_id"], row["case_id"], row["name"], body)
