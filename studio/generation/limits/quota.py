"""Limits against spam: requests per account, and near duplicates.

Every request for music is counted when it begins, in the transaction that looks at the limits, so
that two requests at once cannot both take the last place. A request that is refused leaves an entry
in the ledger, so it counts like an output; one that its maker stopped counts as a request. Only
what fails through no fault of the account gives its place back. Three limits hold for each account
(``configs/studio.yaml``): outputs and seconds per day (UTC), requests within a short window (bulk
generation), and near-duplicates per day. A refusal says which limit it was and when there is room
again.

A near-duplicate is an output whose fingerprint is that of an earlier output which is not among its
ancestors: the same music under another seal. The same music in another file format is none. Over
the limit of near-duplicates only requests that repeat earlier music are refused.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, func, select, update

from studio.consent.types import format_instant
from studio.core.config import QuotaConfig
from studio.core.db.tables.lineage import generation_use, near_duplicate
from studio.core.errors import (
    ConsentRefusedError,
    GenerationCancelledError,
    LedgerError,
    QuotaExceededError,
    SealingError,
)
from studio.generation.attempts import LeaseLostError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.core.db.database import Database
    from studio.provenance.output_index import OutputIndex

__all__ = ["LOCAL_ACCOUNT", "AccountUsage", "Place", "Quotas", "Usage", "nearest_alike"]

LOCAL_ACCOUNT = "local"
"""Whoever sits at a studio without accounts."""

_logger = logging.getLogger(__name__)
_HELD = ("running", "released")  # seconds of music
_COUNTED = (*_HELD, "refused")  # outputs of a day
_BEGUN = (*_COUNTED, "stopped")  # requests in the window


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """What one account has had on one day."""

    account: str
    released: int
    running: int
    failed: int
    refused: int
    stopped: int
    seconds: float  # of music released or being made
    near_duplicates: int


@dataclass(frozen=True, slots=True)
class Usage:
    """All accounts on one day (UTC), and since the studio began; for an administrator."""

    day: str  # 2026-11-22
    limits: Mapping[str, float]
    accounts: tuple[AccountUsage, ...]
    outputs_ever: int
    near_duplicates_ever: int

    def to_json(self) -> dict[str, Any]:
        return {
            "day": self.day,
            "limits": dict(self.limits),
            "accounts": [asdict(account) for account in self.accounts],
            "outputs_ever": self.outputs_ever,
            "near_duplicates_ever": self.near_duplicates_ever,
        }


class Place:
    """One request's place within the limits; says at the end what became of it."""

    def __init__(self) -> None:
        self.output_id: str | None = None


class Quotas:
    """Counts requests against the limits. May be shared by threads; processes by database."""

    def __init__(
        self,
        database: Database,
        limits: QuotaConfig,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock or (lambda: datetime.now(UTC))

    @contextmanager
    def place(
        self,
        account: str,
        seconds: float,
        *,
        repeats: Callable[[], bool] = lambda: True,
        use_id: str | None = None,
    ) -> Iterator[Place]:
        """Take a place for a request of ``seconds``; set its ``output_id`` once released.

        ``repeats`` says whether the request makes music again that the account has already.
        ``use_id`` names a request that may be begun again after its process ended: it has one
        place, however often it is begun.

        Raises :class:`QuotaExceededError` where there is none. A block left by a refusal keeps the
        place, one that was cancelled keeps it for the window; any other without an output id gives
        it back.
        """
        use_id = use_id or secrets.token_hex(16)
        now = self._clock().astimezone(UTC)
        spent = self.near_duplicates(account) >= self._limits.near_duplicates_per_day
        repeated = spent and repeats()
        with self._database.writing() as connection:
            connection.execute(  # of an earlier try
                delete(generation_use).where(generation_use.c.use_id == use_id)
            )
            self._require_room(connection, account, seconds, now, repeated=repeated)
            connection.execute(
                generation_use.insert().values(
                    use_id=use_id,
                    account_id=account,
                    started_at=format_instant(now),
                    seconds=seconds,
                    state="running",
                )
            )
        place = Place()
        state: str | None = "failed"
        try:
            yield place
            state = "failed" if place.output_id is None else "released"
        except LeaseLostError:
            state = None  # the place is the other worker's by now
            raise
        except (ConsentRefusedError, SealingError):
            state = "refused"
            raise
        except GenerationCancelledError:
            state = "stopped"
            raise
        finally:
            if place.output_id is not None:
                state = "released"
            if state is not None:
                self._end(use_id, state, place.output_id)

    def _end(self, use_id: str, state: str, output_id: str | None) -> None:
        with self._database.writing() as connection:
            connection.execute(
                update(generation_use)
                .where(generation_use.c.use_id == use_id)
                .values(state=state, output_id=output_id)
            )

    def record_near_duplicate(
        self, account: str, output_id: str, like_id: str, distance: float
    ) -> None:
        """Count an output as nearly the same as ``like_id``."""
        with self._database.writing() as connection:
            connection.execute(
                near_duplicate.insert().values(
                    output_id=output_id,
                    account_id=account,
                    like_id=like_id,
                    distance=distance,
                    found_at=format_instant(self._clock()),
                )
            )

    def look_for_alike(
        self,
        account: str,
        output_id: str,
        registry: OutputIndex,
        *,
        besides: Collection[str],
        excused: Callable[[str], bool] = lambda _other: False,
    ) -> None:
        """Count a released output if it is nearly an earlier one.

        ``excused`` says of an earlier output whether this one may sound like it. The output
        stands either way, so that a failure here is logged and no more.
        """
        try:
            alike = nearest_alike(
                registry,
                output_id,
                besides=besides,
                excused=excused,
                max_distance=self._limits.near_duplicate_distance,
            )
            if alike is not None:
                self.record_near_duplicate(account, output_id, *alike)
        except LedgerError:
            _logger.exception("output %s was not compared with earlier ones", output_id)

    def near_duplicates(self, account: str) -> int:
        """How many the account has made today."""
        begin, _ = _day(self._clock())
        with self._database.reading() as connection:
            found = connection.scalar(
                select(func.count()).where(
                    near_duplicate.c.account_id == account,
                    near_duplicate.c.found_at >= format_instant(begin),
                )
            )
        return int(found or 0)

    def usage(self, day: datetime | None = None) -> Usage:
        """Figures of one day, today if left out."""
        begin, end = _day(day or self._clock())
        where = (
            generation_use.c.started_at >= format_instant(begin),
            generation_use.c.started_at < format_instant(end),
        )
        counts = (
            select(
                generation_use.c.account_id,
                generation_use.c.state,
                func.count().label("requests"),
                func.sum(generation_use.c.seconds).label("seconds"),
            )
            .where(*where)
            .group_by(generation_use.c.account_id, generation_use.c.state)
        )
        alike = (
            select(near_duplicate.c.account_id, func.count().label("outputs"))
            .where(
                near_duplicate.c.found_at >= format_instant(begin),
                near_duplicate.c.found_at < format_instant(end),
            )
            .group_by(near_duplicate.c.account_id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(counts).all()
            duplicates = {row.account_id: row.outputs for row in connection.execute(alike)}
            ever = connection.scalar(
                select(func.count()).where(generation_use.c.state == "released")
            )
            duplicates_ever = connection.scalar(select(func.count()).select_from(near_duplicate))
        accounts = sorted({row.account_id for row in rows} | set(duplicates))
        by_state = {(row.account_id, row.state): row for row in rows}

        def requests(account: str, state: str) -> int:
            return int(by_state[account, state].requests) if (account, state) in by_state else 0

        return Usage(
            day=begin.date().isoformat(),
            limits=self._limits.model_dump(),
            accounts=tuple(
                AccountUsage(
                    account=account,
                    released=requests(account, "released"),
                    running=requests(account, "running"),
                    failed=requests(account, "failed"),
                    refused=requests(account, "refused"),
                    stopped=requests(account, "stopped"),
                    seconds=sum(
                        float(by_state[account, state].seconds)
                        for state in _HELD
                        if (account, state) in by_state
                    ),
                    near_duplicates=int(duplicates.get(account, 0)),
                )
                for account in accounts
            ),
            outputs_ever=int(ever or 0),
            near_duplicates_ever=int(duplicates_ever or 0),
        )

    def _require_room(
        self,
        connection: Connection,
        account: str,
        seconds: float,
        now: datetime,
        *,
        repeated: bool,
    ) -> None:
        limits = self._limits
        begin, tomorrow = _day(now)
        window = now - timedelta(minutes=limits.bulk_window_minutes)
        state, mine = generation_use.c.state, generation_use.c.account_id == account
        held = case((state.in_(_HELD), generation_use.c.seconds), else_=0.0)
        today = connection.execute(
            select(func.count().label("outputs"), func.sum(held).label("seconds")).where(
                mine,
                state.in_(_COUNTED),
                generation_use.c.started_at >= format_instant(begin),
            )
        ).one()
        if today.outputs >= limits.outputs_per_day:
            raise _refused(f"{limits.outputs_per_day} outputs a day", tomorrow, now)
        if float(today.seconds or 0) + seconds > limits.seconds_per_day:
            raise _refused(f"{limits.seconds_per_day:g} seconds of music a day", tomorrow, now)
        if repeated:
            raise _refused(
                f"{limits.near_duplicates_per_day} near-duplicates of earlier outputs a day, and "
                "this request makes the same music again; another seed makes new music at once",
                tomorrow,
                now,
            )
        recent = connection.scalars(
            select(generation_use.c.started_at)
            .where(
                mine,
                state.in_(_BEGUN),
                generation_use.c.started_at > format_instant(window),
            )
            .order_by(generation_use.c.started_at.desc())
            .limit(limits.bulk_requests)
        ).all()
        if len(recent) >= limits.bulk_requests:
            oldest = datetime.fromisoformat(recent[-1])
            raise _refused(
                f"{limits.bulk_requests} requests in {limits.bulk_window_minutes:g} minutes (this "
                "studio does not make music in bulk)",
                oldest + timedelta(minutes=limits.bulk_window_minutes),
                now,
            )


_ALIKE_SHARE = 0.8  # of an output's sound that must be in the other one


def nearest_alike(
    registry: OutputIndex,
    output_id: str,
    *,
    besides: Collection[str],
    max_distance: float,
    excused: Callable[[str], bool] = lambda _other: False,
) -> tuple[str, float] | None:
    """The earlier output whose sound this one's nearly is, and how many bits differ; or None.

    ``besides`` are outputs that it may sound like: its ancestors. ``excused`` names further ones.
    """
    registry.refresh()
    query = registry.index.reference(output_id)
    alike = [
        (match.distance, str(match.key))
        for match in registry.index.search(query, limit=24)  # stems of outputs among them
        if "/" not in str(match.key)
        and match.key != output_id
        and match.key not in besides
        and match.distance <= max_distance
        and match.overlap_s >= _ALIKE_SHARE * query.duration_s
        and not excused(str(match.key))
    ]
    if not alike:
        return None
    distance, key = min(alike)
    return key, distance


def _day(at: datetime) -> tuple[datetime, datetime]:
    """The UTC day of an instant, its end excluded."""
    begin = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return begin, begin + timedelta(days=1)


def _refused(limit: str, again: datetime, now: datetime) -> QuotaExceededError:
    minutes = max(1, -(-int((again - now).total_seconds()) // 60))
    hours, rest = divmod(minutes, 60)
    wait = f"{hours} h {rest} min" if hours else f"{minutes} min"
    return QuotaExceededError(
        f"this account has had its share, {limit}; come back in {wait}, "
        f"at {again.astimezone(UTC):%H:%M} UTC"
    )
