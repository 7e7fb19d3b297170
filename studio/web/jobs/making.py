"""Generation jobs of the page: per account, kept on the server.

A job belongs to an account, not to a browser tab: whoever opens the page again finds it at work, or
what became of it. What was at work when the server stopped is told as interrupted at the next
start; a small file in the studio's home remembers it.

>>> import tempfile
>>> from types import SimpleNamespace
>>> from studio.accounts.permissions import LOCAL_OWNER
>>> record = Path(tempfile.mkdtemp()) / "jobs.json"
>>> made = SimpleNamespace(output_id="9f2c00a1b2c3d4e5", request=None)
>>> generation = SimpleNamespace(vary=lambda source, **how: made)
>>> session = SimpleNamespace(actor=LOCAL_OWNER, generation=generation)
>>> order = Order("vary", "house", 10.0, source=made.output_id)
>>> with JobRunner(running=1, waiting=4) as runner:
...     making = Making(runner, record)
...     job = making.add(session, "jazz, 10 s", order, account="local")
...     *_, jobs = making.watch(session, "a page")
>>> jobs[0].state, record.exists()
(<JobState.DONE: 'done'>, False)
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.core.errors import GenerationCancelledError, StudioError
from studio.generation.orders import Order
from studio.generation.preview import Hearable, Preview
from studio.web.jobs.examinations import owner_key
from studio.web.jobs.queue import Job, JobRunner, Moment
from studio.web.jobs.watching import watch
from studio.web.middleware.rate_limit import log_failure
from watermark.errors import WatermarkError

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.progress import Progress
    from studio.provenance.release import Release

__all__ = ["JobState", "MadeJob", "Making", "PageJobs", "Standing", "Work"]

Work = Callable[[Callable[[Any], None], threading.Event], "Iterable[Release]"]
"""Given where to report progress and what cancels it, work yields each output as it is released."""

_KEPT_S = 3600.0  # that what became of a job is told


class Standing(Protocol):
    """What tells how a job stands."""

    def moment(self) -> Moment:
        """How it stands right now."""


class JobState(StrEnum):
    """How a job stands."""

    WAITING = "waiting"
    WORKING = "working"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # by a stop of the server

    @property
    def live(self) -> bool:
        return self in (JobState.WAITING, JobState.WORKING, JobState.STOPPING)


@dataclass(slots=True)
class MadeJob:
    """One request for music.

    Attributes:
        label: what was asked for, in a few words; nothing that a person typed.
        seconds: of music asked for, all takes together.
        output_ids: the outputs that were released so far, one a take.
        by_take: the same with a place for each take; None: in their order.
        attempt: how many times it was begun, by one worker after another.
        failure: the error, or the reference of a fault of ours in the log.
    """

    id: str
    owner: str
    label: str
    seconds: float
    model: str
    began: float  # monotonic, s
    job: Standing | None = None
    output_ids: tuple[str, ...] = ()
    failure: BaseException | str | None = None
    ended: JobState | None = None
    previews: tuple[Hearable, ...] = ()  # of the takes
    by_take: tuple[str | None, ...] | None = None
    attempt: int = 1

    @property
    def released(self) -> tuple[str | None, ...]:
        """The output of each take, None while it has none; takes at the end may be left out."""
        return self.output_ids if self.by_take is None else self.by_take

    @property
    def take(self) -> int:
        """The first take that is not released, counted from 1."""
        return next((n for n, each in enumerate((*self.released, None), 1) if each is None), 1)

    @property
    def state(self) -> JobState:
        if self.ended is not None:
            return self.ended
        now = None if self.job is None else self.job.moment()
        if now is None or (now.progress is None and now.queue_position):
            return JobState.WAITING
        return JobState.STOPPING if now.cancelling else JobState.WORKING


class PageJobs(Protocol):
    """The requests for music of the page: of this process, or of all that share a database."""

    def add(self, session: Session, label: str, order: Order, *, account: str) -> MadeJob:
        """Put an order in line; ``account`` pays for it."""

    def cancel(self, session: Session, id_: str | None = None) -> None:
        """Stop one job of the account, or all of them."""

    def dismiss(self, session: Session, id_: str | None = None) -> None:
        """Tell no more what became of a job, or of any."""

    def find(self, session: Session, id_: str) -> MadeJob | None:
        """The account's job of that id; None where it has none."""

    def watch(self, session: Session, page: str) -> Iterator[list[MadeJob]]:
        """The account's jobs now, and again as they go on, until none is in line."""

    def expected_s(self, model: str, seconds: float) -> float | None:
        """How long so much music of the model will take; None: unknown."""


class Making:
    """The jobs of every account of this process. Safe to share between threads."""

    def __init__(self, runner: JobRunner, record: Path) -> None:
        self._runner = runner
        self._record = record
        self._lock = threading.Condition()
        self._jobs: list[MadeJob] = self._interrupted()
        self._running: dict[str, Job[tuple[str, ...]]] = {}
        self._watchers: set[str] = set()
        self._pace: dict[str, float] = {}

    def add(self, session: Session, label: str, order: Order, *, account: str) -> MadeJob:
        """Put an order in line; ``account`` pays for it. What the runner refuses is raised.

        ``label`` is shown while it waits; nothing that a person typed. The job's ``previews``
        let each take be heard while it is made.
        """
        previews = tuple(Preview() for _ in range(order.takes))
        owner, work = owner_key(session.actor), _work_of(session, order, previews)
        made = MadeJob(
            secrets.token_hex(8),
            owner,
            label,
            order.seconds * order.takes,
            order.model,
            time.monotonic(),
            previews=previews,
        )
        with self._lock:
            job = self._runner.submit(
                lambda report, cancel: self._run(made, work, report, cancel), account=account
            )
            made.job = self._running[made.id] = job
            job.when_dropped(lambda: self._end(made, JobState.CANCELLED))
            self._forget(owner)
            self._jobs.append(made)
            self._remember()
            self._lock.notify_all()
        return made

    def of(self, session: Session) -> list[MadeJob]:
        """The account's jobs, oldest first: those in line, and what became of the others."""
        owner = owner_key(session.actor)
        with self._lock:
            return [job for job in self._jobs if job.owner == owner]

    def find(self, session: Session, id_: str) -> MadeJob | None:
        """The account's job of that id; None where it has none."""
        owner = owner_key(session.actor)
        with self._lock:
            return next((job for job in self._jobs if (job.owner, job.id) == (owner, id_)), None)

    def cancel(self, session: Session, id_: str | None = None) -> None:
        """Stop one job of the account, or all of them."""
        for made in self.of(session):
            if id_ in (None, made.id) and made.state.live and made.id in self._running:
                self._running[made.id].cancel()

    def dismiss(self, session: Session, id_: str | None = None) -> None:
        """Tell no more what became of a job, or of any."""
        owner = owner_key(session.actor)
        with self._lock:
            self._jobs = [
                job
                for job in self._jobs
                if job.state.live or job.owner != owner or id_ not in (None, job.id)
            ]

    def watch(self, session: Session, page: str) -> Iterator[list[MadeJob]]:
        """The account's jobs now, and again as they go on, until none is in line.

        A page session watches once: a second watch of it ends at once.
        """

        owner = owner_key(session.actor)

        def look() -> tuple[list[MadeJob], bool]:
            jobs = [job for job in self._jobs if job.owner == owner]
            return jobs, any(job.state.live for job in jobs)

        return watch(self._lock, self._watchers, page, look)

    def expected_s(self, model: str, seconds: float) -> float | None:
        """How long so much music of the model will take, by what was measured; None: unknown."""
        with self._lock:
            pace = self._pace.get(model)
        return None if pace is None else pace * seconds

    # -- the work -------------------------------------------------------------------------------

    def _run(
        self,
        made: MadeJob,
        work: Work,
        report: Callable[[Any], None],
        cancel: threading.Event,
    ) -> tuple[str, ...]:
        state, began = JobState.FAILED, time.monotonic()
        try:
            for release in work(report, cancel):
                with self._lock:
                    made.output_ids = (*made.output_ids, release.output_id)
                    self._lock.notify_all()
            state = JobState.DONE
            with self._lock:
                pace = (time.monotonic() - began) / max(1.0, made.seconds)
                self._pace[made.model] = (pace + self._pace.get(made.model, pace)) / 2
            return made.output_ids
        except (GenerationCancelledError, CancelledError):
            state = JobState.CANCELLED
            raise
        except (StudioError, WatermarkError) as exc:
            made.failure = exc
            raise
        except Exception:
            made.failure = log_failure("generation")
            raise
        finally:
            self._end(made, state)

    def _end(self, made: MadeJob, state: JobState) -> None:
        with self._lock:
            job = self._running.pop(made.id, None)
            why = None if job is None else job.why  # the runner stopped it
            if state is JobState.CANCELLED and why is not None:
                state, made.failure = JobState.FAILED, why
            made.ended = made.ended or state
            self._remember()
            self._lock.notify_all()

    def _forget(self, owner: str) -> None:
        """A new request replaces what was told of earlier ones."""
        since = time.monotonic() - _KEPT_S
        self._jobs = [
            job
            for job in self._jobs
            if job.state.live or (job.owner != owner and job.began >= since)
        ]

    # -- what was at work when the server stopped -----------------------------------------------

    def _remember(self) -> None:
        live = [
            {"owner": job.owner, "label": job.label, "seconds": job.seconds, "model": job.model}
            for job in self._jobs
            if job.state.live
        ]
        if not live:
            self._record.unlink(missing_ok=True)
            return
        beside = self._record.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(live, file)
        beside.replace(self._record)

    def _interrupted(self) -> list[MadeJob]:
        try:
            kept = json.loads(self._record.read_text())
            self._record.unlink(missing_ok=True)
            return [
                MadeJob(
                    id=secrets.token_hex(8),
                    owner=str(each["owner"]),
                    label=str(each["label"]),
                    seconds=float(each["seconds"]),
                    model=str(each["model"]),
                    began=time.monotonic(),
                    ended=JobState.INTERRUPTED,
                )
                for each in kept
            ]
        except (OSError, ValueError, TypeError, KeyError):
            return []


def _work_of(session: Session, order: Order, previews: Sequence[Preview]) -> Work:
    """What carries an order out, each take after the other, so that the first is there early."""

    def work(report: Callable[[Any], None], cancel: threading.Event) -> Iterator[Release]:
        making = session.generation
        if order.kind != "create":
            assert order.source is not None
            go_on = making.vary if order.kind == "vary" else making.extend
            yield go_on(
                order.source,
                progress=report,
                cancel=cancel,
                preview=previews[0],
                **order.arguments(),
            )
            return
        for number, (request, heard) in enumerate(zip(order.requests(), previews, strict=True)):
            told = _of_all(report, number, order.takes)
            yield making.create(request, progress=told, cancel=cancel, preview=heard)

    return work


def _of_all(report: Callable[[Any], None], number: int, count: int) -> Callable[[Progress], None]:
    """Report the progress of one take as that of all."""

    def told(step: Progress) -> None:
        if count > 1:
            fraction = (number + step.fraction) / count
            step = replace(
                step, fraction=fraction, text=f"Take {number + 1} of {count}: {step.text}"
            )
        report(step)

    return told
