"""Page sessions: whose each one is, and whether it is still open.

A page keeps event streams open for as long as it stands in a browser. When the last of them has
ended and none was opened again for a while, its visitor has left, and what was asked for through it
is given up.

>>> visitors = Visitors(clock=lambda: 0.0)
>>> visitors.claim("tab1", "ada"), visitors.claim("tab1", "eve")
(True, False)
>>> with visitors.stream("tab1", "ada"):
...     visitors.is_present("tab1")
True
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from studio.core.errors import StudioError

__all__ = ["TooManyStreamsError", "Visitors"]

_SESSIONS = 10_000  # remembered; the oldest are forgotten
_GRACE_S = 15.0  # between an event and its stream, or between two streams
_STREAMS = 64  # of one account: two for each open page


class TooManyStreamsError(StudioError):
    """The account has as many pages open as it may."""


class _Visit:
    """One session of the page."""

    def __init__(self, owner: str, now: float) -> None:
        self.owner = owner
        self.streams = 0
        self.seen = now


class Visitors:
    """The sessions of the page. Safe to share between threads."""

    def __init__(
        self,
        *,
        grace_s: float = _GRACE_S,
        streams: int = _STREAMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace_s = grace_s
        self._most_streams = streams
        self._clock = clock
        self._lock = threading.Lock()
        self._visits: OrderedDict[str, _Visit] = OrderedDict()
        self._streams: Counter[str] = Counter()  # by account

    def claim(self, session: str, owner: str) -> bool:
        """Whether the session is the owner's; the first to name it owns it."""
        now = self._clock()
        with self._lock:
            visit = self._visits.setdefault(session, _Visit(owner, now))
            self._visits.move_to_end(session)
            while len(self._visits) > _SESSIONS:
                self._visits.popitem(last=False)
            if visit.owner == owner:
                visit.seen = now
            return visit.owner == owner

    @contextlib.contextmanager
    def stream(self, session: str, account: str) -> Iterator[None]:
        """While an event stream of the session is open. Raises :class:`TooManyStreamsError`."""
        with self._lock:
            if self._streams[account] >= self._most_streams:
                raise TooManyStreamsError("too many pages of this account are open; close some")
            self._streams[account] += 1
            visit = self._visits[session]
            visit.streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[account] -= 1
                if not self._streams[account]:
                    del self._streams[account]
                visit.streams -= 1
                visit.seen = self._clock()

    def is_present(self, session: str) -> bool:
        """Whether a stream of the session is open, or was a moment ago."""
        with self._lock:
            visit = self._visits.get(session)
            if visit is None:
                return False
            return visit.streams > 0 or self._clock() - visit.seen <= self._grace_s
