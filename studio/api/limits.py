"""How much one caller may ask: a bucket of requests that fills again at a steady rate.

>>> buckets = Buckets(per_minute=2, clock=lambda: 0.0)
>>> [buckets.take("ada") for _ in range(3)], buckets.take("vera")
([0.0, 0.0, 30.0], 0.0)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Buckets"]

_MANY = 10_000  # callers remembered before the quiet ones are forgotten


class Buckets:
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
