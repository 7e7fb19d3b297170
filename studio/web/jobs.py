"""Work that outlasts one answer of the page: bounded, watched, and stopped when asked.

Making music takes seconds and uses a whole core, so a few run at a time and a bounded number wait.
A :class:`Job` is watched from the page's generator functions: :meth:`Job.watch` yields a
:class:`Moment` every 0.4 s until the work has ended, whichever way. Cancelling sets the
:class:`threading.Event` the work was given; the job has ended only when the work itself returned,
so what the page says about it is what happened.

>>> with JobRunner(running=1, waiting=4) as runner:
...     job = runner.submit(lambda report, cancel: report("half way") or 42)
...     moments = list(job.watch())
>>> job.result(), moments[-1].news
(42, 'half way')
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from studio.core.errors import StudioError

__all__ = ["BusyError", "Job", "JobRunner", "Moment"]

_Result = TypeVar("_Result")
_TICK_S = 0.4  # how often a watcher looks; the end of a job wakes it at once


class BusyError(StudioError):
    """As many requests wait as may wait; the text asks to come back."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a watcher sees of a job."""

    ahead: int  # requests that start before this one does; 0 once it runs
    news: Any  # the latest value the work reported, None before the first
    elapsed_s: float  # since it was submitted
    cancelling: bool


class Job(Generic[_Result]):
    """One piece of work in a :class:`JobRunner`."""

    def __init__(self, runner: JobRunner, number: int) -> None:
        self._runner = runner
        self._number = number
        self._cancel = threading.Event()
        self._news: Any = None
        self._submitted = time.monotonic()
        self._future: Future[_Result] | None = None

    def cancel(self) -> None:
        """Ask the work to stop. Safe to call at any time and more than once."""
        self._cancel.set()
        if self._future is not None and self._future.cancel():  # it was still waiting
            self._runner.forget(self._number)

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

    def moment(self) -> Moment:
        """How it stands right now, for one who asks from time to time instead of watching."""
        return Moment(
            ahead=self._runner.ahead_of(self._number),
            news=self._news,
            elapsed_s=time.monotonic() - self._submitted,
            cancelling=self._cancel.is_set(),
        )

    def result(self) -> _Result:
        """What the work returned; raises what it raised, or ``CancelledError`` if it never ran."""
        assert self._future is not None
        return self._future.result()

    def _start(self, work: Callable[[Callable[[Any], None], threading.Event], _Result]) -> _Result:
        self._runner.started(self._number)
        try:
            return work(self._report, self._cancel)
        finally:
            self._runner.forget(self._number)

    def _report(self, news: Any) -> None:
        self._news = news


class JobRunner:
    """Runs up to ``running`` jobs at a time, lets ``waiting`` more wait, refuses the rest."""

    def __init__(self, *, running: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=running, thread_name_prefix="studio-job")
        self._limit = running + waiting
        self._lock = threading.Lock()
        self._jobs: dict[int, Job[Any]] = {}
        self._waiting: set[int] = set()
        self._next = 0

    def submit(
        self, work: Callable[[Callable[[Any], None], threading.Event], _Result]
    ) -> Job[_Result]:
        """Queue ``work(report, cancel)``. Raises :class:`BusyError` when the queue is full."""
        with self._lock:
            if len(self._jobs) >= self._limit:
                raise BusyError(
                    f"The studio is busy: {len(self._jobs)} requests are in line. "
                    "Please try again in a minute."
                )
            number = self._next
            self._next += 1
            job: Job[_Result] = Job(self, number)
            self._jobs[number] = job
            self._waiting.add(number)
            job._future = self._pool.submit(job._start, work)
        return job

    def ahead_of(self, number: int) -> int:
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

    def close(self) -> None:
        """Cancel everything and wait for the threads to end."""
        with self._lock:
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
