"""What commands share: exit codes, the ``--json`` option, writing files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from watermark.cli import process

__all__ = [
    "DONE",
    "FAILED",
    "NEGATIVE",
    "UNREADABLE",
    "WRONG_USAGE",
    "emit",
    "json_option",
    "read_bytes",
    "write_output",
]

DONE, NEGATIVE, WRONG_USAGE, UNREADABLE, FAILED = 0, 1, 2, 3, process.FAILED

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def emit(body: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    process.emit(body, sort_keys=True)


def read_bytes(path: Path) -> bytes:
    """A file the caller named. Raises :class:`UnreadableProofError` where it cannot be read."""
    from studio.core.errors import UnreadableProofError

    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnreadableProofError(f"cannot read {path}: {exc.strerror}") from exc


def write_output(path: Path, content: bytes | str) -> None:
    """Write what the caller asked for, whole or not at all. Raises :class:`UsageError`."""
    from studio.core.errors import UsageError
    from watermark.util.files import replacing

    try:
        with replacing(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
