"""What several ``studio`` command groups share: exit codes, the ``--json`` option, one line out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watermark.cli import process

if TYPE_CHECKING:
    from studio.accounts.permissions import Permission
    from studio.app.container import Studio

__all__ = [
    "DONE",
    "FAILED",
    "NEGATIVE",
    "UNREADABLE",
    "WRONG_USAGE",
    "emit",
    "json_option",
    "open_local",
    "read_bytes",
]

DONE, NEGATIVE, WRONG_USAGE, UNREADABLE, FAILED = 0, 1, 2, 3, process.FAILED

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def emit(body: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    process.emit(body, sort_keys=True)


def open_local(permission: Permission) -> Studio:
    """The whole studio of this machine, for a caller with that right; for its inner parts."""
    from studio.cli.caller import open_with

    return open_with(permission)


def read_bytes(path: Path) -> bytes:
    """A file the caller named. Raises :class:`UnreadableProofError` where it cannot be read."""
    from studio.core.errors import UnreadableProofError

    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnreadableProofError(f"cannot read {path}: {exc.strerror}") from exc
