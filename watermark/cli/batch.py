"""What commands on many files share: inputs, progress, results.

``watermark detect``, ``identify`` and ``scan`` use it, and ``studio verify`` and ``scan``, so that
they behave alike: answers in the order of the files, one bad file never stops the run, Ctrl-C ends
it with what is done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click

from watermark.batch.files import listed
from watermark.batch.pool import Failure, Report, in_order
from watermark.batch.sources import Catalogue, fetching
from watermark.cli.numbers import Count
from watermark.cli.process import printable

__all__ = [
    "Meter",
    "answers",
    "apart_from",
    "failure_record",
    "many_files",
    "paths_of",
    "told",
]

_TERMINAL_S, _LOG_S = 0.5, 10.0  # between two lines of progress
_QUIET_S = 2.0  # a run shorter than this says nothing

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Answer = TypeVar("_Answer")
_Start = Callable[[], Callable[[str, Report], _Answer]]


def many_files(command: _Command) -> _Command:
    """``FILE...``, ``--files-from``, ``--skip`` and ``--jobs``; see :func:`answers`."""
    for option in (
        click.option(
            "--jobs",
            type=Count(0, 1024),
            default=0,
            show_default=True,
            help="Worker processes. With 0 this process does the work, which is quicker for a few "
            "files.",
        ),
        click.option(
            "--skip",
            multiple=True,
            metavar="PATTERN",
            help="Leave out files of folders whose name fits, like '*.jpg'; repeat for more.",
        ),
        click.option(
            "--files-from",
            metavar="LIST",
            help="Also the files named in LIST, one a line; - is standard input.",
        ),
        click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(readable=False)),
    ):
        command = option(command)
    return command


def paths_of(files: Iterable[str], files_from: str | None, skip: tuple[str, ...]) -> Catalogue:
    """Every file meant, folders opened. Raises :class:`click.UsageError` where none was named."""
    named = list(files)
    if not named and files_from is None:
        raise click.UsageError("name files or folders, or a list of them with --files-from")
    more = listed(files_from) if files_from is not None else ()
    return Catalogue(chain(named, more), skip=skip)


def apart_from(paths: Iterable[str], *own: Path) -> Iterator[str]:
    """The paths without the files that this run writes, under whatever path they are found."""
    names = {path.name for path in own}
    places = {os.path.realpath(path) for path in own}
    for path in paths:
        # The name first: to follow every file's path would take longer than to list it.
        if os.path.basename(path) not in names or os.path.realpath(path) not in places:  # noqa: PTH119 - names may hold anything
            yield path


def answers(
    paths: Iterable[str],
    start: _Start[_Answer],
    *,
    jobs: int,
) -> Iterator[tuple[str, _Answer | Failure]]:
    """Each file with its answer, in order, progress on stderr; see :func:`told`."""
    meter = Meter()
    return told(in_order(paths, partial(fetching, start), jobs=jobs, progress=meter.read), meter)


def told(
    run: Generator[tuple[str, _Answer | Failure]], meter: Meter
) -> Iterator[tuple[str, _Answer | Failure]]:
    """The answers of a run, with progress on stderr; ends early and quietly on Ctrl-C.

    The caller learns of Ctrl-C by :class:`KeyboardInterrupt` after the last answer.
    """
    try:
        with closing(run):
            for file, answer in run:
                meter.clear()
                yield file, answer
                meter.done(file)
    except KeyboardInterrupt:
        meter.clear()
        click.echo(f"stopped: {meter.count:,} files were answered", err=True)
        raise
    meter.clear()


class Meter:
    """Progress on stderr: a line that changes on a terminal, one every ten seconds elsewhere.

    Args:
        total: how many files there will be; None while that is not known.
    """

    def __init__(self, total: Callable[[], int | None] = lambda: None) -> None:
        self.count = 0
        self._total = total
        self._begin = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._width = 0

    def read(self, file: str, seconds: float) -> None:
        """So much of a file has been read."""
        minutes, rest = divmod(int(seconds), 60)
        self._show(f"{Path(file).name}: {minutes // 60}:{minutes % 60:02d}:{rest:02d} read")

    def done(self, file: str) -> None:
        self.count += 1
        self._show(Path(file).name)

    def clear(self) -> None:
        """Make room for a line of results on the same terminal."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0

    def per_minute(self) -> float:
        return self.count / max(time.monotonic() - self._begin, 1e-3) * 60

    def _of(self) -> str:
        total = self._total()
        return "" if total is None else f" of {total:,}"

    def _left(self) -> str:
        """How long the rest takes at the pace so far."""
        total = self._total()
        if total is None or self.count == 0:
            return ""
        minutes = (total - self.count) / max(self.per_minute(), 1e-6)
        if minutes >= 120:
            return f", {minutes / 60:,.0f} h left"
        return f", {max(1, round(minutes))} min left"

    def _show(self, doing: str) -> None:
        now = time.monotonic()
        every = _TERMINAL_S if self._terminal else _LOG_S
        if now - self._begin < _QUIET_S or now - self._shown < every:
            return
        self._shown = now
        text = (
            f"{self.count:,}{self._of()} files, {self.per_minute():,.0f} a minute"
            f"{self._left()}; {printable(doing)[-60:]}"
        )
        if not self._terminal:
            click.echo(text, err=True)
            return
        self.clear()
        click.echo(text, nl=False, err=True)
        self._width = len(text)


def failure_record(file: str, failure: Failure) -> dict[str, Any]:
    """What stands where a file's answer should: the process that examined it gave none."""
    return {"file": file, "error": failure.why, "kind": failure.kind}
