"""``studio audit ...``: the security log, for administrators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, NEGATIVE, emit, json_option, write_output
from watermark.cli.numbers import Count
from watermark.cli.paths import OutputFile

if TYPE_CHECKING:
    from studio.accounts.security_log import SecurityEvent

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """The security log: who did what, when, from where."""


@audit.command("list")
@click.option("--limit", type=Count(1, 10_000), default=50, help="How many, newest first.")
@click.option("--before", type=Count(1), help="Only events below this number.")
@click.option("--event", help="Only events of this kind, like sign-in or denied.")
@click.option("--account", "name", help="Only events of the account NAME.", metavar="NAME")
@json_option
def list_events(
    limit: int, before: int | None, event: str | None, name: str | None, as_json: bool
) -> None:
    """List the newest security events."""
    with open_as_caller() as session:
        events = session.security.newest(limit=limit, before=before, event=event, account=name)
    for found in events:
        if as_json:
            emit(found.to_json())
        else:
            click.echo(_line(found))


def _line(found: SecurityEvent) -> str:
    who = found.name or found.account_id or "-"
    where = found.address or "(erased)"
    about = " ".join(text for text in (found.subject, found.detail) if text)
    return (
        f"{found.seq:>6}  {found.at:%Y-%m-%d %H:%M:%S}  {found.event:15} {found.outcome:8} "
        f"{who:20} {where:20} {about}"
    ).rstrip()


@audit.command()
@click.option(
    "--out",
    type=OutputFile(),
    help="The file to write; standard output by default.",
)
def export(out: Path | None) -> None:
    """Export all events, oldest first, as JSON lines; the last says if they are sound.

    The newest hashes go into the ledger at the same time. Exit code 1 where the log was changed.
    """
    with open_as_caller() as session:
        lines = list(session.security.export())
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_output(out, text)
        click.echo(f"{len(lines) - 1} events", err=True)
    click.get_current_context().exit(DONE if lines[-1]["checked"] else NEGATIVE)


@audit.command()
@json_option
def check(as_json: bool) -> None:
    """Check that the log was not changed; exit with 1 if it was."""
    with open_as_caller() as session:
        found = session.security.check()
    if as_json:
        emit({"ok": found.ok, "fault": found.fault, "events": found.events})
    elif found.ok:
        click.echo(f"{found.events} events, as they were written")
    else:
        click.echo(f"CHANGED: {found.fault}")
    click.get_current_context().exit(DONE if found.ok else NEGATIVE)
