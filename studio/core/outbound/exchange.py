"""One HTTP request to an allowed host, bounded in time and bytes.

The connection goes to an address that was checked, not to a name that is looked up again; the
certificate is checked against the name. No proxy of the environment is used, no redirect is
followed, and a timer ends what trickles.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING

from studio.core.errors import HostUnreachableError

if TYPE_CHECKING:
    from studio.core.outbound.hosts import AllowedHosts, Resolver, Target

__all__ = ["Answer", "exchange"]

_STEP_S = 15.0  # for one step: to connect, to send, to get the next bytes
_CHUNK = 1 << 16
USER_AGENT = "consented-music-studio"


class Answer:
    """An answer whose body can be read in pieces."""

    def __init__(self, response: HTTPResponse, host: str, address: str, watch: _Watch) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in reversed(response.getheaders())
        }
        self.address = address
        self._host = host
        self._response = response
        self._watch = watch

    def chunks(self) -> Iterator[bytes]:
        """The body. Raises :class:`HostUnreachableError` where it ends too early."""
        stated, got = self._response.length, 0
        while True:
            with _explained(self._host, self._watch):
                piece = self._response.read(_CHUNK)
            self._watch.check()
            if not piece:
                break
            got += len(piece)
            yield piece
        if stated is not None and got < stated:
            raise HostUnreachableError("the answer ended before its end")


@contextmanager
def exchange(
    method: str,
    target: Target,
    allowed: AllowedHosts,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    deadline_s: float,
    stop: threading.Event | None = None,
    resolver: Resolver | None = None,
    context: ssl.SSLContext | None = None,
) -> Iterator[Answer]:
    """Send a request; the answer can be read within the block.

    Args:
        deadline_s: for everything, the reading of the body included.
        stop: ends the request when it is set.
        resolver: looks a name up, in tests.
        context: TLS settings; none: the system's roots.

    Raises:
        HostRefusedError: an address of the host is not allowed.
        HostUnreachableError: no connection, no whole answer, or not in time.
    """
    begun = time.monotonic()
    addresses = allowed.addresses(target, resolver)
    left = deadline_s - (time.monotonic() - begun)
    watch = _Watch(max(left, 0.0), stop)
    connection = HTTPConnection(target.host, target.port, timeout=_STEP_S)
    try:
        with _explained(target.host, watch):
            connection.sock, address = _connect(target, addresses, watch, context)
            fixed = {"Host": target.authority, "User-Agent": USER_AGENT, "Connection": "close"}
            connection.request(method, target.path, body, {**fixed, **headers})
            watch.check()
            response = connection.getresponse()
        yield Answer(response, target.host, address, watch)
    finally:
        watch.close()
        connection.close()


@contextmanager
def _explained(host: str, watch: _Watch) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, ValueError) as exc:
        watch.check(exc)
        raise HostUnreachableError(f"{host}: {_reason(exc)}") from exc


def _connect(
    target: Target, addresses: list[str], watch: _Watch, context: ssl.SSLContext | None
) -> tuple[socket.socket, str]:
    failure: OSError = OSError("no address answered")
    for address in addresses:
        try:
            plain = socket.create_connection((address, target.port), timeout=_STEP_S)
        except OSError as exc:
            failure = exc
            watch.check(exc)
            continue
        watch.guard(plain)
        if target.scheme == "http":
            return plain, address
        try:
            secure = (context or ssl.create_default_context()).wrap_socket(
                plain, server_hostname=target.host
            )
        except OSError:
            plain.close()
            raise
        watch.guard(secure)
        return secure, address
    raise failure


class _Watch:
    """Ends a connection when its time is over or somebody says stop."""

    def __init__(self, left_s: float, stop: threading.Event | None) -> None:
        self._end = time.monotonic() + left_s
        self._stop = stop
        self._over = threading.Event()
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="outbound watch", daemon=True).start()

    def guard(self, connection: socket.socket) -> None:
        with self._lock:
            self._socket = connection
        self.check()

    def check(self, cause: BaseException | None = None) -> None:
        """Raise :class:`HostUnreachableError` where the time is over."""
        if self._over.is_set() or time.monotonic() > self._end:
            raise HostUnreachableError("there was no whole answer in time") from cause

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(0.1):
            stopped = self._stop is not None and self._stop.is_set()
            if not stopped and time.monotonic() <= self._end:
                continue
            self._over.set()
            with self._lock:
                if self._socket is not None:
                    with suppress(OSError):
                        # Of the socket itself: an SSLSocket's own forgets its session in the
                        # middle of another thread's read.
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                    return


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed ({error.verify_message})"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).lower()
    return f"no answer in HTTP ({type(error).__name__})"
