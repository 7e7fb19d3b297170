"""Half-sent requests and unread answers do not stay; what is sent in time is answered."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack

import pytest
import uvicorn

from studio.web.http.protocol import PunctualProtocol
from studio.web.server import server_settings


class Quick(PunctualProtocol):
    headers_s = 0.5
    unread_s = 0.5
    most_waiting = 20


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size = int(scope["query_string"] or b"2")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    sent = 0
    while sent < size:
        part = min(65536, size - sent)
        await send({"type": "http.response.body", "body": b"x" * part, "more_body": True})
        sent += part
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    ended.append(size)


ended: list[int] = []


@pytest.fixture
def address():
    """A server with short patience, in a thread."""
    import threading

    settings = {**server_settings(), "http": Quick, "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **settings))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(10)
    assert not PunctualProtocol.waiting


def connect(address):
    client = socket.create_connection(address, timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def closed(client) -> bool:
    """Whether the server ended the connection; waits for it."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


HALF = b"GET / HTTP/1.1\r\nHost: studio.example\r\n"


@pytest.mark.parametrize("sent", [b"", b"G", HALF, HALF + b"X-Long: " + b"x" * 2000])
def test_a_request_that_is_never_completed_is_closed(address, sent):
    with connect(address) as client:
        client.sendall(sent)
        assert closed(client)


def test_dripping_headers_do_not_prolong_the_time(address):
    with connect(address) as client:
        client.sendall(HALF)
        with pytest.raises(ConnectionError):
            for number in range(200):
                client.sendall(f"X-{number}: x\r\n".encode())
                time.sleep(0.05)


def test_neither_does_a_connection_that_was_used_before(address):
    with connect(address) as client:
        client.sendall(HALF + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(HALF)
        while not closed(client):
            pass


def test_many_half_sent_requests_leave_room_for_a_whole_one(address):
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(address)) for _ in range(60)]
        for client in clients:
            client.sendall(HALF)
        with connect(address) as whole:
            whole.sendall(HALF + b"\r\n")
            assert whole.recv(65536).startswith(b"HTTP/1.1 200")
        assert len(PunctualProtocol.waiting) <= Quick.most_waiting
        assert all(closed(client) for client in clients)


def test_an_answer_nobody_reads_ends(address):
    ended.clear()
    with connect(address) as client:
        client.sendall(b"GET /?50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 60
        while not ended and time.monotonic() < until:
            time.sleep(0.05)
        assert ended, "the application was not let go"
        received = 0
        try:
            while part := client.recv(1 << 20):
                received += len(part)
        except ConnectionError:
            pass
        assert received < 50_000_000


def test_an_answer_that_is_read_slowly_arrives_whole(address):
    with connect(address) as client:
        client.sendall(b"GET /?8000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        received = 0
        while received < 8_000_000:
            part = client.recv(1 << 18)
            assert part
            received += len(part)
            time.sleep(0.02)
