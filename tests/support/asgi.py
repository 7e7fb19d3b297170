"""One request to an ASGI application without a server, so that a test sees what was read of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Exchange:
    """What came of a request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read: int = 0  # bytes of the request's body that the application took


async def exchange(
    app: Any,
    method: str,
    path: str,
    chunks: AsyncIterator[bytes],
    headers: dict[str, str] | None = None,
    *,
    host: str = "studio.example",
    scheme: str = "https",
) -> Exchange:
    """Send ``chunks`` as a body without a stated length; the client never hangs up."""
    told = Exchange()
    path, _, query = path.partition("?")
    given = {"host": host, "transfer-encoding": "chunked", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("192.0.2.9", 4000),
        "server": ("127.0.0.1", 7860),
        "state": {},
    }
    ended = False

    async def receive() -> dict[str, Any]:
        nonlocal ended
        if ended:
            await asyncio.sleep(3600)
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        told.read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.status = message["status"]
            told.headers = {n.decode(): v.decode() for n, v in message["headers"]}
        elif message["type"] == "http.response.body":
            told.body += message.get("body", b"")

    await app(scope, receive, send)
    return told
