"""Servers and workers of one studio as processes, with a plain generator and a tonal seal.

::

    python -m tests.support.shared FOLDER web PORT
    python -m tests.support.shared FOLDER worker

The database is the one of ``STUDIO_DATABASE_URL``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SETTINGS = {
    "STUDIO_SERVER__LEASE_S": "2",
    "STUDIO_SERVER__ATTEMPTS": "1000",  # workers are killed faster than a job takes
    "STUDIO_ACCOUNTS__JOBS_AT_A_TIME": "100000",
    "STUDIO_ACCOUNTS__REQUESTS_PER_MINUTE": "1000000",
    "STUDIO_QUOTAS__OUTPUTS_PER_DAY": "1000000",
    "STUDIO_QUOTAS__SECONDS_PER_DAY": "10000000",
    "STUDIO_QUOTAS__BULK_REQUESTS": "1000000",
}
"""Limits that a load of one account does not meet, and a lease that ends soon."""


class Process:
    """One server (with a port) or worker (without)."""

    def __init__(self, folder: Path, port: int | None, environ: dict[str, str]) -> None:
        role = ["worker"] if port is None else ["web", str(port)]
        self.port = port
        self._command = [sys.executable, "-m", "tests.support.shared", str(folder), *role]
        self._environ = {**os.environ, **SETTINGS, **environ}
        self._log = folder / f"{role[0]}-{port or os.urandom(4).hex()}.log"
        self.start()

    def start(self) -> None:
        self._seen = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        """What it wrote since it was last started."""
        return self._log.read_bytes()[self._seen :].decode(errors="replace")

    @property
    def ready(self) -> bool:
        """Whether it does its work by now."""
        if self.port is None:
            return "worker ready" in self.log
        try:
            return call(self.port, "GET", "/healthz")[0] == 200
        except OSError:
            return False

    def await_ready(self, seconds: float = 600.0) -> None:
        end = time.monotonic() + seconds
        while not self.ready:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"a process did not start: {self.log[-2000:]}")
            time.sleep(0.1)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def call(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a request. Raises :class:`OSError` where nobody answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as exc:
        return exc.code, json.loads(exc.read() or b"null")


def main() -> None:
    """Be a server or a worker until told to end."""
    from studio.app.gateway import Gateway
    from tests.support.studios import InWindows, make_studio

    folder, role = Path(sys.argv[1]), sys.argv[2]
    with make_studio(folder, generator=InWindows()) as studio:
        gateway = Gateway(studio)
        if role == "web":
            from studio.web.server import serve

            serve(gateway, host="127.0.0.1", port=int(sys.argv[3]), workers=2)
            return
        working = gateway.worker(["house"], grace_s=20.0)
        gateway.keep_watch()
        signal.signal(signal.SIGTERM, lambda *_: working.end())
        print("worker ready", flush=True)
        working.run()


if __name__ == "__main__":
    main()
