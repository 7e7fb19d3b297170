"""The log of both commands, set up in one place.

A command logs warnings to stderr. ``--verbose`` adds what it does, step by step. ``STUDIO_LOG`` set
to ``text`` or ``json`` does the same and chooses how: a line with time, level and ids, or one JSON
object a line for a log collector. The ids (of a request, a job) come from :func:`tagged` and stand
on every line that is logged within.

>>> with tagged(request="3f2a"), tagged(job="77"):
...     current_tags()
{'request': '3f2a', 'job': '77'}
>>> current_tags()
{}
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

__all__ = ["FORMS", "current_tags", "logging_to_stderr", "tagged"]

FORMS = ("text", "json")

OURS = ("studio", "watermark")
"""Loggers whose steps are shown; of other libraries only warnings are."""

_tags: ContextVar[Mapping[str, str]] = ContextVar("tags", default={})  # noqa: B039 - never changed


def current_tags() -> dict[str, str]:
    """The ids of what is being done, by kind."""
    return dict(_tags.get())


@contextmanager
def tagged(**ids: str) -> Iterator[None]:
    """Put these ids on every line that is logged in the block, beside those of outer blocks."""
    token = _tags.set({**_tags.get(), **ids})
    try:
        yield
    finally:
        _tags.reset(token)


@contextmanager
def logging_to_stderr(
    *, verbose: bool = False, environ: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Log to stderr in the block.

    Args:
        verbose: show steps, not warnings only.
        environ: where ``STUDIO_LOG`` is read; the process's environment by default.

    Raises:
        ValueError: ``STUDIO_LOG`` names no form.
    """
    form = (os.environ if environ is None else environ).get("STUDIO_LOG", "")
    if form and form not in FORMS:
        raise ValueError(f"STUDIO_LOG must be text or json, not {form!r}")
    handler = _ToStderr()
    handler.setFormatter(_Json() if form == "json" else _Text() if form or verbose else _Brief())
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in OURS]
    levels = [logger.level for logger in ours]
    root.addHandler(handler)
    if form or verbose:
        for logger in ours:
            logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in zip(ours, levels, strict=True):
            logger.setLevel(level)


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is now; a line that cannot be written stops no work."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO | None = sys.stderr
        try:
            if stream is not None:
                stream.write(self.format(record) + "\n")
                stream.flush()
        except (OSError, ValueError):  # ValueError: it was closed
            pass


class _Brief(logging.Formatter):
    """What a person at a terminal needs of a warning."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        return text if not record.exc_info else f"{text}\n{_traceback(record)}"


class _Text(logging.Formatter):
    """Time (UTC), level, logger, ids, message."""

    def format(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {kind}={id_}" for kind, id_ in _fields(record).items())
        text = f"{_at(record)} {record.levelname} {record.name}{ids}: {record.getMessage()}"
        return text if not record.exc_info else f"{text}\n{_traceback(record)}"


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            body["traceback"] = _traceback(record)
        return json.dumps(body, ensure_ascii=True, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Ids, and what the call gave as ``extra={"fields": {...}}``."""
    given: Mapping[str, Any] = getattr(record, "fields", {})
    return {**current_tags(), **given}


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _traceback(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*(record.exc_info or ()))).rstrip()
