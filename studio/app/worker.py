"""A worker process: it takes generation jobs from the database and runs them.

::

    claim → make each take → release it with a note that the take is made → say that it is done

A job that shall be heard while it is made sends its sealed music on as it comes
(:mod:`studio.generation.preview_pieces`).

While it works it renews its claim. Where it cannot (the process was killed, stopped, or lost the
database), another worker takes the job over and makes the takes that were not released. What this
worker still tries to release then is refused in the database, so nothing is released twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission
from studio.app.session import Session
from studio.core.errors import (
    AccessDeniedError,
    GenerationCancelledError,
    LedgerError,
    StudioError,
)
from studio.generation.attempts import Claim, LeaseLostError
from studio.generation.job_queue import FAULT, JobQueue, TakeAttempt
from studio.generation.preview_pieces import CarriedPreview, PreviewPieces
from studio.generation.releasing.staging import complete_interrupted
from studio.generation.takes import Take
from watermark.errors import WatermarkError
from watermark.util.logs import tagged

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.generation.progress import Progress

__all__ = ["Worker"]

_logger = logging.getLogger(__name__)
_IDLE_S = 0.2  # until a worker without a job looks again
_RENEW_S = 1.0  # at most, so that a job that shall stop stops soon
_SEEN_S = 15.0  # how often a worker says that it lives


class Worker:
    """Makes the music of jobs until it is told to end.

    Args:
        studio: whose jobs.
        models: ids of the models that this worker plays.
        jobs: how many it works at at a time.
        grace_s: how long a job may go on once the worker shall end; then it is put back in line.
    """

    def __init__(
        self,
        studio: Container,
        models: Collection[str],
        *,
        jobs: int = 1,
        grace_s: float = 60.0,
    ) -> None:
        self.worker_id = secrets.token_hex(8)
        self._studio = studio
        self._queue: JobQueue = studio.job_queue()
        self._pieces = PreviewPieces(studio.database())
        self._models = tuple(models)
        self._jobs = jobs
        self._grace_s = grace_s
        self._ending = threading.Event()
        self._give_up = threading.Event()  # the grace is over

    def run(self) -> None:
        """Work until :meth:`end`. Raises :class:`LedgerError` where the line cannot be reached."""
        complete_interrupted(self._studio.paths, self._studio.ledger())
        self._queue.announce(self.worker_id, self._models)
        threads = [
            threading.Thread(target=self._slot, name=f"studio-work-{number}")
            for number in range(self._jobs)
        ]
        for thread in threads:
            thread.start()
        seen = time.monotonic()
        while not self._ending.wait(_IDLE_S):
            if time.monotonic() - seen > _SEEN_S:
                seen = time.monotonic()
                with suppress(LedgerError):
                    self._queue.announce(self.worker_id, self._models)
        ends = time.monotonic() + self._grace_s
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
        self._give_up.set()
        for thread in threads:
            thread.join()
        with suppress(LedgerError):
            self._queue.leave(self.worker_id)

    def end(self) -> None:
        """Take no more jobs; those at work may end within the grace."""
        self._ending.set()

    # -- one job --------------------------------------------------------------------------------

    def _slot(self) -> None:
        while not self._ending.is_set():
            claim = None
            try:
                claim = self._queue.claim(self._models)
            except StudioError:
                _logger.exception("the line of jobs cannot be read; trying again")
                self._ending.wait(5.0)
            if claim is None:
                self._ending.wait(_IDLE_S)
                continue
            with tagged(job=claim.job_id):
                self._work(claim)

    def _work(self, claim: Claim) -> None:
        began = time.monotonic()
        _logger.info("job begun, attempt %d", claim.attempts)
        held = _Held(self._studio, self._queue, claim, self._give_up)
        try:
            with held:
                error = self._make(claim, held)
            self._queue.finish(claim, "done", error)
            state = "done"
        except LeaseLostError:
            state = "lost"
        except GenerationCancelledError as exc:
            state = self._cancelled(claim, held, exc)
        except LedgerError:  # the database is away: the lease ends, and the job is begun anew
            _logger.exception("the job broke off")
            state = "broken off"
        except (StudioError, WatermarkError) as exc:
            state = self._failed(claim, type(exc).__name__, str(exc))
        except Exception:
            reference = claim.job_id[:8]
            _logger.exception("generation failed, reference %s", reference)
            state = self._failed(claim, FAULT, reference)
        _logger.info("job ended after %.1f s: %s", time.monotonic() - began, state)

    def _cancelled(self, claim: Claim, held: _Held, error: StudioError) -> str:
        with suppress(LedgerError):
            if held.lost:
                return "lost"
            if held.why is not None:
                return self._failed(claim, type(held.why).__name__, str(held.why))
            if held.stop_asked:
                self._queue.finish(claim, "cancelled")
                return "cancelled"
            self._queue.give_back(claim)
            return "put back in line"
        return "broken off"

    def _failed(self, claim: Claim, kind: str, text: str) -> str:
        with suppress(LedgerError):
            self._queue.finish(claim, "failed", (kind, text))
        return f"failed, {kind}"

    def _make(self, claim: Claim, held: _Held) -> tuple[str, str] | None:
        """Make what was not released yet; the error of a take that could not be, if one was."""
        if claim.attempts > 1:  # an earlier worker may have ended between record and file
            complete_interrupted(self._studio.paths, self._studio.ledger())
        order = claim.order
        done = {take for take, _ in claim.released}
        attempts = {
            take: TakeAttempt(claim, take) for take in range(order.takes) if take not in done
        }
        if not attempts:
            return None
        making = Session(self._studio, self._actor(claim)).generation
        previews = (
            tuple(CarriedPreview(self._pieces, claim, take) for take in range(order.takes))
            if claim.preview
            else ()
        )
        return _lost_take(
            making.carry_out(
                order,
                progress=held.hear,
                cancel=held.cancel,
                previews=previews,
                attempts=attempts,
            )
        )

    def _actor(self, claim: Claim) -> Actor:
        """Whose job it is, with the role of today. Raises :class:`AccessDeniedError`."""
        if claim.account_id is None:
            return LOCAL_OWNER
        for account in self._studio.accounts().all():
            if account.account_id == claim.account_id and not account.disabled:
                return Actor(account.account_id, account.name, account.role)
        raise AccessDeniedError("the account may not do this any more")


def _lost_take(takes: tuple[Take, ...]) -> tuple[str, str] | None:
    """The error of a take where others were released."""
    for take in takes:
        if isinstance(take.error, LeaseLostError | LedgerError | GenerationCancelledError):
            raise take.error
        if isinstance(take.error, StudioError | WatermarkError):
            return type(take.error).__name__, str(take.error)
        if take.error is not None:
            _logger.error("a take failed", exc_info=take.error)
            return FAULT, "a take failed"
    return None


class _Held:
    """A claim that is renewed while the work goes on, and stops it where it shall stop."""

    def __init__(
        self, studio: Container, queue: JobQueue, claim: Claim, give_up: threading.Event
    ) -> None:
        self.cancel = threading.Event()
        self.lost = False
        self.stop_asked = False
        self.why: StudioError | None = None
        self._studio = studio
        self._queue = queue
        self._claim = claim
        self._give_up = give_up
        self._step: Progress | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="studio-lease", daemon=True)

    def hear(self, step: Progress) -> None:
        """The progress to tell at the next renewal."""
        self._step = step

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        every = min(_RENEW_S, self._queue.lease_s / 3)
        renewed = time.monotonic()
        while not self._over.wait(every):
            if self._give_up.is_set():
                self.cancel.set()
            try:
                self.stop_asked = self._queue.renew(self._claim, self._step)
                renewed = time.monotonic()
                if not self._permitted():
                    self.why = AccessDeniedError("the account may not do this any more")
            except LeaseLostError:
                self.lost = True
            except LedgerError:  # tried again, until another worker may have taken the job over
                self.lost = time.monotonic() - renewed > self._queue.lease_s
            if self.lost or self.stop_asked or self.why is not None:
                self.cancel.set()

    def _permitted(self) -> bool:
        account = self._claim.account_id
        return account is None or self._studio.accounts().may(account, Permission.GENERATE)
