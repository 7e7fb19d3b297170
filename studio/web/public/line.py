"""The public detector's queue: bounded, with a time to retry.

A question has a place from its first byte to its answer. Where all places are taken, or an address
has its share, nothing of the body is read: the caller is told at once after how many seconds a
place will be free, by how long the latest examinations took.

>>> line = Line(places=1, per_address=1)
>>> with line.place("192.0.2.7"):
...     line.length
1
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from studio.core.errors import LedgerError
from studio.web.jobs.queue import BusyError, TooManyRequestsError

if TYPE_CHECKING:
    from studio.core.db.limits import SharedPlaces

__all__ = ["FullLineError", "Line", "SharedShare"]

_FIRST_GUESS_S = 5.0  # for an examination, before there was any
_TAKEN = "your other questions are still in line; let one of them end first"
_WEIGHT = 0.2  # of the latest in the running mean


class FullLineError(BusyError):
    """The queue is full."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Line:
    """The places of questions. Safe to share between threads."""

    def __init__(self, *, places: int, per_address: int) -> None:
        self._places = places
        self._per_address = per_address
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()  # by address
        self._mean_s = _FIRST_GUESS_S

    @property
    def length(self) -> int:
        """Places taken now."""
        with self._lock:
            return self._taken.total()

    @contextlib.contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Hold a place. Raises :class:`FullLineError` and :class:`TooManyRequestsError`."""
        with self._lock:
            if self._taken[address] >= self._per_address:
                raise TooManyRequestsError(_TAKEN, self._mean_s)
            if self._taken.total() >= self._places:
                raise FullLineError(
                    "the detector is busy: as many questions as it takes are in line",
                    max(1.0, self._mean_s * self._places / 2),
                )
            self._taken[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= Counter({address: 1})

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """An examination, whose time tells later callers when to come back."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            with self._lock:
                self._mean_s += _WEIGHT * (took - self._mean_s)


class SharedShare:
    """An address's part of the lines of all servers that share a database."""

    def __init__(self, places: SharedPlaces) -> None:
        self._places = places

    @contextlib.asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Hold a place. Raises :class:`TooManyRequestsError` and :class:`LedgerError`."""
        place = await run_in_threadpool(self._places.take, address)
        if place is None:
            raise TooManyRequestsError(_TAKEN, _FIRST_GUESS_S)
        try:
            yield
        finally:
            with contextlib.suppress(LedgerError):  # it lapses
                await asyncio.shield(run_in_threadpool(self._places.give_back, place))
