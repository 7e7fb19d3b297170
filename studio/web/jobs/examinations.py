"""The Verify tab's files: one list per account, kept on the server.

A page hands over new files only; what was answered stays in the list until its owner clears it. One
file of an account is examined at a time, so that nobody's catalogue keeps others waiting. A file
longer than an upload may be is examined as a long job, in a line of its own.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import StudioError, UsageError
from studio.web.jobs.comparisons import KeptComparisons
from studio.web.jobs.queue import BusyError, Job, JobRunner, TooManyRequestsError
from studio.web.jobs.watching import watch
from studio.web.middleware.auth import LOCAL
from studio.web.middleware.rate_limit import log_failure
from watermark.errors import WatermarkError

if TYPE_CHECKING:
    from studio.accounts.permissions import Actor
    from studio.app.session import Session
    from studio.core.config import UploadConfig
    from studio.verification.comparison import Comparison
    from studio.verification.holding import HeldFile
    from studio.verification.report import VerifyReport
    from studio.web.http.uploads import Uploads
    from watermark.audio.waveform import DecodeLimits

__all__ = [
    "LONG_S",
    "Examination",
    "ExaminationState",
    "Examinations",
    "Folder",
    "decode_limits",
    "most_values",
    "owner_key",
]

LONG_S = 12 * 3600.0
"""Longest recording that is examined as a long job, in seconds."""

_LONG_DEADLINE_S = 3600.0  # that the decoder may work on it
_LONG_SHARE = 8  # times the samples of an upload: 12 hours of stereo
_WAITING = 1000  # files of one account in line
_KEPT = 500  # answers of one account; the oldest go first
_SHOWN_URL = 128  # characters of an address that stand for its name
_AGAIN_S = 1.0  # until a full line is tried again


class ExaminationState(StrEnum):
    """How one file stands."""

    WAITING = "waiting"
    WORKING = "working"
    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (ExaminationState.WAITING, ExaminationState.WORKING)


@dataclass(slots=True)
class Examination:
    """One file of one account.

    Attributes:
        failure: the error, or the reference of a fault of ours in the log.
        long: whether it is longer than an upload may be, and so examined as a long job.
        url: the address that it is fetched from; empty for an upload.
        held: what was fetched.
    """

    id: str
    name: str
    path: Path  # of an upload
    session: Session  # the account's
    long: bool = False
    url: str = ""
    held: HeldFile | None = None
    state: ExaminationState = ExaminationState.WAITING
    report: VerifyReport | None = None
    failure: BaseException | str | None = None
    job: Job[VerifyReport] | None = None
    compared: tuple[Comparison, ...] = ()  # matched parts beside their originals

    @property
    def elapsed_s(self) -> float:
        return 0.0 if self.job is None else self.job.moment().elapsed_s

    @property
    def read_s(self) -> float | None:
        """Seconds of the recording read so far."""
        progress = None if self.job is None else self.job.moment().progress
        return progress if isinstance(progress, float) else None

    @property
    def queue_position(self) -> int:
        """Files of others that start before this one."""
        return 0 if self.job is None else self.job.moment().queue_position


class _LongError(Exception):
    """Stops the reading of a file that turned out to be long; it is examined as a long job."""


@dataclass(slots=True)
class Folder:
    """The list of one account, oldest first, and the page sessions that watch it."""

    owner: str
    items: list[Examination] = field(default_factory=list)
    watchers: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def busy(self) -> bool:
        return any(not item.state.ended for item in self.items)


class Examinations:
    """Every account's list. Safe to share between threads."""

    def __init__(
        self,
        checking: JobRunner,
        long: JobRunner,
        uploads: Uploads,
    ) -> None:
        self._checking = checking
        self._long = long
        self._uploads = uploads
        self.kept = KeptComparisons(uploads.folder)
        self._lock = threading.Lock()
        self._folders: dict[str, Folder] = {}

    def folder(self, owner: str) -> Folder:
        """The list of an account (see :func:`owner_key`)."""
        with self._lock:
            return self._folders.setdefault(owner, Folder(owner))

    def add(
        self, owner: str, session: Session, path: Path, *, name: str, long: bool = False
    ) -> None:
        """Put a file in line; it is deleted once it was examined. ``long``: it is known to be.

        Raises :class:`~studio.core.errors.UsageError` for a path that is no upload, and where as
        many files of the account are in line as may be.
        """
        if not self._uploads.hold(path):
            raise UsageError(f"{name} is no longer here; drop it again")
        self._book(owner, Examination(secrets.token_hex(8), name, path, session, long=long))

    def add_url(self, owner: str, session: Session, url: str) -> None:
        """Put an address in line: it is fetched, held and examined.

        Whether it may be is said in its answer. Raises as :meth:`add` does.
        """
        name = url[:_SHOWN_URL]
        self._book(owner, Examination(secrets.token_hex(8), name, Path(), session, url=url))

    def _book(self, owner: str, item: Examination) -> None:
        folder = self.folder(owner)
        with folder.changed:
            if sum(not each.state.ended for each in folder.items) >= _WAITING:
                self._uploads.discard(item.path)
                raise UsageError(f"{_WAITING} of your files are in line; let some end first")
            folder.items.append(item)
            ended = [each for each in folder.items if each.state.ended]
            for old in ended[: max(0, len(folder.items) - _KEPT)]:
                folder.items.remove(old)
                self.kept.forget(old.id)
        self._advance(folder)

    def stop(self, owner: str) -> None:
        """Give up what is at work and examine nothing further; answers stay."""
        folder = self.folder(owner)
        with folder.changed:
            waiting = [each for each in folder.items if each.state is ExaminationState.WAITING]
            working = [each for each in folder.items if each.state is ExaminationState.WORKING]
        for item in waiting:
            self._end(folder, item, ExaminationState.CANCELLED)
        for item in working:
            if item.job is not None:
                item.job.cancel()
                if item.job.ended:  # it had waited in the line; the work itself says so otherwise
                    self._end(folder, item, ExaminationState.CANCELLED)

    def clear(self, owner: str) -> None:
        """Forget the answers; what is at work or in line stays."""
        folder = self.folder(owner)
        with folder.changed:
            for ended in (each for each in folder.items if each.state.ended):
                self.kept.forget(ended.id)
            folder.items = [each for each in folder.items if not each.state.ended]
            folder.changed.notify_all()

    def find(self, owner: str, id_: str) -> Examination | None:
        """The account's own examination of that id."""
        folder = self.folder(owner)
        with folder.changed:
            return next((each for each in folder.items if each.id == id_), None)

    def reports(self, owner: str) -> list[VerifyReport]:
        """Every answer of the account, in the order of the files."""
        folder = self.folder(owner)
        with folder.changed:
            return [each.report for each in folder.items if each.report is not None]

    def watch(self, owner: str, session: str) -> Iterator[list[Examination]]:
        """The list now, and again as it changes, until nothing is in line.

        A page session watches once: a second watch of it ends at once.
        """
        folder = self.folder(owner)
        return watch(
            folder.changed, folder.watchers, session, lambda: (list(folder.items), folder.busy)
        )

    # -- the work -------------------------------------------------------------------------------

    def _advance(self, folder: Folder) -> None:
        """Start the next file where none of the account is at work."""
        with folder.changed:
            folder.changed.notify_all()
            if any(each.state is ExaminationState.WORKING for each in folder.items):
                return
            item = next(
                (each for each in folder.items if each.state is ExaminationState.WAITING), None
            )
            if item is None:
                return
            try:
                self._start(folder, item)
            except (BusyError, TooManyRequestsError):  # the line is full: it keeps its place
                again = threading.Timer(_AGAIN_S, self._advance, [folder])
                again.daemon = True
                again.start()
            except RuntimeError:  # the server stops
                item.state = ExaminationState.CANCELLED

    def _start(self, folder: Folder, item: Examination) -> None:
        runner = self._long if item.long else self._checking
        item.state = ExaminationState.WORKING
        try:
            item.job = runner.submit(
                lambda report, cancel: self._work(folder, item, report, cancel),
                account=folder.owner,
            )
            item.job.when_dropped(lambda: self._end(folder, item, ExaminationState.CANCELLED))
        except BaseException:
            item.state = ExaminationState.WAITING
            raise

    def _work(
        self,
        folder: Folder,
        item: Examination,
        tell: Callable[[Any], None],
        cancel: threading.Event,
    ) -> VerifyReport:
        def told(seconds: float) -> None:
            if cancel.is_set():
                raise CancelledError
            if not item.long and seconds > item.session.config.uploads.max_duration_s:
                raise _LongError
            tell(seconds)

        state = ExaminationState.FAILED
        try:
            uploads = item.session.config.uploads
            limits = decode_limits(uploads, long=item.long)
            if item.url and item.held is None:
                item.held = item.session.verification.hold(item.url, progress=told)
            report = item.session.verification.verify(
                item.held or item.path,
                limits=limits,
                max_values=most_values(uploads, long=item.long),
                progress=told,
            )
            self._compare(item, report, limits)
            report = replace(report, comparisons=item.compared)
            item.report, state = report, ExaminationState.ANSWERED
            return report
        except _LongError:
            item.long, state = True, ExaminationState.WAITING
            raise
        except CancelledError:
            why = None if item.job is None else item.job.why
            if why is None:
                state = ExaminationState.CANCELLED
            else:
                item.failure = why
            raise
        except (StudioError, WatermarkError) as exc:
            item.failure = exc
            raise
        except Exception:
            item.failure = log_failure("verification")
            raise
        finally:
            self._end(folder, item, state)

    def _compare(self, item: Examination, report: VerifyReport, limits: DecodeLimits) -> None:
        """Keep what matches an original; the answer stands without it."""
        if not report.matches:
            return
        path = item.path if item.held is None else item.held.path
        parts = item.session.verification.compare(path, report, limits=limits)
        if not parts:
            return
        try:
            self.kept.keep(item.id, parts)
            item.compared = tuple(part.comparison for part in parts)
        except OSError:
            log_failure("a comparison")

    def _end(self, folder: Folder, item: Examination, state: ExaminationState) -> None:
        with folder.changed:
            if item.state.ended:
                return
            item.state = state
        if state.ended:
            self._uploads.discard(item.path)
        self._advance(folder)


def decode_limits(uploads: UploadConfig, *, long: bool) -> DecodeLimits:
    """Longer than an upload may be: how long a file is shows only when it is read."""
    from watermark.audio.waveform import DecodeLimits

    return DecodeLimits(
        max_duration_s=LONG_S,
        max_bytes=uploads.max_bytes,
        deadline_s=_LONG_DEADLINE_S if long else uploads.deadline_s,
        isolated=uploads.isolate,
        unfiltered=uploads.allow_unfiltered,
    )


def most_values(uploads: UploadConfig, *, long: bool) -> int:
    """Samples times channels that are examined, of all streams of a file together."""
    return uploads.max_values * (_LONG_SHARE if long else 1)


def owner_key(actor: Actor) -> str:
    """Whose list: the account's, or the one list of a studio without accounts."""
    return actor.account_id or LOCAL
