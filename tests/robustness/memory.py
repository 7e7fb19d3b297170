"""Memory of a running studio under many requests, hostile ones among them.

The studio runs in a process of its own; its resident memory is read after the first tenth of the
requests (when everything is loaded) and after the last.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from watermark.audio.waveform import Waveform, encode

__all__ = ["MemoryFigures", "measure_memory"]

_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Megabytes resident; ``answers`` counts status codes, ``slowest_s`` is of ``/healthz``."""

    requests: int
    warm_mb: float
    last_mb: float
    answers: dict[str, int]
    slowest_s: float


def measure_memory(
    folder: Path, requests: int, say: Callable[[str], None] = lambda _line: None
) -> MemoryFigures:
    """Send `requests` requests of eleven kinds in turn to a studio whose home is in `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "studio", "serve", "--port", str(port)]
    environment = {**os.environ, "STUDIO_HOME": str(folder / "home")}
    with (
        (folder / "serve.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                _wait_until_up(client, process)
                return _ask(client, process.pid, requests, say)
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_up(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RuntimeError("the studio did not come up")


def _ask(
    client: httpx.Client, pid: int, requests: int, say: Callable[[str], None]
) -> MemoryFigures:
    kinds = _kinds(client)
    answers: dict[str, int] = {}
    warm = slowest = 0.0
    for number in range(requests):
        answer = kinds[number % len(kinds)]()
        answers[answer] = answers.get(answer, 0) + 1
        if number % 50 == 0:
            began = time.monotonic()
            client.get("/healthz")
            slowest = max(slowest, time.monotonic() - began)
            say(f"{number} of {requests}: {_resident_mb(pid):.0f} MB")
        if number == requests // 10:
            warm = _resident_mb(pid)
    return MemoryFigures(
        requests, round(warm, 1), round(_resident_mb(pid), 1), answers, round(slowest, 2)
    )


def _kinds(client: httpx.Client) -> list[Callable[[], str]]:
    """Ordinary and hostile requests; each gives the status code, or how it was cut off."""
    rng = np.random.default_rng(0)
    clip = Waveform((0.1 * rng.standard_normal((1, 5 * 16_000))).astype(np.float32), 16_000)
    sound, big = encode(clip, "wav"), b'{"name": "' + b"a" * 8_000_000

    def asked(method: str, path: str, **options: object) -> Callable[[], str]:
        def ask() -> str:
            try:
                return str(client.request(method, path, **options).status_code)  # type: ignore[arg-type]  # httpx's own options
            except httpx.HTTPError as exc:
                return type(exc).__name__

        return ask

    def garbled() -> str:
        return asked("POST", "/api/v1/verifications", content=secrets.token_bytes(20_000))()

    return [
        asked("GET", "/api/v1/tags"),
        asked("GET", "/api/v1/outputs"),
        asked("GET", "/"),
        asked("POST", "/api/v1/jobs", json={"tags": ["genre/nothing"]}),
        asked("POST", "/api/v1/jobs", content=b"[" * 15_000),
        asked("POST", "/api/v1/session", content=big),
        asked("POST", "/api/v1/verifications", content=sound),
        garbled,
        asked("GET", "/gradio_api/file=/etc/passwd"),
        asked("POST", "/gradio_api/queue/join", json={"fn_index": 4, "data": ["x" * 50_000]}),
        asked("GET", "/api/v1/outputs/0123456789abcdef"),
    ]


def _resident_mb(pid: int) -> float:
    """Of a process and its children."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        if (name := folder.name).isdigit():
            try:
                status = (folder / "status").read_text(encoding="utf-8")
            except OSError:
                continue
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if pid in (int(name), int(fields.get("PPid", "0"))):
                total += int(fields.get("VmRSS", "0 kB").split()[0]) / 1024
    return total
