"""A served studio and a real browser: Debian's chromium, never a downloaded one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.accounts import NAMES, PASSWORD

_ARGUMENTS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Without these chromium itself looks up its maker's hosts, which would hide a slip of ours.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Served:
    """``studio serve`` in a process of its own, as a newcomer starts it."""

    url: str
    home: Path
    log: Path
    process: Any = None

    def released(self) -> set[str]:
        return {path.name for path in (self.home / "outputs").iterdir()}


@dataclass
class Visit:
    """One browser session and every host it asked for."""

    page: Any
    hosts: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the studio did not come up:\n{log.read_text()}")


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A fresh studio, which belongs to whoever sits at the machine."""
    with _serving(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="package")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A studio with one account of each role, added as an operator adds them."""
    folder = tmp_path_factory.mktemp("team")
    for number, (role, name) in enumerate(NAMES.items()):
        arguments = ["account", "add", name, "--role", str(role), "--password-stdin"]
        subprocess.run(
            _command(*(["--as-owner"] if number else []), *arguments),
            env=_environment(folder),
            input=f"{PASSWORD}\n".encode(),
            check=True,
        )
    with _serving(folder) as served:
        yield served


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"STUDIO_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from studio.cli.main import main; main()", *arguments]


@contextmanager
def _serving(folder: Path, *, port: int | None = None) -> Iterator[Served]:
    port, log = port or _free_port(), folder / "log"
    served = Served(f"http://127.0.0.1:{port}", folder / "home", log)
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            _command("serve", "--port", str(port)),
            env=_environment(folder),
            stdout=sink,
            stderr=sink,
        ) as process,
    ):
        served.process = process
        try:
            _wait_until_up(served.url, process, log)
            yield served
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One browser with one profile: pages share its cache, and are sessions of their own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_ARGUMENTS)
        )
        profile = chromium.new_context(
            viewport={"width": 1280, "height": 900}, accept_downloads=True
        )
        profile.set_default_timeout(60_000)
        yield profile
        chromium.close()


@pytest.fixture
def visit(served: Served, browser: Any) -> Iterator[Visit]:
    """A fresh session on the page."""
    with _visiting(served, browser) as visit:
        yield visit


@pytest.fixture(scope="module")
def desk(served: Served, browser: Any) -> Iterator[Visit]:
    """One session for all tests that only drop files on the Verify tab."""
    with _visiting(served, browser) as visit:
        visit.page.get_by_role("tab", name="Verify").click()
        yield visit


@contextmanager
def _visiting(served: Served, browser: Any) -> Iterator[Visit]:
    """Open the page; afterwards check: no outside host was asked, no script failed."""
    with watched(browser.new_page(), served) as visit:
        visit.page.goto(served.url)
        visit.page.get_by_text("Consent for your choice").wait_for()
        yield visit


@contextmanager
def watched(page: Any, served: Served) -> Iterator[Visit]:
    """Watch every request and fault of a page, and close it in the end."""
    visit = Visit(page)
    page.on("request", lambda request: visit.hosts.add(_host(request.url)))
    page.on("pageerror", lambda error: visit.faults.append(str(error)))
    # A request that our content security policy stops is no request, but it was an attempt.
    page.on(
        "console",
        lambda line: "Content Security" in line.text and visit.faults.append(line.text),
    )
    yield visit
    page.close()
    assert visit.hosts <= {_host(served.url), ""}, "the page asked another host for something"
    assert visit.faults == []


@pytest.fixture
def sign_in(team: Served, browser: Any) -> Iterator[Callable[..., Visit]]:
    """Opens the page and signs in as a name; each in a browser profile of its own."""
    with ExitStack() as stack:

        def signed_in(name: str) -> Visit:
            profile = browser.browser.new_context(
                viewport={"width": 1280, "height": 900}, accept_downloads=True
            )
            profile.set_default_timeout(60_000)
            stack.callback(profile.close)
            visit = stack.enter_context(watched(profile.new_page(), team))
            visit.page.goto(team.url)
            visit.page.get_by_label("Account name").fill(name)
            visit.page.get_by_label("Password").fill(PASSWORD)
            visit.page.get_by_role("button", name="Sign in").click()
            visit.page.get_by_text(f"Signed in as {name}").wait_for()
            return visit

        yield signed_in


def _host(url: str) -> str:
    """Host and port; empty for data: and blob:, which ask nobody."""
    scheme, _, rest = url.partition("://")
    return rest.split("/", 1)[0] if scheme in ("http", "https", "ws", "wss") else ""


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: ``$ARTIFACTS``, or a temporary folder."""
    folder = os.environ.get("ARTIFACTS")
    if folder is None:
        return tmp_path_factory.mktemp("artifacts")
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path
