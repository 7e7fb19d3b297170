"""Generation jobs in the database, shared by several servers and workers.

They are seen from every server and outlast all of them. What a server shows is read from the
database when it is asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.core import errors
from studio.core.errors import NotYoursError, StudioError
from studio.generation.job_queue import FAULT
from studio.generation.progress import Progress, Stage
from studio.web.jobs.making import JobState, MadeJob
from studio.web.jobs.preview_feeds import PreviewFeeds, previews_of
from studio.web.jobs.queue import Moment
from studio.web.jobs.store import failure_json

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.job_queue import JobRow
    from studio.generation.orders import Order
    from studio.generation.preview import Hearable, Preview

__all__ = ["SharedJobs", "SharedMaking"]

_POLL_S = 0.7  # how often a page that watches is told


@dataclass(frozen=True, slots=True)
class _SubmittedJob:
    """A job of the shared line, as the REST layer tells it."""

    row: JobRow
    feeds: PreviewFeeds

    @property
    def id(self) -> str:
        return self.row.job_id

    @property
    def previews(self) -> tuple[Hearable, ...]:
        return previews_of(self.feeds, self.row)

    @property
    def ended(self) -> bool:
        return not self.row.live

    def to_json(self) -> dict[str, Any]:
        """See :class:`studio.web.jobs.store.SubmittedJob`."""
        row = self.row
        outputs = [output_id for _, output_id in row.outputs]
        live = {"waiting": "queued", "running": "running"}
        state = live.get(row.state, row.state)
        return {
            "id": row.job_id,
            "state": "cancelling" if row.live and row.stop else state,
            "ahead": row.queue_position,
            "progress": 1.0 if row.state == "done" else round(row.fraction, 3),
            "text": row.text,
            "output_id": outputs[0] if outputs and not row.live else None,
            "output_ids": [] if row.live else outputs,
            "error": _error_body(row),
        }


class SharedJobs:
    """The requests of the REST layer; see :class:`studio.web.jobs.store.Jobs`."""

    def __init__(self, feeds: PreviewFeeds) -> None:
        self._feeds = feeds

    def submit(
        self, session: Session, order: Order, *, account: str, previews: tuple[Preview, ...] = ()
    ) -> _SubmittedJob:
        """Put a request in line. ``previews`` say only that it shall be heard: workers make it."""
        row = session.jobs.submit(
            order, payer=account, origin="rest", label=_label(order), preview=bool(previews)
        )
        return _SubmittedJob(row, self._feeds)

    def find(self, session: Session, id_: str) -> _SubmittedJob:
        """The actor's own job of that id. Raises :class:`NotYoursError`."""
        return _SubmittedJob(session.jobs.find(id_), self._feeds)

    def of(self, session: Session) -> list[_SubmittedJob]:
        """The actor's jobs, newest first."""
        return [_SubmittedJob(row, self._feeds) for row in reversed(session.jobs.of("rest"))]

    def cancel(self, session: Session, id_: str) -> _SubmittedJob:
        """Stop the actor's own job. Raises :class:`NotYoursError`."""
        return _SubmittedJob(session.jobs.stop(id_), self._feeds)


class SharedMaking:
    """The page's view of the shared line; the methods of :class:`studio.web.jobs.making.Making`."""

    def __init__(self, feeds: PreviewFeeds) -> None:
        self._feeds = feeds
        self._lock = threading.Lock()
        self._watchers: set[str] = set()

    def add(self, session: Session, label: str, order: Order, *, account: str) -> MadeJob:
        """Put an order in line. ``label`` holds nothing that was typed."""
        for row in session.jobs.of("page"):  # a new request replaces what was told of others
            if not row.live:
                session.jobs.dismiss(row.job_id)
        row = session.jobs.submit(order, payer=account, origin="page", label=label, preview=True)
        return _made(row, self._feeds)

    def of(self, session: Session) -> list[MadeJob]:
        """The account's jobs, oldest first."""
        return [_made(row, self._feeds) for row in session.jobs.of("page")]

    def find(self, session: Session, id_: str) -> MadeJob | None:
        """The account's job of that id; None where it has none."""
        try:
            row = session.jobs.find(id_)
        except NotYoursError:
            return None
        return _made(row, self._feeds) if row.origin == "page" else None

    def cancel(self, session: Session, id_: str | None = None) -> None:
        """Stop one job of the account, or all of them."""
        for job in self.of(session):
            if id_ in (None, job.id) and job.state.live:
                session.jobs.stop(job.id)

    def dismiss(self, session: Session, id_: str | None = None) -> None:
        """Tell no more what became of a job, or of any."""
        for job in self.of(session):
            if id_ in (None, job.id) and not job.state.live:
                session.jobs.dismiss(job.id)

    def watch(self, session: Session, page: str) -> Iterator[list[MadeJob]]:
        """The account's jobs now, and again as they go on, until none is in line.

        A page session watches once: a second watch of it ends at once.
        """
        while self._begins(page):
            try:
                while True:
                    jobs = self.of(session)
                    if not any(job.state.live for job in jobs):
                        break
                    yield jobs
                    time.sleep(_POLL_S)
            finally:
                with self._lock:
                    self._watchers.discard(page)
            # A job that came before the watch ended was not watched by its own call.
            jobs = self.of(session)
            if not any(job.state.live for job in jobs):
                yield jobs
                return

    def _begins(self, page: str) -> bool:
        """Whether nobody watches for the page session; then it is watched from now on."""
        with self._lock:
            if page in self._watchers:
                return False
            self._watchers.add(page)
            return True

    def expected_s(self, model: str, seconds: float) -> float | None:
        """Unknown: the workers make the music."""
        return None


class _RowJob:
    """A row of the line where the page expects a job."""

    def __init__(self, row: JobRow) -> None:
        self._row = row

    def moment(self) -> Moment:
        """How it stands."""
        row = self._row
        progress = None
        if row.stage is not None:
            progress = Progress(Stage(row.stage), row.fraction, row.text)
        return Moment(row.queue_position, progress, row.age_s, row.stop)


def _made(row: JobRow, feeds: PreviewFeeds) -> MadeJob:
    ended = {
        "done": JobState.DONE,
        "failed": JobState.FAILED,
        "cancelled": JobState.CANCELLED,
    }
    failure: BaseException | str | None = None
    if row.error is not None and row.state == "failed":
        failure = row.error_text if row.error == FAULT else _error_of(row)
    released = dict(row.outputs)
    return MadeJob(
        id=row.job_id,
        owner=row.account_id or "",
        label=row.label,
        seconds=row.seconds,
        model=row.model,
        began=time.monotonic() - row.age_s,
        job=_RowJob(row),
        output_ids=tuple(output_id for _, output_id in row.outputs),
        failure=failure,
        ended=ended.get(row.state),
        previews=previews_of(feeds, row),
        by_take=tuple(released.get(take) for take in range(row.takes)),
        attempt=max(1, row.attempts),
    )


def _error_of(row: JobRow) -> StudioError:
    """The error that ended a job, of the class it had where it is one of ours."""
    found = getattr(errors, row.error or "", StudioError)
    kind = found if isinstance(found, type) and issubclass(found, StudioError) else StudioError
    error = kind.__new__(kind)
    error.args = (row.error_text or "",)
    return error


def _error_body(row: JobRow) -> dict[str, str] | None:
    if row.error is None or row.live:
        return None
    if row.error == FAULT:
        return {"code": "failed", "message": f"our fault; reference {row.job_id[:8]}"}
    return failure_json(_error_of(row))


def _label(order: Order) -> str:
    if order.request is None:
        return f"{order.kind} {order.source}"
    return f"{', '.join(order.request.tags)}, {order.seconds:g} s"
