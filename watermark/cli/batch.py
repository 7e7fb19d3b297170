"""What the commands that look at many files share: which files, progress, answers, the report.

``watermark detect``, ``identify`` and ``scan`` use it, and ``studio verify`` and ``scan``, so that
they behave alike: answers in the order of the files, one bad file never stops the run, Ctrl-C ends
it with what is done.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click

from watermark.batch.files import (
    FORMATS,
    ColumnKind,
    Journal,
    files_in,
    listed,
    pyarrow,
    write_table,
)
from watermark.batch.pool import Failure, Report, in_order
from watermark.cli.numbers import Count, Number
from watermark.cli.paths import OutputFile
from watermark.cli.process import INTERRUPTED, printable

__all__ = [
    "Meter",
    "answers",
    "apart_from",
    "failure_record",
    "many_files",
    "paths_of",
    "run_scan",
    "scan_options",
]

_UNREADABLE = 3
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


def scan_options(command: _Command) -> _Command:
    """What ``scan`` takes besides :func:`many_files`."""
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=Number(min=1),
            default=3600.0,
            show_default=True,
            metavar="SECONDS",
            help="Give a file up after this long (with --jobs).",
        ),
        click.option("--retry", is_flag=True, help="Examine again what could not be read before."),
        click.option(
            "--out",
            required=True,
            type=OutputFile(),
            metavar="REPORT",
            help="Report: .jsonl, .csv or (with pyarrow) .parquet. A report that is there is "
            "continued.",
        ),
    ):
        command = option(command)
    return command


def paths_of(files: Iterable[str], files_from: str | None, skip: tuple[str, ...]) -> Iterator[str]:
    """Every file meant, folders opened. Raises :class:`click.UsageError` where none was named."""
    named = list(files)
    if not named and files_from is None:
        raise click.UsageError("name files or folders, or a list of them with --files-from")
    more = listed(files_from) if files_from is not None else ()
    return files_in(chain(named, more), skip=skip)


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
    timeout_s: float | None = None,
) -> Iterator[tuple[str, _Answer | Failure]]:
    """Each file with its answer, in order, progress on stderr; ends early and quietly on Ctrl-C.

    The caller learns of Ctrl-C by :class:`KeyboardInterrupt` after the last answer.
    """
    meter = Meter()
    run = in_order(paths, start, jobs=jobs, timeout_s=timeout_s, progress=meter.read)
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
    """Progress on stderr: a line that changes on a terminal, one every ten seconds elsewhere."""

    def __init__(self) -> None:
        self.count = 0
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

    def _show(self, doing: str) -> None:
        now = time.monotonic()
        every = _TERMINAL_S if self._terminal else _LOG_S
        if now - self._begin < _QUIET_S or now - self._shown < every:
            return
        self._shown = now
        text = f"{self.count:,} files, {self.per_minute():,.0f} a minute; {printable(doing)[-60:]}"
        if not self._terminal:
            click.echo(text, err=True)
            return
        self.clear()
        click.echo(text, nl=False, err=True)
        self._width = len(text)


def run_scan(
    paths: Iterable[str],
    start: _Start[_Answer],
    record_of: Callable[[str, _Answer], Mapping[str, Any]],
    *,
    out: Path,
    reader: str,
    columns: Mapping[str, ColumnKind],
    row_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    jobs: int,
    timeout_s: float,
    again: Callable[[Mapping[str, Any]], bool],
) -> int:
    """Examine what the report has no answer for yet; the exit code.

    Args:
        paths: the catalogue.
        start: as for :func:`watermark.batch.pool.in_order`.
        record_of: a file's answer as a journal record; one with an ``error`` counts as unreadable,
            ``verdict`` is counted for the summary.
        out: the report. The journal is itself for ``.jsonl``, and lies beside it for the others.
        reader: what the answers depend on; see :class:`watermark.batch.files.Journal`.
        columns: of the table.
        row_of: a record as a row of the table.
        jobs, timeout_s: as the options say.
        again: which of the report's records are to be given anew.
    """
    kind = out.suffix.lower()
    if kind not in FORMATS:
        raise click.UsageError(f"--out ends in one of {', '.join(FORMATS)}")
    if kind == ".parquet":
        pyarrow()  # said before the work, not after it
    journal_path = out if kind == ".jsonl" else out.with_name(out.name + ".jsonl")
    stopped = False
    with Journal(journal_path, reader=reader, again=again) as journal:
        known = len(journal)
        others = apart_from(paths, out, journal_path)
        fresh = (path for path in others if not journal.answered(path))
        begin, count = time.monotonic(), 0
        try:
            for file, answer in answers(fresh, start, jobs=jobs, timeout_s=timeout_s):
                if isinstance(answer, Failure):
                    journal.add(failure_record(file, answer))
                else:
                    journal.add(record_of(file, answer))
                count += 1
        except KeyboardInterrupt:
            stopped = True
        tally = Counter(
            "unreadable" if "error" in record else str(record["verdict"])
            for record in journal.records()
        )
        if kind != ".jsonl":
            write_table(map(row_of, journal.records()), columns, out)
    spent = time.monotonic() - begin
    found = ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(tally.items()))
    click.echo(
        f"{count:,} files examined in {spent:,.0f} s ({count / max(spent, 1e-3) * 60:,.0f} a "
        f"minute), {known:,} known from before; report: {found or 'empty'}",
        err=True,
    )
    if stopped:
        click.echo("the same command goes on where this one stopped", err=True)
        return INTERRUPTED
    return _UNREADABLE if tally["unreadable"] else 0


def failure_record(file: str, failure: Failure) -> dict[str, Any]:
    """What stands where a file's answer should: the process that examined it gave none."""
    return {"file": file, "error": failure.why, "kind": "Failure"}
