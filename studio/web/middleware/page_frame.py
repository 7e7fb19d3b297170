"""Gradio's HTML document with our ``head`` in it from the first byte.

Gradio hands a page's own head to the browser as data, which a script puts in place after a second:
too late for colours, which would flash, and for whether a visitor is signed out. The tags with
which Gradio describes itself to other sites go, pictures on foreign hosts among them. The document,
200 kB of text, is compressed; Gradio compresses its own files.
"""

from __future__ import annotations

import gzip
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PageFrame", "framed"]

_CHARSET = b'<meta charset="utf-8" />'
_FOREIGN = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*/>')


def framed(document: bytes, head: bytes) -> bytes:
    """The document with ``head`` first in it.

    >>> framed(b'<head><meta charset="utf-8" /><meta property="og:url" content="x" />', b"<b>")
    b'<head><meta charset="utf-8" /><b>'
    """
    start, charset, rest = document.partition(_CHARSET)
    return start + charset + head + _FOREIGN.sub(b"", rest) if charset else document


class PageFrame:
    """ASGI middleware for ``GET /``; every other request passes."""

    def __init__(self, app: ASGIApp, head: str) -> None:
        self.app = app
        self._head = head.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        asked = Headers(scope=scope)
        body = bytearray()

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body" or start is None:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            document = bytes(body)
            if Headers(scope=start).get("content-type", "").startswith("text/html"):
                headers = MutableHeaders(scope=start)
                document = framed(document, self._head)
                headers["vary"] = "Accept-Encoding"
                # It holds no secret that its size could give away.
                if "gzip" in asked.get("accept-encoding", ""):
                    document = gzip.compress(document, compresslevel=6, mtime=0)
                    headers["content-encoding"] = "gzip"
                headers["content-length"] = str(len(document))
            await send(start)
            await send({"type": "http.response.body", "body": document})

        await self.app(scope, receive, collect)
