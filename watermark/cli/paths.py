"""Paths on a command line; outputs are checked before the work starts.

click looks at a path before the command runs, and one that cannot be read ends it with all the
others unexamined. So inputs have the type :data:`INPUT`, which looks at nothing. What is to be
written is the other way round: :class:`OutputFile` and :class:`OutputFolder` refuse at once what
cannot be written, instead of after hours of work.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import click

__all__ = ["INPUT", "OutputFile", "OutputFolder", "why_not_a_file", "why_not_a_folder"]

INPUT: click.Path = click.Path(readable=False, path_type=Path)
"""A file or folder to read; the command says what is wrong with it."""


class OutputFile(click.ParamType[Path]):
    """A file to make or replace; its folder is there."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; one that cannot be written is an error."""
        path = Path(value)
        if (why := why_not_a_file(path)) is not None:
            self.fail(f"{path.name or str(path)!r} cannot be written: {why}", param, ctx)
        return path


class OutputFolder(click.ParamType[Path]):
    """A folder to write into; it is made where it is missing."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; one that cannot be written into is an error."""
        path = Path(value)
        if (why := why_not_a_folder(path)) is not None:
            self.fail(f"{path.name or str(path)!r} cannot be written: {why}", param, ctx)
        return path


def why_not_a_file(path: Path) -> str | None:
    """Why no file can be made or replaced at ``path``; None where it can be."""
    try:
        target = Path(os.path.realpath(path))
        folder = _mode(target.parent)
        if folder is None:
            return f"there is no folder {target.parent.name!r}"
        if not stat.S_ISDIR(folder):
            return f"{target.parent.name!r} is no folder"
        mode = _mode(target)
    except OSError as exc:
        return _word(exc.errno)
    except ValueError:
        return "its name holds a NUL character"
    if mode is not None and stat.S_ISDIR(mode):
        return "it is a folder"
    if mode is None or stat.S_ISREG(mode):
        return _not_writable(target.parent)  # the file is made beside and takes the name
    return None if os.access(target, os.W_OK) else _word(errno.EACCES)  # a FIFO, a device


def why_not_a_folder(path: Path) -> str | None:
    """Why no file can be put below ``path``, made with its parents where it is missing."""
    try:
        folder = Path(os.path.realpath(path))
        for part in (folder, *folder.parents):
            if (mode := _mode(part)) is not None:
                return _not_writable(part) if stat.S_ISDIR(mode) else f"{part.name!r} is no folder"
    except OSError as exc:
        return _word(exc.errno)
    except ValueError:
        return "its name holds a NUL character"
    return None


def _mode(path: Path) -> int | None:
    """Kind and rights of what is at ``path``; None where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _not_writable(folder: Path) -> str | None:
    return None if os.access(folder, os.W_OK | os.X_OK) else _word(errno.EACCES)


def _word(number: int | None) -> str:
    return os.strerror(number or errno.EIO).lower()
