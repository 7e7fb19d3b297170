"""``studio watch``: examine every file that arrives in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.accounts.permissions import Permission
from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, UNREADABLE, emit, json_option
from studio.core.errors import StudioError, UsageError
from watermark.batch.pool import Failure, in_order
from watermark.cli.batch import Meter, failure_record
from watermark.cli.numbers import Count, Number
from watermark.cli.process import INTERRUPTED, printable

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.app.watching.folder import FolderWatch, Outcome
    from studio.app.watching.webhook import Sender
    from watermark.audio.waveform import DecodeLimits

__all__ = ["watch"]

_FLUSH_S = 20.0  # that the last messages may take when the command ends by itself
_MIB = 1 << 20


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--case", "case_name", metavar="REF", help="Put the files into the case REF or ID.")
@click.option("--once", is_flag=True, help="Examine what is complete now, and end: for cron.")
@click.option(
    "--settle",
    "settle_s",
    type=Number(0.0, 3600.0),
    default=5.0,
    show_default=True,
    help="A file is complete when size and time stay the same for so many seconds.",
)
@click.option(
    "--every",
    "every_s",
    type=Number(0.1, 3600.0),
    default=2.0,
    show_default=True,
    help="Seconds between two looks at the folder.",
)
@click.option(
    "--skip",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files and folders whose name fits, like '*.jpg'; repeat for more.",
)
@click.option(
    "--max-minutes",
    type=Number(0.1, 720.0),
    default=720.0,
    show_default=True,
    help="Longest recording that is examined.",
)
@click.option(
    "--max-mib",
    type=Count(1, 16384),
    default=16384,
    show_default=True,
    help="Largest file that is examined, in MiB.",
)
@click.option(
    "--webhook",
    "url",
    metavar="URL",
    help="Send each verdict there, signed; the host stands in webhooks.hosts of studio.yaml.",
)
@click.option(
    "--in-process", is_flag=True, help="Decode without a sandbox: faster, for files you trust."
)
@json_option
@click.pass_context
def watch(
    ctx: click.Context,
    folder: Path,
    case_name: str | None,
    once: bool,
    settle_s: float,
    every_s: float,
    skip: tuple[str, ...],
    max_minutes: float,
    max_mib: int,
    url: str | None,
    in_process: bool,
    as_json: bool,
) -> None:
    """Examine every file that arrives in FOLDER and below, once it is complete.

    Each verdict is recorded in the ledger once; the same command goes on where it stopped. Ctrl-C
    ends it. With --once the exit code is 0 when all was examined, whatever was found; 3 if files
    could not be read.
    """
    from watermark.audio.waveform import STREAM_LIMITS

    with open_as_caller(trust_uploads=in_process) as session, ExitStack() as stack:
        session.require(Permission.VERIFY)
        limits = replace(
            STREAM_LIMITS,
            max_duration_s=max_minutes * 60,
            max_bytes=max_mib * _MIB,
            isolated=not in_process,
            unfiltered=session.config.uploads.allow_unfiltered,
        )
        watched, sender = _opened(
            session, stack, folder, case_name, url, settle_s=settle_s, skip=skip, limits=limits
        )
        count = _Count(as_json)
        try:
            if once and settle_s:
                watched.complete()
                time.sleep(settle_s)
            _round(watched, count)
            while not once:
                time.sleep(every_s)
                _round(watched, count)
        except KeyboardInterrupt:
            click.echo(f"stopped: {count.all:,} files were answered", err=True)
            ctx.exit(INTERRUPTED)
        if sender is not None:
            left = sender.flush(_FLUSH_S)
            if left:
                click.echo(f"web hook: {left:,} messages wait for the next run", err=True)
        waiting = watched.arrivals.waiting
        if waiting:
            click.echo(f"{waiting:,} files are not complete yet", err=True)
        ctx.exit(UNREADABLE if count.unread else DONE)


def _opened(
    session: Session,
    stack: ExitStack,
    folder: Path,
    case_name: str | None,
    url: str | None,
    *,
    settle_s: float,
    skip: tuple[str, ...],
    limits: DecodeLimits,
) -> tuple[FolderWatch, Sender | None]:
    """The watch and who tells others; both end with the stack."""
    from studio.app.watching.arrivals import Arrivals
    from studio.app.watching.folder import FolderWatch
    from studio.app.watching.webhook import Sender

    case = None if case_name is None else session.cases.named(case_name).case_id
    hook = None
    if url is not None:
        hook, made = session.verification.webhook(url)
        if made is not None:
            click.echo(f"web hook: the secret to check signatures with is in {made}", err=True)
    store = stack.enter_context(session.verification.watch_store(folder, case))
    sender = None
    if hook is not None:
        sender = Sender(hook, store, lambda text: click.echo(f"studio: {text}", err=True))
        stack.callback(sender.close)
    arrivals = Arrivals(folder, settle_s=settle_s, skip=skip)
    watched = FolderWatch(
        session,
        arrivals,
        store,
        limits=limits,
        case_id=case,
        shown=printable,
        hook=None if sender is None else sender.wake,
    )
    return watched, sender


class _Count:
    """What was answered until now, and how it is printed."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.all = 0
        self.unread = 0
        self.crowded = False

    def tell(self, outcome: Outcome) -> None:
        """Print one outcome."""
        body = outcome.body
        self.all += 1
        self.unread += outcome.verdict in (None, "unreadable")
        if self.as_json:
            emit({**body, "repeated": outcome.repeated})
        if outcome.verdict is None:
            click.echo(f"studio: {body['path']}: {body['error']}", err=True)
        elif not self.as_json:
            entry = (body.get("recorded") or {}).get("entry")
            known = ", examined before" if outcome.repeated else ""
            click.echo(f"{body['path']}: {outcome.verdict}, ledger entry {entry}{known}")

    def failed(self, path: str, failure: Failure) -> None:
        """Print that a file could not be examined for now."""
        self.unread += 1
        click.echo(f"studio: {path}: {failure.why}", err=True)
        if self.as_json:
            emit({**failure_record(path, failure), "path": path})


def _round(watched: FolderWatch, count: _Count) -> None:
    """Examine what is complete. Raises :class:`KeyboardInterrupt` and :class:`StudioError`."""
    try:
        complete = watched.complete()
    except OSError as exc:
        raise UsageError(f"the folder cannot be read any more: {exc.strerror}") from exc
    if watched.arrivals.crowded and not count.crowded:
        count.crowded = True
        click.echo("studio: the folder holds too much; some of it is not looked at", err=True)
    meter = Meter()

    def work(name: str, report: Callable[[float], None]) -> Outcome | StudioError | None:
        return watched.examine(complete[name], report)

    with closing(in_order(complete, lambda: work, jobs=0, progress=meter.read)) as run:
        for name, answer in run:
            meter.clear()
            if isinstance(answer, StudioError):
                raise answer
            if isinstance(answer, Failure):
                count.failed(printable(name), answer)
                watched.postpone(name)
            elif answer is not None:
                count.tell(answer)
                watched.settle(answer)
