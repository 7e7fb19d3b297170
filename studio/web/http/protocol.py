"""HTTP/1.1 with time limits for request headers and slow readers.

uvicorn waits for ever for the rest of a request's headers, and for a client that does not read its
answer. Here a connection is closed when the headers of a request are not complete in time, when a
client reads nothing for a while, and, the oldest first, when too many connections have not sent a
request yet. How long a body may take is a matter of :mod:`studio.web.middleware.body_limit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from studio.web.middleware.rate_limit import RateLimiter

__all__ = ["OrderlyServer", "PunctualProtocol", "SparingLog"]


class OrderlyServer(uvicorn.Server):
    """Ends in order, once: jobs are cancelled and threads joined, however often it is signalled.

    uvicorn leaves its application as it is after a second Ctrl-C; music that is being made would
    then keep the process alive, without a port and deaf to signals.
    """

    stopped_by: int | None = None
    """The first signal that came."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Hear SIGINT and SIGTERM; ignore both from the moment that serving has ended by one.

        uvicorn puts the handlers before it back, and a further Ctrl-C would then interrupt what
        still has to be closed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, signal.SIG_IGN if self.stopped_by else handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal as uvicorn does; later ones change nothing."""
        self.stopped_by = self.stopped_by or sig
        self.should_exit = True

    def run_to_the_end(self) -> None:
        """Serve until stopped; Ctrl-C leaves as :class:`KeyboardInterrupt`, SIGTERM returns."""
        self.run()
        if self.stopped_by == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.started:
            raise RuntimeError("the server did not start; the log says why")


class PunctualProtocol(H11Protocol):
    """One connection. The class holds the connections that have not sent a request yet."""

    headers_s: ClassVar[float] = 15.0
    """From the first byte expected to the end of the headers."""
    unread_s: ClassVar[float] = 120.0
    """For which a client may leave its answer unread."""
    most_waiting: ClassVar[int] = 256
    """Connections without a complete request; the oldest make room."""

    waiting: ClassVar[dict[PunctualProtocol, None]] = {}  # in the order of their coming

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._no_request = self.conn.their_state  # as it is before each request
        self._headers_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is self._no_request:  # the headers are not complete yet
            self._await_headers()
        else:
            self._headers_came()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        self._was_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._was_read()
        super().resume_writing()

    def _await_headers(self) -> None:
        if self._headers_timer is not None:
            return  # more of the same headers: the time runs on
        self._headers_timer = self.loop.call_later(self.headers_s, self.transport.abort)
        self.waiting[self] = None
        while len(self.waiting) > self.most_waiting:
            oldest = next(iter(self.waiting))
            oldest._headers_came()
            oldest.transport.abort()

    def _headers_came(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None
        self.waiting.pop(self, None)

    def _was_read(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


class SparingLog(logging.Filter):
    """Lets some records of a minute through, so that no stranger fills the log.

    >>> log = SparingLog(per_minute=1)
    >>> record = logging.makeLogRecord({"msg": "Invalid HTTP request received."})
    >>> log.filter(record), log.filter(record)
    (True, False)
    """

    def __init__(self, per_minute: int = 60) -> None:
        super().__init__()
        self._buckets = RateLimiter(per_minute)

    def filter(self, record: logging.LogRecord) -> bool:
        return self._buckets.take("") == 0.0
