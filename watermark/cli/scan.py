"""What ``watermark scan`` and ``studio scan`` share: report and engine.

The local engine works with processes of this machine; Ray's works on a cluster. Both give the same
rows. The report's journal belongs to this process: a worker's answer counts once it is written
there, so an answer that came twice, or whose worker died after it, is one row.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from watermark.batch.dataset import check_folder, outcome_of, write_dataset
from watermark.batch.files import FORMATS, Column, Journal, pyarrow, write_table
from watermark.batch.pool import Failure, Report, in_order
from watermark.batch.ray_pool import RayOptions, on_ray
from watermark.batch.sources import Catalogue, fetching
from watermark.batch.summary import summary_page
from watermark.cli.batch import Meter, apart_from, failure_record, told
from watermark.cli.numbers import Count, Number
from watermark.cli.paths import OutputFile, OutputFolder
from watermark.cli.process import INTERRUPTED
from watermark.errors import ScanError
from watermark.util.files import replacing

__all__ = ["ScanSettings", "run_scan", "scan_options"]

_UNREADABLE = 3

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """The options of a scan, which both commands have.

    Attributes:
        out: the report. The journal is itself for ``.jsonl``, and lies beside it for the others.
        dataset: folder for the same rows as partitioned Parquet; None: none.
        summary: page of HTML about the report; None: none.
        engine: which one works.
        jobs: workers at most; 0: this process, or one a core of Ray's cluster.
        timeout_s: longest time for one file, in a worker.
        retry: examine again what could not be read before.
        ray: of Ray's engine.
    """

    out: Path
    dataset: Path | None
    summary: Path | None
    engine: Literal["local", "ray"]
    jobs: int
    timeout_s: float
    retry: bool
    ray: RayOptions


def scan_options(command: _Command) -> _Command:
    """The options of a scan besides :func:`watermark.cli.batch.many_files`, as ``settings``."""

    @functools.wraps(command)
    def with_settings(
        *arguments: Any,
        engine: Literal["local", "ray"],
        ray_address: str | None,
        retries: int,
        num_gpus: float,
        dataset: Path | None,
        summary: Path | None,
        timeout_s: float,
        retry: bool,
        out: Path,
        jobs: int,
        **others: Any,
    ) -> Any:
        if engine == "local" and ray_address is not None:
            engine = "ray"
        if num_gpus and engine == "local":
            raise click.UsageError("--num-gpus is for Ray's workers: add --engine ray")
        if num_gpus > 1 and num_gpus % 1:
            raise click.UsageError("--num-gpus is a part of one GPU, or a whole number of them")
        ray = RayOptions(ray_address, jobs, retries, num_gpus)
        settings = ScanSettings(out, dataset, summary, engine, jobs, timeout_s, retry, ray)
        return command(*arguments, settings=settings, **others)

    named: Any = with_settings
    for option in (
        click.option(
            "--retries",
            type=Count(0, 100),
            default=2,
            show_default=True,
            help="With Ray: how often a file is tried again after its worker died.",
        ),
        click.option(
            "--num-gpus",
            type=Number(min=0),
            default=0.0,
            metavar="NUMBER",
            help="With Ray: GPUs that each worker reserves and works on, like 1 or 0.25. Without, "
            "workers work on the processor.",
        ),
        click.option(
            "--ray-address",
            metavar="ADDRESS",
            help="Work on the Ray cluster at HOST:PORT (or auto); see docs/scale.md.",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Processes of this machine, or Ray's workers, one a core unless --jobs says.",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=Number(min=1),
            default=3600.0,
            show_default=True,
            metavar="SECONDS",
            help="Give a file up after this long (with --jobs, and with Ray).",
        ),
        click.option("--retry", is_flag=True, help="Examine again what could not be read before."),
        click.option(
            "--dataset",
            type=OutputFolder(),
            metavar="FOLDER",
            help="Also write the rows as Parquet files into FOLDER, split by verdict (pyarrow).",
        ),
        click.option(
            "--summary",
            type=OutputFile(),
            metavar="PAGE",
            help="Also write a page of HTML: verdicts, places, errors by reason, time.",
        ),
        click.option(
            "--out",
            required=True,
            type=OutputFile(),
            metavar="REPORT",
            help="Report: .jsonl, .csv or (with pyarrow) .parquet. A report that is there is "
            "continued.",
        ),
    ):
        named = option(named)
    return named  # type: ignore[no-any-return]  # click's decorators keep the command's own type


def run_scan(
    catalogue: Catalogue,
    start: Callable[[], Callable[[str, Report], _Answer]],
    record_of: Callable[[str, _Answer], Mapping[str, Any]],
    settings: ScanSettings,
    *,
    reader: str,
    columns: Mapping[str, Column],
    row_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    again: Callable[[Mapping[str, Any]], bool] = lambda _record: False,
) -> int:
    """Examine what the report has no answer for yet; the exit code.

    Args:
        catalogue: the files.
        start: as for :func:`watermark.batch.pool.in_order`.
        record_of: a file's answer as a journal record; one with an ``error`` counts as unreadable,
            ``verdict`` is counted for the summary.
        settings: the options.
        reader: what the answers depend on; see :class:`watermark.batch.files.Journal`.
        columns: of the table.
        row_of: a record as a row of the table.
        again: which of the report's records are to be given anew, beside what ``--retry`` means.
    """
    out = settings.out
    kind = out.suffix.lower()
    if kind not in FORMATS:
        raise click.UsageError(f"--out ends in one of {', '.join(FORMATS)}")
    if kind == ".parquet":
        pyarrow()  # said before the work, not after it
    if settings.dataset is not None:
        check_folder(settings.dataset)
    if settings.summary is not None and settings.summary.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError("--summary ends in .html")
    journal_path = out if kind == ".jsonl" else out.with_name(out.name + ".jsonl")

    def wanted_again(record: Mapping[str, Any]) -> bool:
        return (settings.retry and "error" in record) or again(record)

    stopped = False
    with Journal(journal_path, reader=reader, again=wanted_again, stamp=catalogue.stamp) as journal:
        known = len(journal)
        own = (out, journal_path, *(() if settings.summary is None else (settings.summary,)))
        others = apart_from(catalogue, *own)
        fresh = _Listed(path for path in _once(others) if not journal.answered(path))
        begin, count = time.monotonic(), 0
        meter = Meter(fresh.total)
        try:
            for file, answer in told(_engine(fresh, start, settings, meter), meter):
                if isinstance(answer, Failure):
                    journal.add(failure_record(file, answer))
                else:
                    journal.add(record_of(file, answer))
                catalogue.forget(file)
                count += 1
        except KeyboardInterrupt:
            stopped = True
        tally = Counter(outcome_of(record) for record in journal.records())
        if kind != ".jsonl":
            write_table(map(row_of, journal.records()), columns, out)
        if settings.dataset is not None:
            write_dataset(map(row_of, journal.records()), columns, settings.dataset)
        if settings.summary is not None:
            page = summary_page(
                journal.records(),
                title=f"Scan {out.name}",
                examined=count,
                spent_s=time.monotonic() - begin,
            )
            with replacing(settings.summary) as sink:
                sink.write(page.encode())
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
    return _UNREADABLE if tally["unreadable"] or tally["over-limits"] else 0


def _engine(
    files: Iterable[str],
    start: Callable[[], Callable[[str, Report], _Answer]],
    settings: ScanSettings,
    meter: Meter,
) -> Generator[tuple[str, _Answer | Failure]]:
    fetch_first = partial(fetching, start)
    if settings.engine == "ray":
        if settings.ray.num_gpus:
            click.echo(
                f"workers use the device {settings.ray.device} and reserve "
                f"{settings.ray.num_gpus:g} GPUs each",
                err=True,
            )
        return on_ray(_anywhere(files), fetch_first, settings.ray, timeout_s=settings.timeout_s)
    return in_order(
        files,
        fetch_first,
        jobs=settings.jobs,
        timeout_s=settings.timeout_s,
        progress=meter.read,
    )


def _once(files: Iterable[str]) -> Iterator[str]:
    """Each name once, where folders, lists and patterns name a file several times."""
    seen: set[str] = set()
    for file in files:
        if file not in seen:
            seen.add(file)
            yield file


def _anywhere(files: Iterable[str]) -> Iterator[str]:
    """The names, as long as every process can read them."""
    for file in files:
        if file.startswith("memory://"):
            raise ScanError(
                "memory:// is the memory of one process, and Ray works in several; use --jobs 0"
            )
        yield file


class _Listed:
    """The files still to do, listed in a thread of their own, so that their number is known soon.

    Args:
        files: listed once.
    """

    def __init__(self, files: Iterator[str]) -> None:
        self._files = files
        self._found: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._count = 0
        self._ended = False

    def total(self) -> int | None:
        """How many there are; None while they are still listed."""
        return self._count if self._ended else None

    def __iter__(self) -> Iterator[str]:
        threading.Thread(target=self._list, name="listing", daemon=True).start()
        while (found := self._found.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def _list(self) -> None:
        try:
            for file in self._files:
                self._count += 1
                self._found.put(file)
        except BaseException as exc:  # noqa: BLE001 - raised again where the files are taken
            self._found.put(exc)
            return
        self._ended = True
        self._found.put(None)
