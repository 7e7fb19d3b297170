"""Generation jobs of the REST API: their owners and states."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.accounts.permissions import Actor
from studio.core.errors import GenerationCancelledError, NotYoursError, StudioError
from studio.generation.takes import Take
from studio.web.errors import answer_of
from studio.web.jobs.queue import Job, JobRunner, Report
from studio.web.middleware.rate_limit import log_failure

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.preview import Preview
    from studio.provenance.release import Release

__all__ = ["JobStore", "Making", "StoredJob"]

Making = Callable[["Session", Report, threading.Event], "Release | tuple[Take, ...]"]
"""Makes music, or several takes, in a session; tells its progress, and stops on an event."""

_KEPT_S = 3600.0  # an ended job can be asked for so long


@dataclass(frozen=True, slots=True)
class StoredJob:
    """One request with its place in the queue."""

    id: str
    account_id: str | None
    booked_at: float  # monotonic, s
    job: Job[tuple[Take, ...]]
    previews: tuple[Preview, ...] = ()  # of its takes, where they were asked for

    def to_json(self) -> dict[str, Any]:
        """How it stands; ``state`` is queued, running, cancelling, done, cancelled or failed."""
        now = self.job.moment()
        progress = now.news
        body: dict[str, Any] = {
            "id": self.id,
            "state": "queued" if now.ahead or progress is None else "running",
            "ahead": now.ahead,
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
            return {"state": "failed", "error": _told(exc)}
        except Exception:  # noqa: BLE001 - the work logged it; a stranger gets a reference
            return {"state": "failed", "error": self._fault()}
        made = [take.release.output_id for take in takes if take.release is not None]
        errors = [_told(take.error) for take in takes if isinstance(take.error, StudioError)]
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

    def book(
        self,
        session: Session,
        work: Making,
        *,
        account: str,
        previews: tuple[Preview, ...] = (),
    ) -> StoredJob:
        """Put a request of the session's actor in line; ``work`` is given the session.

        ``account`` pays for it. Raises :class:`~studio.web.jobs.queue.TooManyRequestsError` and
        :class:`~studio.web.jobs.queue.BusyError`.
        """
        with self._lock:
            self._forget_old()
            id_ = secrets.token_hex(16)
            booked = StoredJob(
                id=id_,
                account_id=session.actor.account_id,
                booked_at=time.monotonic(),
                job=self._runner.submit(
                    lambda report, cancel: _logged(id_, session, work, report, cancel),
                    account=account,
                    id_=id_,
                ),
                previews=previews,
            )
            self._jobs[id_] = booked
            return booked

    def find(self, actor: Actor, id_: str) -> StoredJob:
        """The actor's own job of that id. Raises :class:`NotYoursError`."""
        with self._lock:
            booked = self._jobs.get(id_)
        if booked is None or booked.account_id != actor.account_id:
            raise NotYoursError("no such job, or not yours")
        return booked

    def of(self, actor: Actor) -> list[StoredJob]:
        """The actor's jobs, newest first."""
        with self._lock:
            mine = [job for job in self._jobs.values() if job.account_id == actor.account_id]
        return mine[::-1]

    def _forget_old(self) -> None:
        since = time.monotonic() - _KEPT_S
        for booked in [job for job in self._jobs.values() if job.booked_at < since]:
            if booked.job.ended:
                del self._jobs[booked.id]


def _told(error: StudioError) -> dict[str, str]:
    return {"code": answer_of(error)[1], "message": str(error)}


def _logged(
    id_: str, session: Session, work: Making, report: Report, cancel: threading.Event
) -> tuple[Take, ...]:
    try:
        made = work(session, report, cancel)
        if not isinstance(made, tuple):
            return (Take(made.request, made),)
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
