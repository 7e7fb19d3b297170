"""What every test shares: the Debian parts some tests need, and the rule that CI skips nothing."""

from __future__ import annotations

import ctypes.util
import functools
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.databases import (  # fixtures, used by name
    database,  # noqa: F401
    database_location,  # noqa: F401
    ledger,  # noqa: F401
    postgresql_bin,
    postgresql_server,  # noqa: F401
    postgresql_url,  # noqa: F401
)

_SOUNDFONT = Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3")

_PARTS = {
    "fluidsynth": lambda: ctypes.util.find_library("fluidsynth") is not None,
    "soundfont": lambda: _SOUNDFONT.exists(),
    "chromium": lambda: shutil.which("chromium") is not None,
    "ffmpeg": lambda: shutil.which("ffmpeg") is not None,
    "postgresql": lambda: postgresql_bin() is not None,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a server or a browser is not of the quick tests: starting it takes longest."""
    for item in items:
        if any(mark.args for mark in item.iter_markers("needs")):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for part in mark.args:
            if not _PARTS[part]():
                pytest.skip(f"needs Debian's {part}, which is not installed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Under CI a skipped test is a failed one: .ci/run installs every part a test may need."""
    report = (yield).get_result()
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"


@pytest.fixture(autouse=True)
def _own_origin():
    """What one test says of its caller to the security log does not reach the next one."""
    from studio.accounts.origin import calling

    with calling(None, "this process"):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forgotten_applications():
    """FastAPI remembers what each endpoint is, and so every application of a process."""
    yield
    remembering = sys.modules.get("fastapi.dependencies.models")
    for value in list(vars(remembering or object).values()):
        if isinstance(value, functools._lru_cache_wrapper):
            value.cache_clear()
