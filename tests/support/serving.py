"""The whole application on a loopback port, in a thread: routes, page and every middleware."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from studio.app.gateway import Gateway


@contextmanager
def served(studio: Any, **settings: Any) -> Iterator[str]:
    """The URL of the running studio; it is stopped at the end."""
    from studio.web.server import create_app, server_settings

    async def build() -> Any:  # Gradio leaves a loop open for what it builds outside a running one
        return create_app(Gateway(studio))

    settings = {
        **server_settings(),
        "log_level": "error",
        "timeout_graceful_shutdown": 1,
        **settings,
    }
    server = uvicorn.Server(
        uvicorn.Config(asyncio.run(build()), host="127.0.0.1", port=0, **settings)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
