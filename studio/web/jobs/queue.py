"""The job queue: bounded, monitored, cancellable.

Making music takes seconds and uses a whole core, so a few run at a time and a bounded number wait,
of one account only some of them. A :class:`Job` is watched from the page's generator functions:
:meth:`Job.watch` yields a :class:`Moment` every 0.4 s until the work has ended, whichever way.
Cancelling sets the :class:`threading.Event` the work was given; the job has ended only when the
work itself returned, so what the page says about it is what happened.

A job is also stopped when whoever asked for it has left, when the account may not have it any more,
and when it ran for too long: the runner looks after its jobs once a second, whether or not anybody
watches them.

>>> with JobRunner(running=1, waiting=4) as runner:
...     job = runner.submit(lambda report, cancel: report("half way") or 42)
...     moments = list(job.watch())
>>> job.result(), moments[-1].progress
(42, 'half way')
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from studio.core.errors import (
    AccessDeniedError,
    BusyError,
    StudioError,
    TooManyRequestsError,
)
from studio.web.middleware.rate_limit import log_failure
from watermark.util.logs import current_tags, tagged

__all__ = [
    "BusyError",
    "Job",
    "JobObserver",
    "JobRunner",
    "Moment",
    "Report",
    "TooLongError",
    "TooManyRequestsError",
    "stoppable",
]

_Result = TypeVar("_Result")
Report = Callable[[Any], None]
_logger = logging.getLogger(__name__)
_TICK_S = 0.4  # how often a watcher asks; the end of a job wakes it at once
_POLL_S = 1.0  # how often the runner checks its jobs


class TooLongError(StudioError):
    """The work ran for as long as it may, and was stopped."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a watcher sees of a job."""

    queue_position: int  # requests that start before this one does; 0 once it runs
    progress: Any  # the latest value the work reported, None before the first
    elapsed_s: float  # since it was submitted
    cancelling: bool


class Job(Generic[_Result]):
    """One piece of work in a :class:`JobRunner`."""

    def __init__(
        self,
        runner: JobRunner,
        number: int,
        account: str | None,
        present: Callable[[], bool],
        id_: str,
    ) -> None:
        self.account = account
        self._tags = {**current_tags(), "job": id_}  # of the request that asked for it
        self._runner = runner
        self._number = number
        self._present = present
        self._cancel = threading.Event()
        self._why: StudioError | None = None
        self._progress: Any = None
        self._stage: tuple[object, float] | None = None  # of the progress, and since when
        self._submitted = time.monotonic()
        self._started: float | None = None
        self._future: Future[_Result] | None = None

    def cancel(self, why: StudioError | None = None) -> None:
        """Ask the work to stop. Safe to call at any time and more than once.

        ``why`` is what :meth:`result` raises, if the work did stop.
        """
        if not self._cancel.is_set():
            self._why = why
        self._cancel.set()
        if self._future is not None and self._future.cancel():  # it was still waiting
            self._runner.forget(self._number)

    @property
    def why(self) -> StudioError | None:
        """Why it was stopped; None where it was not, or by the one who asked for it."""
        return self._why

    def when_dropped(self, call: Callable[[], None]) -> None:
        """Call this if the job is cancelled before it began."""
        assert self._future is not None
        self._future.add_done_callback(lambda future: call() if future.cancelled() else None)

    def watch(self) -> Iterator[Moment]:
        """Yield until the work has ended. A watcher that is closed early cancels the job."""
        assert self._future is not None
        ended = False
        try:
            while not ended:
                ended = bool(wait([self._future], timeout=_TICK_S).done)
                yield self.moment()
        finally:
            if not ended:  # the browser went away
                self.cancel()

    @property
    def ended(self) -> bool:
        """Whether :meth:`result` has something to say."""
        return self._future is not None and self._future.done()

    @property
    def is_wanted(self) -> bool:
        """Whether its requester is still connected."""
        return self._present()

    @property
    def running_s(self) -> float:
        """Seconds since the job was started; 0 while it waits."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def moment(self) -> Moment:
        """How it stands right now, for one who asks from time to time instead of watching."""
        return Moment(
            queue_position=self._runner.queue_position_of(self._number),
            progress=self._progress,
            elapsed_s=time.monotonic() - self._submitted,
            cancelling=self._cancel.is_set(),
        )

    def result(self) -> _Result:
        """What the work returned; raises what it raised, or ``CancelledError`` if it never ran."""
        assert self._future is not None
        try:
            return self._future.result()
        except Exception:
            if self._why is not None:
                raise self._why from None
            raise

    def _start(self, work: Callable[[Report, threading.Event], _Result]) -> _Result:
        self._started = began = time.monotonic()
        self._runner.started(self._number)
        error: BaseException | None = None
        result: _Result | None = None
        with tagged(**self._tags):
            _logger.info("job started after %.1f s in line", began - self._submitted)
            try:
                with self._runner.admit(self.account or ""):
                    result = work(self._report, self._cancel)
                return result
            except BaseException as exc:
                error = exc
                raise
            finally:
                end = "done" if error is None else type(self._why or error).__name__
                _logger.info("job ended after %.1f s: %s", time.monotonic() - began, end)
                self._runner.forget(self._number)
                self._runner.observer.ended(result, error and (self._why or error))

    def _report(self, progress: Any) -> None:
        self._progress = progress
        stage = getattr(progress, "stage", None)
        if stage is None or (self._stage is not None and stage == self._stage[0]):
            return
        now = time.monotonic()
        if self._stage is not None:
            ended, since = self._stage
            self._runner.observer.stage(str(ended), now - since)
        self._stage = (stage, now)


class JobObserver:
    """Whoever counts jobs; called in their threads. This one does not."""

    def stage(self, stage: str, seconds: float) -> None:
        """A stage of a job took so long."""

    def ended(self, result: object, error: BaseException | None) -> None:
        """A job that ran ended with its result, or with an error."""


class JobRunner:
    """Runs up to ``running`` jobs at a time, lets ``waiting`` more wait, refuses the rest.

    Args:
        running: jobs at a time.
        waiting: further jobs in line.
        per_account: jobs of one account, running and in line; None: no limit.
        longest_s: for which a job may run; None: no limit.
        may: whether an account may still have such work done; asked again and again.
        admit: a block in which the work of an account runs; what it raises ends the job.
    """

    def __init__(
        self,
        *,
        running: int,
        waiting: int,
        per_account: int | None = None,
        longest_s: float | None = None,
        may: Callable[[str], bool] = lambda _account: True,
        admit: Callable[[str], AbstractContextManager[None]] = lambda _account: nullcontext(),
    ) -> None:
        self.observer = JobObserver()
        self._pool = ThreadPoolExecutor(max_workers=running, thread_name_prefix="studio-job")
        self._limit = running + waiting
        self._per_account = per_account
        self._longest_s = longest_s
        self._may = may
        self.admit = admit
        self._lock = threading.Lock()
        self._jobs: dict[int, Job[Any]] = {}
        self._waiting: set[int] = set()
        self._next = 0
        self._closed = threading.Event()
        self._guard: threading.Thread | None = None

    def submit(
        self,
        work: Callable[[Report, threading.Event], _Result],
        *,
        account: str | None = None,
        present: Callable[[], bool] = lambda: True,
        id_: str | None = None,
    ) -> Job[_Result]:
        """Queue ``work(report, cancel)`` for an account, for as long as ``present()`` holds.

        ``id_`` names it in the log.

        Raises :class:`BusyError` when the queue is full, :class:`TooManyRequestsError` when the
        account's part of it is, :class:`RuntimeError` once the runner is closed.
        """
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("the runner is closed")
            mine = sum(job.account == account for job in self._jobs.values())
            if self._per_account is not None and mine >= self._per_account:
                raise TooManyRequestsError(
                    f"{mine} of your requests are in line; let one of them end first", 10.0
                )
            if len(self._jobs) >= self._limit:
                raise BusyError(
                    f"The studio is busy: {len(self._jobs)} requests are in line. "
                    "Please try again in a minute."
                )
            number = self._next
            self._next += 1
            job: Job[_Result] = Job(self, number, account, present, id_ or secrets.token_hex(8))
            self._jobs[number] = job
            self._waiting.add(number)
            job._future = self._pool.submit(job._start, work)
            if self._guard is None:
                self._guard = threading.Thread(
                    target=self._look_after, name="studio-job-guard", daemon=True
                )
                self._guard.start()
        return job

    def standing(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        with self._lock:
            return len(self._jobs) - len(self._waiting), len(self._waiting)

    def queue_position_of(self, number: int) -> int:
        """How many jobs stand before this one that still waits; 0 once it runs or has ended."""
        with self._lock:
            if number not in self._waiting:
                return 0
            return sum(other < number for other in self._jobs)

    def started(self, number: int) -> None:
        with self._lock:
            self._waiting.discard(number)

    def forget(self, number: int) -> None:
        with self._lock:
            self._waiting.discard(number)
            self._jobs.pop(number, None)

    def look(self) -> None:
        """Cancel jobs that nobody waits for or that are no longer permitted."""
        with self._lock:
            jobs = list(self._jobs.values())
        accounts = {job.account for job in jobs if job.account is not None}
        closed = {account for account in accounts if not self._may(account)}
        for job in jobs:
            if job.account in closed:
                job.cancel(AccessDeniedError("the account may not do this any more"))
            elif self._longest_s is not None and job.running_s > self._longest_s:
                job.cancel(
                    TooLongError(f"this took longer than {self._longest_s:g} s and was stopped")
                )
            elif not job.is_wanted:
                job.cancel()

    def _look_after(self) -> None:
        while not self._closed.wait(_POLL_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - one fault must not end the checks
                log_failure("checking jobs")

    def close(self) -> None:
        """Cancel everything and wait for the threads to end."""
        with self._lock:
            self._closed.set()
            jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def stoppable(report: Report, cancel: threading.Event) -> Callable[[float], None]:
    """Passes on the seconds of a file that were read, and stops the work once ``cancel`` is set.

    For work that can be stopped by what it tells its progress to.
    """

    def told(seconds: float) -> None:
        if cancel.is_set():
            raise CancelledError
        report(seconds)

    return told
