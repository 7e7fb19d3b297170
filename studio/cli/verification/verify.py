"""``studio verify`` and ``studio scan``: suspect files, one or a whole catalogue.

They share files, processes, progress and reports with ``watermark detect`` and ``watermark scan``
(:mod:`watermark.cli.batch`). The operator's own machine is at work, so the limits are those of a
stream, half a day of audio, and not those on uploads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio.accounts.permissions import Permission
from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, FAILED, NEGATIVE, UNREADABLE, emit, json_option, write_output
from studio.core.errors import (
    BeyondLimitsError,
    FileAbsentError,
    HostRefusedError,
    HostUnreachableError,
    StudioError,
    UsageError,
)
from watermark.batch.files import Column
from watermark.batch.pool import Failure, Report, in_order
from watermark.cli.batch import (
    Meter,
    answers,
    apart_from,
    failure_record,
    many_files,
    paths_of,
    told,
)
from watermark.cli.paths import OutputFile
from watermark.cli.process import INTERRUPTED, printable
from watermark.cli.scan import ScanSettings, run_scan, scan_options

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.verification.holding import HeldFile
    from studio.verification.report import VerifyReport

__all__ = ["scan", "verify"]

_Work = Callable[["str | HeldFile", Report], "VerifyReport | StudioError | Failure"]
_URL = ("https://", "http://")

_in_process_option = click.option(
    "--in-process", is_flag=True, help="Decode without a sandbox: faster, for files you trust."
)

_COLUMNS = {
    "file": Column("text", "the name under which the file was found: a path or an address"),
    "verdict": Column("text", "see docs/verification.md"),
    "seal_id": Column("text", "of the output whose seal was read"),
    "entry": Column("number", "of the ledger that records that output"),
    "title": Column("text", "of the outputs found, with a semicolon between"),
    "offset_s": Column("number", "where in the output the file begins, seconds"),
    "duration_s": Column("number", "of the audio, seconds"),
    "parts": Column("text", "JSON list: which seconds are from which output"),
    "score": Column("number", "of the detector; above the threshold a seal is there"),
    "threshold": Column("number", "that the score has to reach, for this duration"),
    "p_value": Column("number", "share of unsealed music that scores as high"),
    "fingerprint_distance": Column("number", "share of fingerprint bits that differ"),
    "consent_now": Column("text", "each tag of the output, and its grant's state today"),
    "explanation": Column("text", "the verdict in words"),
    "sha256": Column("text", "of the file"),
    "registered": Column("number", "outputs that were known when the file was examined"),
    "reader": Column("text", "id of the weights"),
    "error": Column("text", "why the file could not be read; empty where it could"),
}


@click.command()
@many_files
@click.option("--no-record", is_flag=True, help="Do not record the verdicts in the ledger.")
@click.option(
    "--report",
    "report_path",
    type=OutputFile(),
    metavar="FILE",
    help="Also write a report on all files: .html to read and print, or .json.",
)
@_in_process_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    files: tuple[str, ...],
    files_from: str | None,
    skip: tuple[str, ...],
    jobs: int,
    no_record: bool,
    in_process: bool,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Say whether each FILE is from here: which output, seconds and consent.

    Folders are searched with all below them. An https:// address is fetched and held, where
    verify.url_hosts of studio.yaml names its host. Exit code 1 if a file is not wholly explained
    as ours.
    """
    urls = [each for each in files if each.startswith(_URL)]
    files = tuple(each for each in files if not each.startswith(_URL))
    paths: Iterable[str] = ()
    if files or files_from is not None or not urls:
        paths = paths_of(files, files_from, skip)
    if report_path is not None and report_path.suffix.lower() not in (".html", ".json"):
        raise UsageError("--report ends in .html or .json")
    if report_path is not None:
        paths = apart_from(paths, report_path)
    code, reports, stopped = DONE, [], False
    with open_as_caller(trust_uploads=in_process) as session:
        session.require(Permission.VERIFY)
        start = _starter(session, record=not no_record, in_process=in_process, apart=jobs > 0)
        try:
            of_urls = _of_urls(session, urls, record=not no_record, in_process=in_process)
            for file, answer in chain(answers(paths, start, jobs=jobs), of_urls):
                if isinstance(answer, StudioError):
                    raise answer
                if isinstance(answer, Failure):
                    click.echo(f"studio: {printable(Path(file).name)}: {answer.why}", err=True)
                    if as_json:
                        emit({**failure_record(file, answer), "file": printable(file)})
                    unread = isinstance(answer, _Absent | _Beyond)
                    code = max(code, UNREADABLE if unread else FAILED)
                    continue
                if as_json:
                    emit(answer.to_json())
                else:
                    _print(answer)
                code = max(code, _verdict_code(answer))
                if report_path is not None:
                    reports.append(answer)
        except KeyboardInterrupt:
            stopped = True
    if report_path is not None:
        _write_report(report_path, reports)
    ctx.exit(INTERRUPTED if stopped else code)


@click.command()
@many_files
@scan_options
@click.option(
    "--stale",
    is_flag=True,
    help="Examine files again that were checked before newer outputs existed.",
)
@click.option("--record", is_flag=True, help="Append every verdict to the ledger.")
@_in_process_option
@click.pass_context
def scan(
    ctx: click.Context,
    files: tuple[str, ...],
    files_from: str | None,
    skip: tuple[str, ...],
    settings: ScanSettings,
    stale: bool,
    record: bool,
    in_process: bool,
) -> None:
    """Verify every file of a catalogue; a report continues an interrupted run.

    FILE is a file, a folder, a pattern like 'music/**/*.flac' or an address like s3://bucket/music.
    Exit code 0 when all was examined, whatever was found; 3 if files could not be read.
    """
    with open_as_caller(trust_uploads=in_process) as session:
        count = session.verification.output_count()

        def again(known: Mapping[str, Any]) -> bool:
            told = known.get("registered")  # None: it could not be read
            return stale and told is not None and told < count

        apart = settings.engine == "ray" or settings.jobs > 0
        device = settings.ray.device
        code = run_scan(
            paths_of(files, files_from, skip),
            _starter(session, record=record, in_process=in_process, apart=apart, device=device),
            _record_of,
            settings,
            reader=session.verification.seal_model(),
            columns=_COLUMNS,
            row_of=_row_of,
            again=again,
        )
    ctx.exit(code)


def _of_urls(
    session: Session, urls: Iterable[str], *, record: bool, in_process: bool
) -> Iterator[tuple[str, VerifyReport | StudioError | Failure]]:
    """Addresses with what is said of them, fetched one after the other."""
    examine = _work(session, record, in_process)

    def work(url: str, report: Report) -> VerifyReport | StudioError | Failure:
        try:
            held = session.verification.hold(url)
        except (HostRefusedError, HostUnreachableError, BeyondLimitsError) as exc:
            return _Absent(str(exc), kind=type(exc).__name__)
        return examine(held, report)

    meter = Meter()
    return told(in_order(urls, lambda: work, jobs=0, progress=meter.read), meter)


def _starter(
    session: Session, *, record: bool, in_process: bool, apart: bool, device: str = "cpu"
) -> Callable[[], _Work]:
    """What starts the work: here on the studio that is open, or on one of each worker's own."""
    if apart:
        return partial(_start, record, in_process, device)
    return lambda: _work(session, record, in_process)


def _start(record: bool, in_process: bool, device: str) -> _Work:
    """In a worker process. The caller's right was checked in the parent."""
    from studio.accounts.permissions import LOCAL_OWNER
    from studio.app.gateway import open_gateway

    gateway = open_gateway(trust_uploads=in_process, seal_device=device)
    return _work(gateway.session(LOCAL_OWNER), record, in_process)


def _work(session: Session, record: bool, in_process: bool) -> _Work:
    from studio.verification.holding import HeldFile
    from watermark.audio.waveform import STREAM_LIMITS

    limits = replace(
        STREAM_LIMITS,
        isolated=not in_process,
        unfiltered=session.config.uploads.allow_unfiltered,
    )

    def work(file: str | HeldFile, report: Report) -> VerifyReport | StudioError | Failure:
        try:
            return session.verification.verify(file, record=record, limits=limits, progress=report)
        except FileAbsentError as exc:
            name = file.path.name if isinstance(file, HeldFile) else Path(file).name
            why = str(exc).removeprefix(f"{name}: ")
            return _Absent(why.removesuffix(", or it is no longer here"))
        except BeyondLimitsError as exc:
            return _Beyond(str(exc), kind=type(exc.__cause__).__name__)
        except StudioError as exc:  # not this file's fault: the run ends
            return exc

    return work


class _Absent(Failure):
    """A named file that is not there or may not be read; the others are examined."""


class _Beyond(Failure):
    """A file over a limit on what is examined: no verdict. ``kind`` names the limit's error."""


def _record_of(file: str, answer: VerifyReport | StudioError | Failure) -> dict[str, Any]:
    if isinstance(answer, StudioError):
        raise answer
    if isinstance(answer, Failure):
        return failure_record(file, answer)
    body = answer.to_json()
    if body["error"] is None:
        del body["error"]
    return {**body, "file": file}


def _row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    consent = [f"{line['tag']}: {line['now']}" for line in record.get("consent", ())]
    titles = [output["title"] for output in record.get("outputs", ())]
    return {
        **record,
        "title": "; ".join(titles),
        "parts": record.get("matches"),
        "fingerprint_distance": (record.get("fingerprint") or {}).get("distance"),
        "consent_now": "; ".join(consent),
    }


def _verdict_code(report: VerifyReport) -> int:
    if report.error is not None:
        return UNREADABLE
    return NEGATIVE if report.verdict.is_negative else DONE


def _print(report: VerifyReport) -> None:
    click.echo(f"{printable(report.file or '')}: {report.verdict}")
    if report.origin is not None:
        click.echo(f"  fetched from {printable(report.origin.urls[0])}, SHA-256 {report.sha256}")
    click.echo(f"  {report.explanation}")
    for output in report.outputs:
        click.echo(f"  seal {output.release.seal_id}, ledger entry {output.release.entry_index}")
        for line in output.consent:
            since = f" since {line.since}" if line.since else ""
            click.echo(f"  {line.tag}: {line.holder} ({line.grant}), now {line.now}{since}")


def _write_report(path: Path, reports: list[VerifyReport]) -> None:
    from studio.reports.verification.json import as_json
    from studio.reports.verification.page import report_page

    text = report_page(reports) if path.suffix.lower() == ".html" else as_json(reports)
    write_output(path, text)
    click.echo(f"report: {printable(str(path))}", err=True)
