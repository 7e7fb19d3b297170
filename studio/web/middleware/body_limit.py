"""Limits on the size and duration of request bodies.

A body is small unless its route stands in the table of :func:`limits_of`. A small body is taken in
whole before anything else sees the request. A large one streams to its route, which writes it to
disk; it is counted on the way. Chunked bodies are counted like those that state their length.

A body that is too long is answered 413, one that stops or crawls 408. Whoever is answered before
the end of the body is cut off, so that no connection is held open by a body nobody reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.web.middleware.auth import error_body

if TYPE_CHECKING:
    from studio.core.config import PublicDetectorConfig, UploadConfig

__all__ = ["MAX_DOCUMENT", "SMALL", "BodyLimit", "Pace", "limit_of", "limits_of"]

SMALL = 16 << 10
"""Bytes of a body on every route without a limit of its own: the longest request for music, each
character escaped, is half of it."""

MAX_DOCUMENT = 1 << 20
"""Bytes of a file of signed consent."""

_EVENT = 64 << 10  # an event of the page: texts of its fields, names of uploaded files
_FORM = 1 << 20  # what the form around uploaded files may add
_MCP = 32 << 20  # a call of a tool, with a recording of 24 MB as base64
_DRAINED = 1 << 20  # bytes read and thrown away, so that a client reads the refusal


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a body may come in."""

    small_s: float = 15.0
    """A small body has to be complete by then."""
    idle_s: float = 30.0
    """Longest wait for the next bytes of a large one."""
    bytes_per_s: float = 4096.0
    """Mean speed of a large one ..."""
    after_s: float = 60.0
    """... looked at from then on."""


def limits_of(uploads: UploadConfig, public: PublicDetectorConfig) -> Mapping[str, int]:
    """The routes with a limit of their own; their bodies are streamed.

    A path that ends in ``/`` stands for everything below it, ``*`` for the last part but one.
    """
    return {
        "/gradio_api/upload": uploads.held_bytes + _FORM,  # several files; each has its own limit
        "/gradio_api/queue/join": _EVENT,
        "/gradio_api/run": _EVENT,
        "/gradio_api/run/": _EVENT,
        "/api/v1/verifications": uploads.max_bytes,
        "/api/public/detect": public.max_bytes + _FORM,
        "/detect": public.max_bytes + _FORM,
        "/api/v1/cases/*/files": uploads.max_bytes,
        "/cases/*/files": uploads.max_bytes + _FORM,
        "/cases/*/notes": _EVENT,
        "/mcp": _MCP,
        "/api/v1/consent/documents": MAX_DOCUMENT,
    }


def limit_of(limits: Mapping[str, int], path: str) -> int:
    """Bytes that the body of a request for ``path`` may have.

    >>> limit_of({"/cases/*/files": 5, "/run/": 7}, "/cases/9f2c/files"), limit_of({}, "/")
    (5, 16384)
    """
    above, _, last = path.rpartition("/")
    among = f"{above.rpartition('/')[0]}/*/{last}"
    return limits.get(path, limits.get(f"{above}/", limits.get(among, SMALL)))


class BodyLimit:
    """ASGI middleware, in front of everything that reads a body."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Callable[[], Mapping[str, int]],
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._limits = limits
        self._pace = pace or Pace()
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = limit_of(self._limits(), scope["path"])
        body = _Body(receive, send, limit, self._pace, self._clock)
        stated = Headers(scope=scope).get("content-length", "0")
        if not stated.isdecimal():
            body.refuse(400, "malformed", "Content-Length is no number")
        elif int(stated) > limit:
            body.refuse_length()
        elif limit <= _EVENT:
            await body.take_in()
        if body.refusal is None:
            with contextlib.suppress(ClientDisconnect):  # gone, or cut off by us
                await self.app(scope, body.receive, body.send)
        if body.refusal is not None and not body.answered:
            await body.drain()
            await body.refusal(scope, receive, body.pass_on)


class _Body:
    """The body of one request, and the answer to it."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        limit: int,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._receive, self._send = receive, send
        self._limit, self._pace, self._clock = limit, pace, clock
        self._since = clock()
        self._count = 0
        self._complete = False
        self._taken: bytes | None = None
        self.refusal: JSONResponse | None = None
        self.answered = False

    def refuse(self, status: int, code: str, message: str) -> None:
        self.refusal = JSONResponse(error_body(code, message), status)

    def refuse_length(self) -> None:
        self.refuse(413, "too-large", f"the body may have at most {self._limit} bytes here")

    async def take_in(self) -> None:
        """Read a small body to its end."""
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._pace.small_s):
                while not self._complete:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        return  # the client is gone; whoever asks next is told so
                    if not self._counts(message):
                        return
                    parts.append(message.get("body", b""))
        except TimeoutError:
            self.refuse(408, "too-slow", "the body took too long")
            return
        self._taken = b"".join(parts)

    async def receive(self) -> Message:
        """What the application reads: the body, then what the client does afterwards."""
        if self._taken is not None:
            taken, self._taken = self._taken, None
            return {"type": "http.request", "body": taken, "more_body": False}
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(self._pace.idle_s):
                message = await self._receive()
        except TimeoutError:
            self.refuse(408, "too-slow", "the body took too long")
            return {"type": "http.disconnect"}
        if message["type"] == "http.request" and not self._counts(message):
            return {"type": "http.disconnect"}
        return message

    def _counts(self, message: Message) -> bool:
        """Count the bytes; False where there are too many, or too few for the time."""
        self._count += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        spent = self._clock() - self._since
        if self._count > self._limit:
            self.refuse_length()
        elif (
            not self._complete
            and spent > self._pace.after_s
            and self._count < spent * self._pace.bytes_per_s
        ):
            self.refuse(408, "too-slow", "the body took too long")
        return self.refusal is None

    async def drain(self) -> None:
        """Read a little more, so that a client that is just too long gets to read the answer."""
        drained = 0
        try:
            async with asyncio.timeout(2.0):
                while not self._complete and drained < _DRAINED:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        return
                    drained += len(message.get("body", b""))
                    self._complete = not message.get("more_body", False)
        except TimeoutError:
            return

    async def send(self, message: Message) -> None:
        """What the application answers; nothing once it was cut off."""
        if self.refusal is None or self.answered:
            await self.pass_on(message)

    async def pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answered = True
            if not self._complete:
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)
