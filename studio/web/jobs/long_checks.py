"""Verifications over REST: answered at once, or as a job where they are long.

How long a recording is shows when it is read. One that turns out to be longer than an upload may be
is examined as a long job, in the line of the Verify tab's long recordings: the caller is given its
id (202) and asks how it stands. A restart ends a job. What was written down of it says so then, and
tells at every server how it stands (:mod:`studio.core.db.long_checks`).
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from studio.core.errors import LedgerError, NotYoursError, StudioError
from studio.web.errors import answer_of
from studio.web.jobs.examinations import decode_limits, most_values
from studio.web.jobs.queue import Job, JobRunner, stoppable
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.rate_limit import log_failure

if TYPE_CHECKING:
    from fastapi import Request

    from studio.accounts.permissions import Actor
    from studio.app.session import Session
    from studio.core.config import UploadConfig
    from studio.core.db.long_checks import CheckRecord, CheckRecords
    from studio.web.http.uploads import Uploads
    from watermark.audio.waveform import DecodeLimits

__all__ = ["Checks", "LongCheck", "StoredCheck", "Work"]

_logger = logging.getLogger(__name__)
_WRITE_S = 2.0  # how often it is written down how a job stands

_Result = TypeVar("_Result")
_KEPT_S = 24 * 3600.0  # an ended job can be asked for so long

Work = Callable[[Path, "DecodeLimits", int, Callable[[float], None]], _Result]
"""Examines a file within limits and most values; tells the seconds read."""


class _LongError(Exception):
    """Stops the reading of a recording that turned out to be long."""


@dataclass(frozen=True, slots=True)
class LongCheck(Generic[_Result]):
    """One long examination."""

    id: str
    account_id: str | None
    name: str  # of the file
    case_id: str | None
    job: Job[_Result]
    begun_at: float  # monotonic, s

    @property
    def read_s(self) -> float | None:
        """Seconds of the recording read in this pass."""
        progress = self.job.moment().progress
        return progress if isinstance(progress, float) else None

    def cancel(self) -> None:
        """Stop it; it has ended when its state says so."""
        self.job.cancel()

    @property
    def state(self) -> str:
        """queued, running, cancelling, done, cancelled or failed."""
        now = self.job.moment()
        if not self.job.ended:
            if now.cancelling:
                return "cancelling"
            return "queued" if now.queue_position or now.progress is None else "running"
        try:
            self.job.result()
        except CancelledError:
            return "cancelled"
        except Exception:  # noqa: BLE001 - told by error()
            return "failed"
        return "done"

    def error(self) -> dict[str, str] | None:
        """Why it failed; None where it did not."""
        if self.state != "failed":
            return None
        try:
            self.job.result()
        except StudioError as exc:
            return {"code": answer_of(exc)[1], "message": str(exc)}
        except Exception:  # noqa: BLE001 - the work logged it; a stranger gets a reference
            return {"code": "failed", "message": f"our fault; reference {self.id[:8]}"}
        return None

    def to_json(self, shown: Callable[[_Result], dict[str, Any]]) -> dict[str, Any]:
        """How it stands, with the answer once there is one."""
        now = self.job.moment()
        state = self.state
        return {
            "id": self.id,
            "name": self.name,
            "case_id": self.case_id,
            "state": state,
            "ahead": now.queue_position,
            "read_s": self.read_s,
            "elapsed_s": round(now.elapsed_s, 1),
            "answer": shown(self.job.result()) if state == "done" else None,
            "error": self.error(),
        }


class StoredCheck:
    """One long examination of another server, or of before a restart."""

    def __init__(self, record: CheckRecord, records: CheckRecords) -> None:
        self._record = record
        self._records = records
        self.id = record.check_id
        self.name = record.name

    @property
    def state(self) -> str:
        """See :class:`LongCheck`."""
        return self._record.state

    @property
    def read_s(self) -> float | None:
        """See :class:`LongCheck`."""
        read_s = self._record.body["read_s"]
        return None if read_s is None else float(read_s)

    def cancel(self) -> None:
        """See :class:`LongCheck`."""
        self._records.stop(self.id)

    def error(self) -> dict[str, str] | None:
        """See :class:`LongCheck`."""
        found: dict[str, str] | None = self._record.body["error"]
        return found

    def to_json(self, _shown: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """See :class:`LongCheck`; the answer of a file of a case is in the case alone."""
        return dict(self._record.body)


class Checks:
    """Examines uploads; keeps the long jobs. Safe to share between threads."""

    def __init__(
        self,
        config: UploadConfig,
        uploads: Uploads,
        checking: JobRunner,
        long: JobRunner,
        records: Callable[[], CheckRecords],
    ) -> None:
        self.uploads = uploads
        self._records = records
        self._closed = threading.Event()
        self._writer: threading.Thread | None = None
        self._unwritten: dict[str, LongCheck[Any]] = {}  # that have not ended, as far as written
        self._config = config
        self._checking = checking
        self._long = long
        self._lock = threading.Lock()
        self._jobs: dict[str, LongCheck[Any]] = {}

    async def run(
        self,
        request: Request,
        session: Session,
        path: Path,
        work: Work[_Result],
        *,
        name: str,
        account: str,
        case_id: str | None = None,
    ) -> _Result | LongCheck[_Result]:
        """Examine a file: the answer, or a long job. An upload is deleted afterwards.

        Raises what the work raises, and as :meth:`JobRunner.submit` does.
        """
        most_s = self._config.max_duration_s

        def short(tell: Callable[[Any], None], cancel: threading.Event) -> _Result:
            told = stoppable(tell, cancel)

            def read(seconds: float) -> None:
                if seconds > most_s:
                    raise _LongError
                told(seconds)

            limits = decode_limits(self._config, long=False)
            return work(path, limits, most_values(self._config, long=False), read)

        kept = False
        try:
            job = self._checking.submit(short, account=account)
            try:
                return await while_connected(request, job)
            except _LongError:
                found = self._book(session, path, work, name, account, case_id)
                kept = True
                return found
        finally:
            if not kept:
                self.uploads.discard(path)

    def find(self, actor: Actor, id_: str) -> LongCheck[Any] | StoredCheck:
        """The actor's own job of that id. Raises :class:`NotYoursError`."""
        with self._lock:
            here = self._jobs.get(id_)
        known = self._records().find(id_) if here is None else here
        if known is None or known.account_id != actor.account_id:
            raise NotYoursError("no such examination, or not yours")
        return known if isinstance(known, LongCheck) else StoredCheck(known, self._records())

    def of_case(self, case_id: str) -> list[LongCheck[Any] | StoredCheck]:
        """The jobs of a case that are not done, oldest first; for whoever may see the case."""
        with self._lock:
            here = {check.id: check for check in self._jobs.values() if check.case_id == case_id}
        records = self._records()
        elsewhere: list[LongCheck[Any] | StoredCheck] = [
            StoredCheck(each, records)
            for each in records.of_case(case_id)
            if each.check_id not in here
        ]
        return [check for check in [*elsewhere, *here.values()] if check.state != "done"]

    def close(self) -> None:
        """Write nothing more: what is at work was interrupted."""
        self._closed.set()
        with self._lock:
            writer, checks = self._writer, list(self._unwritten.values())
        if writer is not None:
            writer.join()
            with suppress(LedgerError):  # it is told so after a while
                for check in checks:
                    if check.job.ended:
                        self._write_one(self._records(), check)
                self._records().abandon([check.id for check in checks])

    # -- what other servers are told --------------------------------------------------------------

    def _write(self) -> None:
        records = self._records()
        while not self._closed.wait(_WRITE_S):
            with self._lock:
                checks = list(self._unwritten.values())
                if not checks:
                    self._writer = None
                    return
            for check in checks:
                try:
                    self._write_one(records, check)
                except LedgerError as exc:  # the next time
                    _logger.info("how an examination stands cannot be written down: %s", exc)

    def _write_one(self, records: CheckRecords, check: LongCheck[Any]) -> None:
        ended = check.job.ended
        if records.write(check.id, _body(check), live=not ended) and not ended:
            check.cancel()
        if ended:
            with self._lock:
                self._unwritten.pop(check.id, None)

    def _book(
        self,
        session: Session,
        path: Path,
        work: Work[_Result],
        name: str,
        account: str,
        case_id: str | None,
    ) -> LongCheck[_Result]:
        id_ = secrets.token_hex(16)

        def long(tell: Callable[[Any], None], cancel: threading.Event) -> _Result:
            try:
                limits = decode_limits(self._config, long=True)
                most = most_values(self._config, long=True)
                return work(path, limits, most, stoppable(tell, cancel))
            except (StudioError, CancelledError):
                raise
            except Exception:
                log_failure("verification", id_[:8])
                raise
            finally:
                self.uploads.discard(path)

        with self._lock:
            since = time.monotonic() - _KEPT_S
            for old in [each for each in self._jobs.values() if each.begun_at < since]:
                if old.job.ended:
                    del self._jobs[old.id]
            self.uploads.hold(path)
            job = self._long.submit(long, account=account, id_=id_)
            job.when_dropped(lambda: self.uploads.discard(path))
            check = LongCheck(id_, session.actor.account_id, name, case_id, job, time.monotonic())
            self._jobs[id_] = check
        try:
            self._records().begin(
                id_, account_id=check.account_id, case_id=case_id, name=name, body=_body(check)
            )
        except LedgerError:  # who asked would not find it again
            job.cancel()
            raise
        with self._lock:
            self._unwritten[id_] = check
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write, name="studio-long-checks", daemon=True
                )
                self._writer.start()
        return check


def _body(check: LongCheck[Any]) -> dict[str, Any]:
    """What is written down of a job; a case has the answer about its file itself."""
    if check.case_id is None:
        return check.to_json(lambda found: dict(found.to_json()))
    return {**check.to_json(lambda _found: {}), "answer": None}
