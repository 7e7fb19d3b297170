"""Whether a studio can do its work: the answer of ``/readyz``.

Each check looks at one thing that the studio cannot do without, and loads no model. The texts are
for whoever may reach the server at all, so they name no path and no key.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from studio.core.errors import StudioError
from studio.core.isolation import weakness

if TYPE_CHECKING:
    from studio.app.container import Container

__all__ = ["MIN_FREE_BYTES", "Check", "check_readiness"]

_logger = logging.getLogger(__name__)

MIN_FREE_BYTES = 500_000_000
"""On the disk of the home: a release, its upload and the database's log need far less."""

_CLOCK_BEHIND = timedelta(minutes=5)  # of the ledger's newest entry
_EXPIRES_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one readiness check."""

    ok: bool
    note: str = ""  # what is wrong, or will be soon; empty where nothing is

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "note": self.note}


def check_readiness(studio: Container) -> dict[str, Check]:
    """Every check by name; the studio is ready where all are ``ok``."""
    return {name: _answer(name, check, studio) for name, check in _CHECKS.items()}


def _answer(name: str, check: Callable[[Container], str], studio: Container) -> Check:
    try:
        return Check(True, check(studio))
    except _FailedError as exc:
        return Check(False, str(exc))
    except (StudioError, OSError) as exc:
        _logger.warning("not ready: %s: %s", name, exc)
        return Check(False, f"{type(exc).__name__}; the log says more")


class _FailedError(Exception):
    """The check failed; the text is for strangers, too."""


def _models(studio: Container) -> str:
    if studio.config.server.workers:
        return _workers(studio)
    from studio.music.models.config import describe

    model = studio.config.generation.model
    studio.generator(model).require()
    describe(studio.models()[model])
    return ""


def _workers(studio: Container) -> str:
    """The music is made elsewhere; a server that nobody works for goes on answering."""
    model = studio.config.generation.model
    playing = [models for _, models in studio.job_queue().workers() if model in models]
    return "" if playing else "no worker that plays the model is there; start studio worker"


def _database(studio: Container) -> str:
    studio.releases().recent(1)
    return ""


def _disk(studio: Container) -> str:
    studio.paths.create()
    free = shutil.disk_usage(studio.paths.home).free
    if free < MIN_FREE_BYTES:
        raise _FailedError(f"{free // 1_000_000} MB are free, {MIN_FREE_BYTES // 1_000_000} needed")
    return ""


def _sandbox(studio: Container) -> str:
    found = weakness(studio.config.uploads)
    if found == "uploads-not-decoded":
        raise _FailedError(found)
    return found or ""


def _clock(studio: Container) -> str:
    newest = studio.ledger().entries(newest_first=True, limit=1)
    if newest and datetime.now(UTC) < newest[0].at - _CLOCK_BEHIND:
        raise _FailedError("the clock is behind the newest entry of the ledger")
    return ""


def _keys(studio: Container) -> str:
    studio.ledger()  # opening it compares the keys on disk with those on record
    left = studio.credentials().trust.current.expires - datetime.now(UTC)
    if left <= timedelta():
        raise _FailedError("the certificate of the Content Credentials has expired")
    return f"the certificate expires in {left.days} days" if left < _EXPIRES_SOON else ""


_CHECKS: Mapping[str, Callable[[Container], str]] = {
    "models": _models,
    "database": _database,
    "disk": _disk,
    "sandbox": _sandbox,
    "clock": _clock,
    "keys": _keys,
}
