"""No route takes more of a body than its limit, nor waits for one for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from studio.app.gateway import Gateway
from studio.web.middleware.body_limit import (
    MAX_DOCUMENT,
    SMALL,
    BodyLimit,
    Pace,
    limit_of,
    limits_of,
)
from studio.web.server import create_app
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.asgi import exchange
from tests.unit.pretend import PretendStudio

MANY = 8 << 20
SLACK = (1 << 20) + (128 << 10)  # read and thrown away, and the chunk that was one too many


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> PretendStudio:
    studio = with_cheap_passwords(PretendStudio(tmp_path_factory.mktemp("limits") / "home"))
    small = studio.config.uploads.model_copy(
        update={"max_bytes": 2 << 20, "held_bytes": 3 << 20, "hourly_bytes": 1 << 30}
    )
    many = studio.config.accounts.model_copy(
        update={"requests_per_minute": 10**6, "page_events_per_minute": 10**6}
    )
    studio.config = studio.config.model_copy(update={"uploads": small, "accounts": many})
    return studio


@pytest.fixture(scope="module")
def callers(studio) -> list[dict[str, str]]:
    """Headers of a stranger and of one of each role."""
    add_one_of_each(studio.accounts())
    accounts = studio.accounts()
    return [
        {},
        *(
            {"Authorization": f"Bearer {accounts.sign_in(name, PASSWORD, address='x').token}"}
            for name in NAMES.values()
        ),
    ]


@pytest.fixture(scope="module")
def app(studio, callers):
    async def build():
        return create_app(Gateway(studio))

    return asyncio.run(build())


async def flood(chunk: bytes = b"[" * 65536) -> AsyncIterator[bytes]:
    for _ in range(MANY // len(chunk)):
        yield chunk


def routes_of(app, prefix=""):
    """Every method and path of the application, of what is mounted in it and of Gradio's."""
    for route in app.routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if getattr(route, "methods", None):
            yield from ((method, prefix + route.path) for method in route.methods)
        elif hasattr(inner, "routes"):
            context = getattr(route, "include_context", None)
            below = context.prefix if context is not None else route.path
            yield from routes_of(inner, prefix + below)


@pytest.mark.slow
def test_no_route_reads_more_than_its_limit_whoever_asks(app, studio, callers):
    found = {
        (method, path.replace("{", "").replace("}", "").replace(":path", ""))
        for method, path in routes_of(app)
    }
    assert {("POST", "/api/v1/session"), ("POST", "/login"), ("POST", "/gradio_api/upload")} <= {
        (method, path.rstrip("/")) for method, path in found
    }
    limits = limits_of(studio.config.uploads, studio.config.public_detector)
    writing = {(method, path) for method, path in found if method not in ("GET", "HEAD")}
    assert len(writing) > 20
    for method, path in sorted(writing):
        for headers in callers:
            told = asyncio.run(
                exchange(app, method, path, flood(), {"Content-Type": "application/json"} | headers)
            )
            limit = limit_of(limits, path)
            assert told.read <= limit + SLACK, (method, path)
            assert told.status >= 400, (method, path)
            assert told.headers["connection"] == "close", (method, path)
            if limit == SMALL:
                assert told.status == 413, (method, path, told.body)


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/api/v1/verifications", 2 << 20), ("/api/v1/consent/documents", MAX_DOCUMENT)],
)
def test_a_streamed_body_is_cut_off_at_its_own_limit(app, callers, path, limit):
    told = asyncio.run(exchange(app, "POST", path, flood(), callers[1]))
    assert told.status == 413
    assert b"too-large" in told.body
    assert limit < told.read <= limit + SLACK


def test_a_stated_length_is_refused_without_reading(app):
    async def nothing() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async def drained() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65536

    headers = {"Content-Length": str(1 << 30), "Content-Type": "application/json"}
    told = asyncio.run(exchange(app, "POST", "/api/v1/session", drained(), headers))
    assert told.status == 413
    assert told.read <= SLACK
    too_few = {"Content-Length": "12", "Content-Type": "application/json"}
    with pytest.raises(AssertionError, match="the body was read"):
        asyncio.run(exchange(app, "POST", "/api/v1/session", nothing(), too_few))


def test_what_fits_arrives_unchanged(app):
    async def body() -> AsyncIterator[bytes]:
        for part in (b'{"name": "ada", ', b'"password": ', b'"quiet harbour lanterns"}'):
            yield part

    headers = {"Content-Type": "application/json"}
    told = asyncio.run(exchange(app, "POST", "/api/v1/session", body(), headers))
    assert told.status == 201


async def _echo(scope, receive, send):
    """Reads everything, then answers with its length."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


def limited(**pace: float) -> BodyLimit:
    return BodyLimit(_echo, lambda: {"/large": 1 << 20}, Pace(**pace))


class Stalling:
    """Half a body, and then nothing however often one asks."""

    def __init__(self) -> None:
        self._first = [b"half"]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._first:
            await asyncio.sleep(3600)
        return self._first.pop()


@pytest.mark.parametrize("path", ["/small", "/large"])
def test_a_body_that_stops_is_given_up(path):
    app = limited(small_s=0.05, idle_s=0.05)
    told = asyncio.run(exchange(app, "POST", path, Stalling()))
    assert told.status == 408
    assert told.headers["connection"] == "close"


def test_a_body_that_crawls_is_given_up():
    now = [0.0]

    async def crawling() -> AsyncIterator[bytes]:
        for _ in range(1000):
            now[0] += 1.0
            yield b"x" * 10

    app = BodyLimit(
        _echo, lambda: {"/large": 1 << 20}, Pace(bytes_per_s=100, after_s=60), lambda: now[0]
    )
    told = asyncio.run(exchange(app, "POST", "/large", crawling()))
    assert told.status == 408
    assert now[0] > 60


def test_a_slow_line_that_is_fast_enough_gets_through():
    now = [0.0]

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(1000):
            now[0] += 1.0
            yield b"x" * 200

    app = BodyLimit(
        _echo, lambda: {"/large": 1 << 20}, Pace(bytes_per_s=100, after_s=60), lambda: now[0]
    )
    told = asyncio.run(exchange(app, "POST", "/large", slow()))
    assert (told.status, told.body) == (200, b"200000")
    assert "connection" not in told.headers


def test_a_client_that_leaves_is_no_error():
    async def read(scope, receive, send):
        from starlette.requests import Request

        await Request(scope, receive).body()

    async def run() -> None:
        messages = iter([{"type": "http.request", "body": b"x", "more_body": True}])

        async def receive():
            return next(messages, {"type": "http.disconnect"})

        async def send(_message):
            raise AssertionError("nobody is there to be answered")

        scope = {"type": "http", "method": "POST", "path": "/large", "headers": []}
        await BodyLimit(read, lambda: {"/large": 100 << 10})(scope, receive, send)

    asyncio.run(run())
