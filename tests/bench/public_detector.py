"""How many questions a public detector answers, and what it does at ten times that.

``python -m tests.bench.public_detector [--seconds 30] [--clip 30]`` serves a new studio, asks from
many addresses (as a proxy names them) and prints: one client after the other for the capacity, then
ten times as many questions as that at steady times.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.browser.conftest import _free_port, _serving
from tests.support.studios import music
from watermark.audio.waveform import write

_SETTINGS = {
    "STUDIO_PUBLIC_DETECTOR__ENABLED": "true",
    "STUDIO_PUBLIC_DETECTOR__REQUESTS_PER_MINUTE": "1000000",
    "STUDIO_PUBLIC_DETECTOR__NEAR_IDENTICAL_PER_HOUR": "1000000",
    "STUDIO_SERVER__TRUSTED_PROXIES": '["127.0.0.1"]',
}


@contextmanager
def _detector(folder: Path) -> Iterator[tuple[str, int]]:
    os.environ.update(_SETTINGS)
    with _serving(folder, port=_free_port()) as served:
        yield f"{served.url}/api/public/detect", served.process.pid


def _ask(client: httpx.Client, url: str, content: bytes, number: int) -> tuple[int, float, str]:
    began = time.monotonic()
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    answer = client.post(url, content=content, headers={"X-Forwarded-For": address})
    return answer.status_code, time.monotonic() - began, answer.headers.get("retry-after", "")


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else max(times, default=0.0)


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the two parts")
    parser.add_argument("--clip", type=float, default=30.0, help="seconds of each recording")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = []
        for seed in range(4):
            write(folder / "clip.mp3", music(seed, options.clip, rate=44_100, channels=2))
            contents.append((folder / "clip.mp3").read_bytes())
        with _detector(folder) as (url, pid), httpx.Client(timeout=600.0) as client:
            _ask(client, url, contents[0], 0)  # loads the models
            numbers = itertools.count(1)
            rate = _one_by_one(client, url, contents, numbers, options.seconds)
            _too_many(url, contents, numbers, options.seconds, 10 * rate)
            print(f"largest memory of the server: {_memory_mb(pid):.0f} MB")


def _one_by_one(
    client: httpx.Client, url: str, contents: list[bytes], numbers: Iterator[int], seconds: float
) -> float:
    times: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        number = next(numbers)
        status, took, _ = _ask(client, url, contents[number % len(contents)], number)
        assert status == 200, status
        times.append(took)
    rate = len(times) / (time.monotonic() - began)
    print(f"one by one: {rate:.2f} answers/s, p95 {_p95(times):.2f} s, n = {len(times)}")
    return rate


def _too_many(
    url: str, contents: list[bytes], numbers: Iterator[int], seconds: float, rate: float
) -> None:
    told: list[tuple[int, float, str]] = []
    faults: Counter[str] = Counter()

    def one(client: httpx.Client, number: int) -> None:
        try:
            told.append(_ask(client, url, contents[number % len(contents)], number))
        except httpx.HTTPError as exc:
            faults[type(exc).__name__] += 1

    limits = httpx.Limits(max_connections=None)
    with httpx.Client(timeout=600.0, limits=limits) as client:
        threads = []
        began = time.monotonic()
        for turn in range(round(rate * seconds)):
            time.sleep(max(0.0, began + turn / rate - time.monotonic()))
            threads.append(threading.Thread(target=one, args=(client, next(numbers))))
            threads[-1].start()
        for thread in threads:
            thread.join()
    took = time.monotonic() - began
    by_status = Counter(status for status, _, _ in told)
    answered = [took for status, took, _ in told if status == 200]
    refused = [took for status, took, _ in told if status == 503]
    waits = [int(wait) for status, _, wait in told if status == 503]
    print(
        f"ten times that: {rate:.1f} questions/s for {seconds:g} s; "
        f"answers {dict(by_status)}, faults {dict(faults)}"
    )
    print(f"  answered: {len(answered) / took:.2f}/s, p95 {_p95(answered):.1f} s")
    if refused:
        print(
            f"  refused: p95 {_p95(refused):.2f} s, told to come back in "
            f"{min(waits)} to {max(waits)} s; all with Retry-After: {len(waits) == len(refused)}"
        )


if __name__ == "__main__":
    main()
