"""Seconds from the click on Generate to the first sound, and to the released output.

``python -m tests.bench.first_sound [--seconds 10 30 180] [--runs 5]``: a studio of its own with
the house model loaded, Debian's chromium without a window, "Play at once" on. The first sound is
when the first sample leaves for the loudspeaker, by the browser's clock and output latency; the
release is when the output stands in the list. What falls short of the aim is printed last. With
``--worker`` the music is made by ``studio worker``, beside a server on PostgreSQL.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser.conftest import _ARGUMENTS, Served, _command, _environment, _serving
from tests.support.databases import Server

AIM_S = 1.5
"""From the click to the first sound."""

_WATCH = """() => {
    window.times = {};
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (when, ...more) {
        const { currentTime, outputLatency } = this.context;
        times.sound ??= performance.now() / 1000 + (when - currentTime) + outputLatency;
        return start.call(this, when, ...more);
    };
    document.querySelector("#generate").addEventListener("click", () => {
        window.times = { click: performance.now() / 1000 };
    }, true);
    new MutationObserver(changes => {
        const rows = changes.flatMap(change => [...change.addedNodes]);
        if (rows.some(row => row.matches?.("details.take")))
            times.release ??= performance.now() / 1000;
    }).observe(document.querySelector(".takes"), { childList: true });
}"""


def timed(page: Any, seconds: int) -> tuple[float, float]:
    """Seconds from the click to the first sound, and to the release, of one piece."""
    duration = page.get_by_label("number input for Duration")
    duration.fill(str(seconds))
    duration.press("Tab")
    page.get_by_text(f"{seconds} s of music").wait_for()
    page.wait_for_function(
        "!document.querySelector('studio-preview') && "
        "[...document.querySelectorAll('audio')].every(audio => audio.paused)"
    )
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function("window.times.sound && window.times.release", timeout=150_000)
    times = page.evaluate("window.times")
    page.wait_for_timeout(3000)  # the file goes on where the preview was; then all is silent
    page.evaluate("document.querySelectorAll('audio').forEach(audio => audio.pause())")
    return times["sound"] - times["click"], times["release"] - times["click"]


@contextmanager
def serving(folder: Path, *, worker: bool) -> Iterator[Served]:
    """A studio that makes its music itself, or has a worker make it."""
    with ExitStack() as stack:
        if worker:
            database = Server(fsync=True)
            stack.callback(database.remove)
            os.environ["STUDIO_DATABASE_URL"] = database.make_database()
            os.environ["STUDIO_SERVER__WORKERS"] = "1"
        served = stack.enter_context(_serving(folder))
        if worker:
            process = subprocess.Popen(
                _command("worker", "--models", "house"), env=_environment(folder)
            )
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        yield served


def in_words(times: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def main() -> None:
    """Print a line per length, and what falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 30, 180])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--worker", action="store_true")
    arguments = parser.parse_args()
    found: dict[int, list[tuple[float, float]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), worker=arguments.worker) as served,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_ARGUMENTS)
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(served.url)
        page.get_by_text("tags are granted").wait_for()
        page.evaluate(_WATCH)
        page.locator("#bar .at-once").click()
        timed(page, 10)  # the models are loaded then
        for seconds in arguments.seconds:
            found[seconds] = []
            for _ in range(arguments.runs):
                load = os.getloadavg()[0]
                found[seconds].append(timed(page, seconds))
                sound, release = found[seconds][-1]
                print(f"  {seconds} s: {sound:.2f}, {release:.2f} (load {load:.1f})", flush=True)
        chromium.close()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}")
    short = []
    for seconds, times in found.items():
        sounds, releases = ([each[place] for each in times] for place in (0, 1))
        print(
            f"{seconds} s of music: first sound {in_words(sounds)}, "
            f"release {in_words(releases)}, n = {len(times)}"
        )
        late = [sound for sound in sounds if sound > AIM_S]
        if late:
            short.append(
                f"{seconds} s of music: {len(late)} of {len(sounds)} first sounds later than "
                f"{AIM_S} s, the last after {max(late):.2f} s"
            )
    print("falls short: " + "; ".join(short) if short else f"all first sounds within {AIM_S} s")


if __name__ == "__main__":
    main()
