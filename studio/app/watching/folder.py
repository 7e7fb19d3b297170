"""Verify the files of a watched folder, each content once.

The examinations are those of ``studio verify``: the same use cases, limits and ledger entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.app.watching.arrivals import Arrival, Arrivals, TakingError, TooLargeError
from studio.app.watching.webhook import message
from studio.core.errors import BeyondLimitsError, FileAbsentError, StudioError

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.app.watching.store import WatchStore
    from watermark.audio.waveform import DecodeLimits

__all__ = ["FolderWatch", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is said of one file that arrived.

    Attributes:
        arrival: the file.
        body: as JSON; with ``verdict``, or with ``error`` and ``kind``.
        sha256: of the content that was examined; None where nothing was.
        repeated: the content was examined before, under this or another name.
        settled: whether it is dealt with; otherwise it is looked at again.
    """

    arrival: Arrival
    body: Mapping[str, Any]
    sha256: str | None = None
    repeated: bool = False
    settled: bool = True

    @property
    def verdict(self) -> str | None:
        found = self.body.get("verdict")
        return None if found is None else str(found)


class FolderWatch:
    """Examines the files of a folder, one after the other.

    Args:
        session: of whoever watches.
        arrivals: the folder.
        store: of what was examined.
        limits: on decoding, and on bytes.
        case_id: of the case that the files are put into; None for none.
        shown: a name made fit to be printed.
        hook: whether others are told, and called when a message waits.
    """

    def __init__(
        self,
        session: Session,
        arrivals: Arrivals,
        store: WatchStore,
        *,
        limits: DecodeLimits,
        case_id: str | None,
        shown: Callable[[str], str],
        hook: Callable[[], None] | None = None,
    ) -> None:
        self.arrivals = arrivals
        self._session = session
        self._store = store
        self._limits = limits
        self._case_id = case_id
        self._shown = shown
        self._hook = hook

    def complete(self) -> dict[str, Arrival]:
        """Files to examine now, by name, the oldest first. Raises :class:`OSError`."""
        return {found.name: found for found in self.arrivals.look(self._store.is_known)}

    def examine(
        self, arrival: Arrival, progress: Callable[[float], None]
    ) -> Outcome | StudioError | None:
        """What is said of a file; None where there is nothing new to say of it.

        A :class:`StudioError` is a fault of the studio and nothing about the file. Nothing counts
        as dealt with until :meth:`settle` is called.
        """
        try:
            with self.arrivals.taken(arrival, self._store.spool, self._limits.max_bytes) as taken:
                return self._examine(arrival, taken.path, taken.sha256, progress)
        except TooLargeError as exc:
            return self._failed(arrival, None, str(exc), "TooLarge")
        except TakingError as exc:
            if exc.changing:
                return None  # it is waited for anew
            return self._failed(arrival, None, str(exc), "Absent", settled=False)

    def _examine(
        self, arrival: Arrival, path: Path, digest: str, progress: Callable[[float], None]
    ) -> Outcome | StudioError | None:
        known = self._store.answer_of(digest)
        if known is not None:
            if self._store.is_same_name(arrival):  # touched, or restored from a backup
                self._store.done(arrival, None, {})
                return None
            return Outcome(arrival, {**self._named(arrival), **known}, digest, repeated=True)
        size = self._session.verification.ledger_size()
        since = self._store.begin(digest, size)
        try:
            body = self._verdict(arrival, path, digest, since, progress)
        except BeyondLimitsError as exc:
            return self._failed(arrival, digest, str(exc), type(exc.__cause__).__name__)
        except FileAbsentError as exc:  # our own copy: the disk, not the file
            return self._failed(arrival, None, str(exc), "Absent", settled=False)
        except StudioError as exc:
            return exc
        return Outcome(arrival, {**body, **self._named(arrival)}, digest)

    def _verdict(
        self,
        arrival: Arrival,
        path: Path,
        digest: str,
        since: int | None,
        progress: Callable[[float], None],
    ) -> Mapping[str, Any]:
        name = self._shown(Path(arrival.name).name)
        if self._case_id is None:
            report = self._session.verification.verify(
                path, limits=self._limits, progress=progress, recorded_since=since
            )
            return replace(report, file=name).to_json()
        case = self._session.cases.examine(
            self._case_id,
            path,
            name=name,
            limits=self._limits,
            progress=progress,
            recorded_since=since,
        )
        newest = next(each for each in reversed(case.examinations) if each.sha256 == digest)
        return {**newest.report, "case": {"case_id": case.case_id, "number": newest.number}}

    def settle(self, outcome: Outcome) -> None:
        """The outcome was told: it counts as dealt with, and others are told."""
        if not outcome.settled:
            self.arrivals.postpone(outcome.arrival.name)
            return
        told = None
        if self._hook is not None and not outcome.repeated:
            kind = "verification.failed" if outcome.verdict is None else "verification.completed"
            told = message(kind, outcome.body)
        kept = {key: outcome.body[key] for key in _KEPT if outcome.body.get(key) is not None}
        self._store.done(outcome.arrival, outcome.sha256, kept, told)
        self.arrivals.settle(outcome.arrival.name)
        if told is not None and self._hook is not None:
            self._hook()

    def postpone(self, name: str) -> None:
        """The file could not be examined for now."""
        self.arrivals.postpone(name)

    def _failed(
        self, arrival: Arrival, digest: str | None, why: str, kind: str, *, settled: bool = True
    ) -> Outcome:
        body = {**self._named(arrival), "error": why, "kind": kind, "sha256": digest}
        return Outcome(arrival, body, digest, settled=settled)

    def _named(self, arrival: Arrival) -> dict[str, Any]:
        return {"file": self._shown(Path(arrival.name).name), "path": self._shown(arrival.name)}


_KEPT = ("verdict", "error", "kind", "sha256", "recorded", "case", "duration_s", "seal_id")
