"""Check the clock before an entry is dated, and repair implausible times.

The time of the ledger never goes back, so one entry dated years ahead would hold every later one,
and every decision about consent, in that year. So an entry is refused (:class:`ClockError`) where
the clock and the file system (or the database's server) do not agree on the time, and where it is
further ahead of the newest entry than :data:`MAX_JUMP`. Where the studio was unused for so long,
an administrator says so (kind ``clock-accepted``).

Entries that were dated ahead all the same stay as they are. A repair (kind ``clock-repair``) says
which they are and as of when they count for consent, and is itself dated by the right clock.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy import text as sql

from studio.core.db.tables.ledger import ledger_entry
from studio.core.errors import LedgerError, UsageError
from studio.provenance.ledger.entry import INSTANT

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ACCEPTED",
    "AGREEMENT",
    "MAX_JUMP",
    "REPAIR",
    "ClockError",
    "Repair",
    "check_clock",
    "newest_repair",
    "plan_repair",
    "repairs",
    "time_elsewhere",
]

MAX_JUMP = timedelta(days=180)
"""A studio that made no entry for longer is asked whether its clock is right."""

AGREEMENT = timedelta(hours=1)
"""Two clocks that differ by no more agree."""

ACCEPTED, REPAIR = "clock-accepted", "clock-repair"
MAY_JUMP = (ACCEPTED, REPAIR, "restored")
"""Kinds of entries that say themselves that time has passed."""


class ClockError(LedgerError):
    """The clock cannot be right; nothing was recorded."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Entries ``first`` to ``last`` were dated too late; ``held_as`` counts."""

    first: int
    last: int
    held_as: datetime  # UTC

    def covers(self, index: int) -> bool:
        return self.first <= index <= self.last


def check_clock(
    kind: str, at: datetime, latest: datetime | None, elsewhere: datetime | None
) -> None:
    """Whether an entry of that kind may be dated ``at``. Raises :class:`ClockError`.

    Args:
        kind: of the entry.
        at: what the clock says.
        latest: the time of the newest entry; None before the first.
        elsewhere: what another clock says; None where there is none to ask.
    """
    if elsewhere is not None and abs(at - elsewhere) > AGREEMENT:
        raise ClockError(
            f"the clock says {_text(at)}, and the file system or the database's server "
            f"{_text(elsewhere)}: nothing is recorded until they agree. Set the clock"
        )
    if latest is not None and at - latest > MAX_JUMP and kind not in MAY_JUMP:
        raise ClockError(
            f"the clock says {_text(at)}, {(at - latest).days} days after the newest entry of the "
            "ledger: nothing is recorded until somebody has looked at it. If the clock is right "
            "and the studio was unused, say so with `studio ledger accept-clock`"
        )


def time_elsewhere(connection: Connection, file: Path | None) -> datetime | None:
    """What the database's server, or the file system of its file, takes the time to be."""
    if connection.dialect.name == "postgresql":
        found: datetime = connection.execute(sql("SELECT clock_timestamp()")).scalar_one()
        return found.astimezone(UTC)
    if file is None:
        return None
    try:
        with tempfile.TemporaryFile(dir=file.parent) as fresh:
            fresh.write(b"x")
            fresh.flush()
            return datetime.fromtimestamp(os.fstat(fresh.fileno()).st_mtime, UTC)
    except OSError:
        return None  # a full disk is said by what comes next


def plan_repair(connection: Connection, now: datetime) -> dict[str, Any]:
    """The body of the repair of every entry that is dated ahead of ``now``.

    Raises :class:`UsageError` where there is none, or the clock seems to be behind.
    """
    ahead = connection.scalar(
        select(func.min(ledger_entry.c.idx)).where(
            ledger_entry.c.created_at > (now + AGREEMENT).strftime(INSTANT),
            ledger_entry.c.idx > newest_repair(connection),
        )
    )
    if ahead is None:
        raise UsageError("no entry is dated ahead of the clock; there is nothing to repair")
    times = dict(
        connection.execute(
            select(ledger_entry.c.idx, ledger_entry.c.created_at).where(
                ledger_entry.c.idx.in_((ahead - 1, ahead))
            )
        ).all()
    )
    last, newest = connection.execute(
        select(ledger_entry.c.idx, ledger_entry.c.created_at)
        .order_by(ledger_entry.c.idx.desc())
        .limit(1)
    ).one()
    # A clock that was ahead makes one jump as long as it is ahead. Where entries lead up to the
    # newest one in smaller steps, the time did pass, and it is the clock of today that is behind.
    if (
        ahead - 1 not in times
        or _time(newest) - now > _time(times[ahead]) - _time(times[ahead - 1]) + 2 * AGREEMENT
    ):
        raise UsageError(
            "the entries lead up to their newest time without a jump, so it is this machine's "
            "clock that is behind; set it and try again"
        )
    return {"first": int(ahead), "last": int(last), "held_as": times[ahead - 1]}


def repairs(connection: Connection) -> list[Repair]:
    """Every repair there was, oldest first."""
    query = select(ledger_entry.c.leaf).where(ledger_entry.c.kind == REPAIR)
    return [
        _repair(json.loads(leaf)["body"])
        for leaf in connection.scalars(query.order_by(ledger_entry.c.idx))
    ]


def newest_repair(connection: Connection) -> int:
    """The index of the newest repair; -1 where there was none."""
    newest = connection.scalar(
        select(func.max(ledger_entry.c.idx)).where(ledger_entry.c.kind == REPAIR)
    )
    return -1 if newest is None else int(newest)


def _repair(body: Mapping[str, Any]) -> Repair:
    return Repair(int(body["first"]), int(body["last"]), _time(body["held_as"]))


def _time(text: str) -> datetime:
    return datetime.strptime(text, INSTANT).replace(tzinfo=UTC)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
