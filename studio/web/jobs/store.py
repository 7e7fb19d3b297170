"""Generation jobs of the REST API: their owners and states."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from studio.core.errors import GenerationCancelledError, NotYoursError, StudioError
from studio.generation.takes import Take
from studio.web.errors import answer_of
from studio.web.jobs.queue import Job, JobRunner, Report
from studio.web.middleware.rate_limit import log_failure

if TYPE_CHECKING:
    from studio.accounts.permissions import Actor
    from studio.app.session import Session
    from studio.generation.orders import Order
    from studio.generation.preview import Hearable, Preview

__all__ = ["JobStore", "Jobs", "StoredJob", "SubmittedJob", "failure_json"]

_KEPT_S = 3600.0  # an ended job can be asked for so long


class SubmittedJob(Protocol):
    """One request with its place in the line."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def previews(self) -> tuple[Hearable, ...]:
        """The previews of the job's takes, where they were asked for."""

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""

    def to_json(self) -> dict[str, Any]:
        """How it stands; ``state`` is queued, running, cancelling, done, cancelled or failed."""


class Jobs(Protocol):
    """The requests of the REST layer."""

    def submit(
        self, session: Session, order: Order, *, account: str, previews: tuple[Preview, ...] = ()
    ) -> SubmittedJob:
        """Put a request of the session's actor in line.

        ``account`` pays for it. Raises :class:`~studio.core.errors.TooManyRequestsError` and
        :class:`~studio.core.errors.BusyError`.
        """

    def find(self, session: Session, id_: str) -> SubmittedJob:
        """The actor's own job of that id. Raises :class:`NotYoursError`."""

    def of(self, session: Session) -> Sequence[SubmittedJob]:
        """The actor's jobs, newest first."""

    def cancel(self, session: Session, id_: str) -> SubmittedJob:
        """Stop the actor's own job. Raises :class:`NotYoursError`."""


@dataclass(frozen=True, slots=True)
class StoredJob:
    """One request with its place in the line of this process."""

    id: str
    account_id: str | None
    submitted_at: float  # monotonic, s
    job: Job[tuple[Take, ...]]
    previews: tuple[Preview, ...] = ()

    @property
    def ended(self) -> bool:
        """See :class:`SubmittedJob`."""
        return self.job.ended

    def to_json(self) -> dict[str, Any]:
        """See :class:`SubmittedJob`."""
        now = self.job.moment()
        progress = now.progress
        body: dict[str, Any] = {
            "id": self.id,
            "state": "queued" if now.queue_position or progress is None else "running",
            "ahead": now.queue_position,
            "progress": 0.0 if progress is None else round(progress.fraction, 3),
            "text": "" if progress is None else progress.text,
            "output_id": None,
            "output_ids": [],
            "error": None,
        }
        if now.cancelling:
            body["state"] = "cancelling"
        if self.job.ended:
            body |= self._end()
        return body

    def _end(self) -> dict[str, Any]:
        try:
            takes = self.job.result()
        except (GenerationCancelledError, CancelledError):
            return {"state": "cancelled"}
        except StudioError as exc:
            return {"state": "failed", "error": failure_json(exc)}
        except Exception:  # noqa: BLE001 - the work logged it; a stranger gets a reference
            return {"state": "failed", "error": self._fault()}
        made = [take.release.output_id for take in takes if take.release is not None]
        errors = [failure_json(take.error) for take in takes if isinstance(take.error, StudioError)]
        lost = len(made) < len(takes)
        return {
            "state": "done",
            "progress": 1.0,
            "output_id": made[0],
            "output_ids": made,
            "error": (errors or [self._fault()])[0] if lost else None,
        }

    def _fault(self) -> dict[str, str]:
        return {"code": "failed", "message": f"our fault; reference {self.id[:8]}"}


class JobStore:
    """Books jobs in a :class:`~studio.web.jobs.queue.JobRunner` that the page uses as well."""

    def __init__(self, runner: JobRunner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._jobs: dict[str, StoredJob] = {}

    def submit(
        self, session: Session, order: Order, *, account: str, previews: tuple[Preview, ...] = ()
    ) -> StoredJob:
        """See :class:`Jobs`."""
        with self._lock:
            self._forget_old()
            id_ = secrets.token_hex(16)
            submitted = StoredJob(
                id=id_,
                account_id=session.actor.account_id,
                submitted_at=time.monotonic(),
                job=self._runner.submit(
                    lambda report, cancel: _logged(id_, session, order, previews, report, cancel),
                    account=account,
                    id_=id_,
                ),
                previews=previews,
            )
            self._jobs[id_] = submitted
            return submitted

    def find(self, session: Session, id_: str) -> StoredJob:
        """See :class:`Jobs`."""
        with self._lock:
            submitted = self._jobs.get(id_)
        if submitted is None or submitted.account_id != session.actor.account_id:
            raise NotYoursError("no such job, or not yours")
        return submitted

    def of(self, session: Session) -> list[StoredJob]:
        """See :class:`Jobs`."""
        with self._lock:
            return [job for job in self._jobs.values() if _is_of(job, session.actor)][::-1]

    def cancel(self, session: Session, id_: str) -> StoredJob:
        """See :class:`Jobs`."""
        submitted = self.find(session, id_)
        submitted.job.cancel()
        return submitted

    def _forget_old(self) -> None:
        since = time.monotonic() - _KEPT_S
        for submitted in [job for job in self._jobs.values() if job.submitted_at < since]:
            if submitted.job.ended:
                del self._jobs[submitted.id]


def failure_json(error: StudioError) -> dict[str, str]:
    """An error as the REST layer tells it: its code and its text."""
    return {"code": answer_of(error)[1], "message": str(error)}


def _is_of(job: StoredJob, actor: Actor) -> bool:
    return job.account_id == actor.account_id


def _logged(
    id_: str,
    session: Session,
    order: Order,
    previews: tuple[Preview, ...],
    report: Report,
    cancel: threading.Event,
) -> tuple[Take, ...]:
    try:
        made = session.generation.carry_out(
            order, progress=report, cancel=cancel, previews=previews
        )
        for take in made:
            if take.error is not None and not isinstance(take.error, StudioError):
                try:
                    raise take.error
                except Exception:  # noqa: BLE001 - logged as one that is being handled
                    log_failure("generation", id_[:8])
        return made
    except StudioError:
        raise
    except Exception:
        log_failure("generation", id_[:8])
        raise
