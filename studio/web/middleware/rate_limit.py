"""Rate limits per caller, and on repeated log lines.

A bucket of requests fills again at a steady rate.

>>> rate_limiter = RateLimiter(per_minute=2, clock=lambda: 0.0)
>>> [rate_limiter.take("ada") for _ in range(3)], rate_limiter.take("vera")
([0.0, 0.0, 30.0], 0.0)
"""

from __future__ import annotations

import logging
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from starlette.concurrency import run_in_threadpool

from studio.core.errors import LedgerError

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.core.db.limits import SharedBuckets

__all__ = ["Limiter", "RateLimiter", "SharedLimiter", "limiter_of", "log_failure"]

_logger = logging.getLogger(__name__)

_MANY = 10_000  # callers remembered before the quiet ones are forgotten


class Limiter(Protocol):
    """How much each caller may ask."""

    def take(self, caller: str) -> float:
        """Take one request; returns 0, or how many seconds the caller has to wait for it."""

    async def ask(self, caller: str) -> float:
        """Call :meth:`take` from a coroutine."""


class RateLimiter:
    """One bucket of ``per_minute`` requests for each caller."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._rate = per_minute / 60.0  # requests per second
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # caller -> (requests left, at)

    def take(self, caller: str) -> float:
        """Take one request; returns 0, or how many seconds the caller has to wait for it."""
        now = self._clock()
        with self._lock:
            if len(self._left) > _MANY:
                self._left = {
                    who: (left, at)
                    for who, (left, at) in self._left.items()
                    if left + (now - at) * self._rate < self._size
                }
            left, at = self._left.get(caller, (self._size, now))
            left = min(self._size, left + (now - at) * self._rate)
            if left < 1.0:
                self._left[caller] = (left, now)
                return (1.0 - left) / self._rate
            self._left[caller] = (left - 1.0, now)
            return 0.0

    async def ask(self, caller: str) -> float:
        """Call :meth:`take` from a coroutine."""
        return self.take(caller)


class SharedLimiter:
    """One limit over all servers, kept in the database; by this server alone while it is away."""

    def __init__(self, shared: SharedBuckets, own: RateLimiter) -> None:
        self._shared = shared
        self._own = own

    def take(self, caller: str) -> float:
        """Take one request; see :meth:`RateLimiter.take`."""
        wait_s = self._own.take(caller)  # first: whoever floods one server asks the database less
        if wait_s:
            return wait_s
        try:
            return self._shared.take(caller)
        except LedgerError:
            return 0.0

    async def ask(self, caller: str) -> float:
        """Call :meth:`take` from a coroutine."""
        return await run_in_threadpool(self.take, caller)


def limiter_of(gateway: Gateway, scope: str, per_minute: int) -> Limiter:
    """The limit of that name: of this server, or of all that share the database."""
    own = RateLimiter(per_minute)
    if not gateway.config.server.workers:
        return own
    return SharedLimiter(gateway.shared_buckets(scope, per_minute), own)


_TRACEBACKS = RateLimiter(per_minute=20)
_FRAMES = 12  # of a traceback, the innermost
_TEXT = 300  # characters of an error's own text, which may repeat what a stranger sent


def log_failure(what: str, reference: str | None = None) -> str:
    """Log the exception that is being handled; the reference a person is told.

    A short traceback, and at most 20 a minute: whoever provokes errors does not fill the disk.
    """
    reference = reference or secrets.token_hex(4)
    error = sys.exception()
    if error is None or _TRACEBACKS.take(""):
        _logger.error("%s failed, reference %s", what, reference)
        return reference
    frames = "".join(traceback.format_tb(error.__traceback__)[-_FRAMES:])
    text = repr(str(error)[:_TEXT])
    kind = type(error).__name__
    _logger.error("%s failed, reference %s: %s: %s\n%s", what, reference, kind, text, frames)
    return reference
