"""The line of requests for music in the database: many servers put in, many workers take out.

A worker claims the oldest job that nobody holds (``FOR UPDATE SKIP LOCKED``), and renews its claim
while it works. A claim that is not renewed ends, and another worker begins the job anew. Whatever
happens, each take of a job is released once: its release is recorded in the same transaction as the
row of ``job_output`` that says so, and only by the worker that holds the claim.

State of a job: ``waiting``, ``running``, then ``done``, ``failed`` or ``cancelled``. An ended job
is kept for an hour, without the request itself.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import and_, delete, func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from studio.core.db.database import Database
from studio.core.db.tables.jobs import job, job_output, job_worker
from studio.core.errors import BusyError, NotYoursError, TooManyRequestsError
from studio.generation.attempts import Claim, LeaseLostError
from studio.generation.orders import Order
from studio.generation.preview_pieces import forget_pieces, heard_takes, sweep_pieces

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from studio.generation.progress import Progress

__all__ = ["FAULT", "Ended", "JobQueue", "JobRow", "Origin", "TakeAttempt"]

Origin = Literal["rest", "page"]
Ended = Literal["done", "failed", "cancelled"]

FAULT = "Fault"
"""Instead of an error's class: a fault of ours, whose text is the reference in the log."""

_KEPT_S = 3600.0  # an ended job can be asked for so long
_LIVE = ("waiting", "running")
_WORKER_S = 60.0  # a worker that was not seen for so long is gone
_SUBMIT_LOCK = 0x4A_4F_42_53  # "JOBS": one order at a time is counted against the limits


@dataclass(frozen=True, slots=True)
class JobRow:
    """How a job stands.

    Attributes:
        queue_position: jobs of the line that begin before it does; 0 once it runs.
        fraction: of the whole, 0 to 1.
        outputs: (take, output id) of what was released, in the order of the takes.
        preview: whether it can be heard while it is made.
        heard: the takes of which there is something to hear.
        attempts: how many workers have begun it.
        error: class of the error that ended it, or :data:`FAULT`.
        age_s: since it was ordered.
    """

    job_id: str
    account_id: str | None
    origin: str
    label: str
    model: str
    seconds: float
    takes: int
    state: str
    stop: bool
    stage: str | None
    fraction: float
    text: str
    error: str | None
    error_text: str | None
    age_s: float
    queue_position: int
    outputs: tuple[tuple[int, str], ...]
    preview: bool = False
    heard: tuple[int, ...] = ()
    attempts: int = 0

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state in _LIVE


class JobQueue:
    """The line. One object may be shared by threads; many processes by database.

    Args:
        database: which all servers and workers share.
        waiting: jobs that may wait; more are refused.
        lease_s: for which a claim holds without being renewed.
        attempts: a job that ended its workers so often is given up.
    """

    def __init__(
        self,
        database: Database,
        *,
        waiting: int = 200,
        lease_s: float = 30.0,
        attempts: int = 8,
    ) -> None:
        self._database = database
        self._waiting = waiting
        self._attempts = attempts
        self.lease_s = lease_s

    # -- the side of the server -----------------------------------------------------------------

    def submit(
        self,
        order: Order,
        *,
        account_id: str | None,
        payer: str,
        origin: Origin,
        label: str,
        per_account: int,
        preview: bool = False,
    ) -> str:
        """Put an order in line; its job's id. ``preview``: it can be heard while it is made.

        Raises :class:`BusyError` when the line is full, :class:`TooManyRequestsError` when the
        payer's part of it is.
        """
        job_id = secrets.token_hex(16)
        with self._database.sharing() as connection:
            if self._database.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:l)"), {"l": _SUBMIT_LOCK})
            now = self._database.now_s(connection)
            self._forget_old(connection, now)
            live = select(func.count()).where(job.c.state.in_(_LIVE))
            mine = int(connection.scalar(live.where(job.c.payer == payer)) or 0)
            if mine >= per_account:
                raise TooManyRequestsError(
                    f"{mine} of your requests are in line; let one of them end first", 10.0
                )
            waiting = select(func.count()).where(job.c.state == "waiting")
            if int(connection.scalar(waiting) or 0) >= self._waiting:
                raise BusyError(
                    f"The studio is busy: {self._waiting} requests are in line. "
                    "Please try again in a minute."
                )
            connection.execute(
                insert(job).values(
                    job_id=job_id,
                    account_id=account_id,
                    payer=payer,
                    face=origin,
                    label=label[:300],
                    model=order.model,
                    seconds=order.seconds * order.takes,
                    takes=order.takes,
                    body=order.to_text(),
                    state="waiting",
                    stop=False,
                    attempts=0,
                    fraction=0.0,
                    text="",
                    created_at=now,
                    preview=preview,
                )
            )
        return job_id

    def find(self, job_id: str, account_id: str | None) -> JobRow:
        """The account's own job of that id. Raises :class:`NotYoursError`."""
        rows = self._rows(job.c.job_id == job_id)
        if not rows or rows[0].account_id != account_id:
            raise NotYoursError("no such job, or not yours")
        return rows[0]

    def of(self, account_id: str | None, origin: Origin) -> list[JobRow]:
        """The account's jobs of one origin, oldest first: live ones and those of the last hour."""
        mine = job.c.account_id.is_(None) if account_id is None else job.c.account_id == account_id
        return self._rows(mine, job.c.face == origin)

    def stop(self, job_id: str) -> None:
        """Stop a job: at once where it waits, else when its worker asks next."""
        with self._database.sharing() as connection:
            now = self._database.now_s(connection)
            connection.execute(
                update(job)
                .where(job.c.job_id == job_id, job.c.state == "waiting")
                .values(state="cancelled", body=None, stop=True, ended_at=now)
            )
            connection.execute(
                update(job)
                .where(job.c.job_id == job_id, job.c.state == "running")
                .values(stop=True)
            )

    def dismiss(self, job_ids: Collection[str]) -> None:
        """Tell no more what became of jobs that have ended."""
        self._delete(job.c.job_id.in_(job_ids), job.c.state.not_in(_LIVE))

    def standing(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        query = select(job.c.state, func.count()).group_by(job.c.state)
        with self._database.reading() as connection:
            counts = {str(state): int(count) for state, count in connection.execute(query)}
        return counts.get("running", 0), counts.get("waiting", 0)

    def workers(self) -> list[tuple[str, list[str]]]:
        """The workers that live, with the models that each of them plays."""
        with self._database.reading() as connection:
            since = self._database.now_s(connection) - _WORKER_S
            rows = connection.execute(select(job_worker).where(job_worker.c.seen_at > since)).all()
        return [(str(row.worker_id), list(json.loads(row.models))) for row in rows]

    # -- the side of the worker -----------------------------------------------------------------

    def announce(self, worker_id: str, models: Sequence[str]) -> None:
        """Say that a worker lives; again every few seconds."""
        with self._database.sharing(durable=False) as connection:
            now = self._database.now_s(connection)
            gone = now - 60 * _WORKER_S
            connection.execute(
                delete(job_worker).where(
                    or_(job_worker.c.worker_id == worker_id, job_worker.c.seen_at < gone)
                )
            )
            connection.execute(
                insert(job_worker).values(
                    worker_id=worker_id, models=json.dumps(list(models)), seen_at=now
                )
            )
            sweep_pieces(connection, now)

    def leave(self, worker_id: str) -> None:
        """Say that a worker ends."""
        with self._database.sharing(durable=False) as connection:
            connection.execute(delete(job_worker).where(job_worker.c.worker_id == worker_id))

    def claim(self, models: Collection[str]) -> Claim | None:
        """The oldest job for these models that nobody holds; it is this worker's from now on.

        A job whose worker was not heard of for a lease counts as held by nobody. One that has ended
        its workers time and again is failed instead.
        """
        while True:
            with self._database.sharing() as connection:
                now = self._database.now_s(connection)
                free = or_(
                    job.c.state == "waiting",
                    (job.c.state == "running") & (job.c.leased_until < now),
                )
                row = (
                    connection.execute(
                        select(job)
                        .where(free, job.c.model.in_(models))
                        .order_by(job.c.number)
                        .limit(1)
                        .with_for_update(skip_locked=True)
                    )
                    .mappings()
                    .one_or_none()
                )
                if row is None:
                    return None
                this = job.c.number == row["number"]
                forget_pieces(connection, row["job_id"])  # of a worker that was killed
                if row["attempts"] >= self._attempts:
                    self._end(
                        connection,
                        this,
                        now,
                        "failed",
                        ("ModelError", f"the work broke off {row['attempts']} times; given up"),
                    )
                    continue
                if row["stop"]:
                    self._end(connection, this, now, "cancelled")
                    continue
                token = secrets.token_hex(16)
                connection.execute(
                    update(job)
                    .where(this)
                    .values(
                        state="running",
                        claim=token,
                        leased_until=now + self.lease_s,
                        attempts=row["attempts"] + 1,
                        started_at=now,
                        fraction=0.0,
                        text="",
                        stage=None,
                    )
                )
                released = _outputs(connection, [row["job_id"]]).get(row["job_id"], ())
            return Claim(
                row["job_id"],
                token,
                row["account_id"],
                row["attempts"] + 1,
                Order.from_text(row["body"]),
                released,
                bool(row["preview"]),
            )

    def renew(self, claim: Claim, progress: Progress | None) -> bool:
        """Hold a claim for another lease, and tell the progress; whether the job shall stop.

        Raises :class:`LeaseLostError` where it is another's by now.
        """
        values: dict[str, Any] = {}
        if progress is not None:
            values = {
                "stage": str(progress.stage),
                "fraction": progress.fraction,
                "text": progress.text[:200],
            }
        with self._database.sharing(durable=False) as connection:
            now = self._database.now_s(connection)
            stop = connection.scalar(
                update(job)
                .where(*_held(claim))
                .values(leased_until=now + self.lease_s, **values)
                .returning(job.c.stop)
            )
        if stop is None:
            raise LeaseLostError("another worker has taken the job over")
        return bool(stop)

    def finish(self, claim: Claim, state: Ended, error: tuple[str, str] | None = None) -> None:
        """The job has ended. ``error`` is a class and a text. A lost claim changes nothing."""
        with self._database.sharing() as connection:
            now = self._database.now_s(connection)
            self._end(connection, and_(*_held(claim)), now, state, error)

    def give_back(self, claim: Claim) -> None:
        """Put a job back in line, at its old place: this worker ends, and does not count."""
        with self._database.sharing() as connection:
            connection.execute(
                update(job)
                .where(*_held(claim))
                .values(
                    state="waiting",
                    claim=None,
                    leased_until=None,
                    attempts=job.c.attempts - 1,
                    stage=None,
                    fraction=0.0,
                    text="",
                )
            )

    # -- parts of it ----------------------------------------------------------------------------

    def _rows(self, *where: Any) -> list[JobRow]:
        with self._database.reading() as connection:
            now = self._database.now_s(connection)
            rows = connection.execute(select(job).where(*where).order_by(job.c.number)).mappings()
            found = list(rows)
            outputs = _outputs(connection, [row["job_id"] for row in found])
            heard = heard_takes(connection, [row["job_id"] for row in found if row["claim"]])
            before = sorted(
                connection.scalars(select(job.c.number).where(job.c.state.in_(_LIVE)))
                if any(row["state"] == "waiting" for row in found)
                else ()
            )
        return [
            _job_row(row, now, before, outputs.get(row["job_id"], ()), heard.get(row["job_id"], ()))
            for row in found
        ]

    def _forget_old(self, connection: Connection, now: float) -> None:
        old = select(job.c.job_id).where(job.c.ended_at < now - _KEPT_S)
        connection.execute(delete(job_output).where(job_output.c.job_id.in_(old)))
        connection.execute(delete(job).where(job.c.ended_at < now - _KEPT_S))

    def _delete(self, *where: Any) -> None:
        with self._database.sharing() as connection:
            ids = list(connection.scalars(select(job.c.job_id).where(*where)))
            connection.execute(delete(job_output).where(job_output.c.job_id.in_(ids)))
            connection.execute(delete(job).where(job.c.job_id.in_(ids)))

    def _end(
        self,
        connection: Connection,
        where: Any,
        now: float,
        state: Ended,
        error: tuple[str, str] | None = None,
    ) -> None:
        kind, said = error or (None, None)
        connection.execute(
            update(job)
            .where(where)
            .values(
                state=state,
                body=None,  # it may hold what a person typed
                claim=None,
                leased_until=None,
                error=kind,
                error_text=None if said is None else said[:1000],
                ended_at=now,
            )
        )


class TakeAttempt:
    """One take of a claimed job; see :class:`~studio.generation.attempts.Attempt`."""

    def __init__(self, claim: Claim, take: int) -> None:
        self._claim = claim
        self._take = take
        self.use_id = f"{claim.job_id[:30]}-{take}"

    def record(self, connection: Connection, output_id: str) -> None:
        """See :meth:`studio.generation.attempts.Attempt.record`."""
        held = connection.scalar(select(job.c.job_id).where(*_held(self._claim)).with_for_update())
        if held is None:
            raise LeaseLostError("another worker has taken the job over; nothing was released")
        try:
            connection.execute(
                insert(job_output).values(
                    job_id=self._claim.job_id, take=self._take, output_id=output_id
                )
            )
        except IntegrityError as exc:
            raise LeaseLostError("this take was released before; nothing was released") from exc


def _held(claim: Claim) -> tuple[Any, Any]:
    return job.c.job_id == claim.job_id, job.c.claim == claim.token


def _outputs(
    connection: Connection, job_ids: Sequence[str]
) -> dict[str, tuple[tuple[int, str], ...]]:
    query = select(job_output).where(job_output.c.job_id.in_(job_ids)).order_by(job_output.c.take)
    found: dict[str, tuple[tuple[int, str], ...]] = {}
    for row in connection.execute(query):
        found[row.job_id] = (*found.get(row.job_id, ()), (int(row.take), str(row.output_id)))
    return found


def _job_row(
    row: RowMapping,
    now: float,
    live: Sequence[int],
    outputs: tuple[tuple[int, str], ...],
    heard: tuple[int, ...],
) -> JobRow:
    waits = row["state"] == "waiting"
    return JobRow(
        job_id=row["job_id"],
        account_id=row["account_id"],
        origin=row["face"],
        label=row["label"],
        model=row["model"],
        seconds=float(row["seconds"]),
        takes=int(row["takes"]),
        state=row["state"],
        stop=bool(row["stop"]),
        stage=row["stage"],
        fraction=float(row["fraction"]),
        text=row["text"],
        error=row["error"],
        error_text=row["error_text"],
        age_s=max(0.0, now - float(row["created_at"])),
        queue_position=sum(number < row["number"] for number in live) if waits else 0,
        outputs=outputs,
        preview=bool(row["preview"]),
        heard=heard,
        attempts=int(row["attempts"]),
    )
