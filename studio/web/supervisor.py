"""Run several server processes on neighbouring ports, and restart those that end.

``studio serve --workers N`` starts N servers, on the port and on those that follow it. SIGTERM and
Ctrl-C end them all; SIGHUP starts them anew, one after the other, each once the one before answers:
a reverse proxy in front of them always finds one.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from types import FrameType

from studio.core.errors import ConfigError

__all__ = ["Supervisor", "answers_at", "command_of"]

_logger = logging.getLogger(__name__)
_POLL_S = 0.5
_END_S = 30.0  # a server that was told to end has so long, then it is killed
_START_S = 120.0  # a server has so long to answer
_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before a server that ended is started again
_STEADY_S = 60.0  # a server that lived so long is started again at once


def command_of(
    host: str, port: int, servers: int, *, public_detector: bool = False, mcp: bool = False
) -> list[str]:
    """The command that is one of the servers.

    >>> command_of("127.0.0.1", 7861, 2)[1:]
    ['-m', 'studio', 'serve', '--host', '127.0.0.1', '--port', '7861', '--replica', '2']
    """
    flags = [("--public-detector", public_detector), ("--mcp", mcp)]
    return [
        *(sys.executable, "-m", "studio", "serve", "--host", host, "--port", str(port)),
        *("--replica", str(servers)),
        *(flag for flag, given in flags if given),
    ]


class _Server:
    """One server process."""

    def __init__(self, command: Sequence[str], answers: Callable[[], bool]) -> None:
        self.command = command
        self.answers = answers
        self.ended = 0  # times in a row that it ended soon
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)  # noqa: S603 - ours
        self.began = time.monotonic()

    def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Keeps servers running.

    Args:
        commands: of each server.
        answers: says of a server's number whether it answers by now.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], answers: Callable[[int], bool] | None = None
    ) -> None:
        self._commands = commands
        self._answers = answers or (lambda _number: True)
        self._stop = threading.Event()
        self._renew = threading.Event()
        self._stopped_by: int | None = None
        self.servers: list[_Server] = []

    def run(self) -> None:
        """Run until SIGTERM, or Ctrl-C, which leaves as :class:`KeyboardInterrupt`.

        Raises :class:`ConfigError` where the first server does not start at all.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_renew)
        try:
            for number, command in enumerate(self._commands):
                self.servers.append(_Server(command, lambda n=number: self._answers(n)))  # type: ignore[misc]  # a default binds the loop's value
            if not self._await_answer(self.servers[0]) and not self._stop.is_set():
                raise ConfigError("the first server ended at its start; its message says why")
            while not self._stop.wait(_POLL_S):
                if self._renew.is_set():
                    self._renew.clear()
                    self.renew()
                for server in self.servers:
                    self._look_after(server)
        finally:
            for server in self.servers:
                server.process.terminate()
            for server in self.servers:
                server.end()
            for each in (signal.SIGTERM, signal.SIGINT):  # as Python ends it drops handlers
                signal.signal(each, signal.SIG_IGN)
        if self._stopped_by == signal.SIGINT:
            raise KeyboardInterrupt

    def renew(self) -> None:
        """Start every server anew, one after the other."""
        for server in self.servers:
            if self._stop.is_set():
                return
            server.end()
            server.start()
            if not self._await_answer(server):
                _logger.error("a server did not start again; the others are left as they are")
                return

    def _look_after(self, server: _Server) -> None:
        if server.process.poll() is None:
            return
        lived = time.monotonic() - server.began
        server.ended = 0 if lived > _STEADY_S else server.ended + 1
        pause = _PAUSES_S[min(server.ended, len(_PAUSES_S) - 1)]
        _logger.warning(
            "a server ended with status %d; started again in %g s", server.process.returncode, pause
        )
        if not self._stop.wait(pause):
            server.start()

    def _await_answer(self, server: _Server) -> bool:
        end = time.monotonic() + _START_S
        while time.monotonic() < end and server.process.poll() is None:
            if server.answers():
                return True
            if self._stop.wait(0.2):
                return False
        return False

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopped_by = self._stopped_by or number
        self._stop.set()

    def _on_renew(self, _number: int, _frame: FrameType | None) -> None:
        self._renew.set()


def answers_at(host: str, port: int) -> bool:
    """Whether a server answers ``/healthz`` there."""
    connection = HTTPConnection("127.0.0.1" if host in ("0.0.0.0", "") else host, port, timeout=2)  # noqa: S104 - it is asked, not bound
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
