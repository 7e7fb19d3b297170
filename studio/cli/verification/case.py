"""``studio case``: files examined for one question, with one signed report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, NEGATIVE, UNREADABLE, emit, json_option, read_bytes
from studio.core.errors import BeyondLimitsError, UsageError
from watermark.cli.numbers import Count
from watermark.cli.paths import INPUT, OutputFile
from watermark.cli.process import printable

if TYPE_CHECKING:
    from studio.verification.cases import Case

__all__ = ["case"]


@click.group()
def case() -> None:
    """Cases: files examined for one question, with notes and one signed report."""


@case.command("open")
@click.argument("reference")
@click.argument("title")
@json_option
def open_case(reference: str, title: str, as_json: bool) -> None:
    """Open a case under a REFERENCE number, with a TITLE; prints its id."""
    with open_as_caller() as session:
        opened = session.cases.open(reference, title)
    _show(opened, as_json=as_json)


@case.command("list")
@json_option
def list_cases(as_json: bool) -> None:
    """List the cases, newest first."""
    with open_as_caller() as session:
        found = session.cases.all()
    for each in found:
        if as_json:
            emit({key: value for key, value in each.to_json().items() if key not in _CONTENT})
        else:
            click.echo(f"{each.case_id}  {each.opened_at[:10]}  {each.reference}  {each.title}")


_CONTENT = frozenset({"examinations", "notes"})


@case.command("show")
@click.argument("case_id")
@json_option
def show(case_id: str, as_json: bool) -> None:
    """Show what is in a case: files, verdicts, ledger entries, notes."""
    with open_as_caller() as session:
        found = session.cases.get(case_id)
    _show(found, as_json=as_json)


@case.command("add")
@click.argument("case_id")
@click.argument("files", nargs=-1, required=True, type=INPUT)
@json_option
@click.pass_context
def add(ctx: click.Context, case_id: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Examine FILES for a case; each verdict is recorded in the ledger.

    Files of hours are examined. Exit code 1 if one is not wholly explained as ours, 3 if one is
    over a limit on what is examined; nothing is recorded of that one.
    """
    from watermark.audio.waveform import STREAM_LIMITS

    code = DONE
    with open_as_caller() as session:
        found = session.cases.get(case_id)
        unfiltered = session.config.uploads.allow_unfiltered
        limits = replace(STREAM_LIMITS, isolated=True, unfiltered=unfiltered)
        for file in files:
            try:
                found = session.cases.examine(case_id, file, name=file.name, limits=limits)
            except BeyondLimitsError as exc:
                click.echo(f"studio: {printable(file.name)}: {exc}", err=True)
                code = UNREADABLE
                continue
            newest = found.examinations[-1]
            click.echo(f"{newest.number}  {printable(file.name)}: {newest.verdict}", err=as_json)
            if newest.verdict not in ("sealed", "excerpt"):
                code = max(code, NEGATIVE)
    if as_json:
        emit(found.to_json())
    ctx.exit(code)


@case.command("note")
@click.argument("case_id")
@click.argument("text")
@click.option("--about", type=Count(1), help="Number of the file that it is about.")
def note(case_id: str, text: str, about: int | None) -> None:
    """Add a note to a case, or to one of its files."""
    with open_as_caller() as session:
        session.cases.note(case_id, text, about=about)


@case.command("report")
@click.argument("case_id")
@click.option(
    "--out",
    required=True,
    type=OutputFile(),
    help="File to write: .zip is the signed archive of all three; .html, .pdf, .json alone.",
)
def report(case_id: str, out: Path) -> None:
    """Write the report on a case."""
    from watermark.util.files import replacing

    with open_as_caller() as session:
        content = session.cases.report(case_id, out.suffix.lower().removeprefix("."))
    try:
        with replacing(out) as file:
            file.write(content)
    except OSError as exc:
        raise UsageError(f"cannot write {out}: {exc.strerror}") from exc
    click.echo(f"report: {printable(str(out))}", err=True)


@case.command("check")
@click.argument("archive", type=INPUT)
@click.option("--public-key", required=True, type=INPUT, help="File of public keys to believe.")
@json_option
def check(archive: Path, public_key: Path, as_json: bool) -> None:
    """Check the signed ARCHIVE of a report with the public key and nothing else: no studio.

    `studio ledger key` prints the studio's public keys.
    """
    from studio.provenance.ledger.checkpoints.public_keys import read_keys
    from studio.reports.cases.archive import check_archive

    keys = read_keys(read_bytes(public_key).decode(errors="replace"))
    checked = check_archive(read_bytes(archive), keys)
    if as_json:
        emit(
            {
                "holds": True,
                "case_id": checked.case_id,
                "reference": checked.reference,
                "made_at": checked.made_at,
                "signed_by": list(checked.signed_by),
            }
        )
        return
    click.echo(
        f"holds: case {checked.reference}, made {checked.made_at}, "
        f"signed by {', '.join(checked.signed_by)}"
    )


@case.command("delete")
@click.argument("case_id")
@click.confirmation_option(prompt="Delete the case permanently?")
def delete(case_id: str) -> None:
    """Delete a case for good; the ledger keeps its verdicts."""
    with open_as_caller() as session:
        session.cases.delete(case_id)


def _show(found: Case, *, as_json: bool) -> None:
    if as_json:
        emit(found.to_json())
        return
    click.echo(f"{found.case_id}  {found.reference}  {found.title}")
    click.echo(f"opened {found.opened_at[:19]}Z by {found.examiner}")
    for each in found.examinations:
        entry = "" if each.recorded is None else f", ledger entry {each.recorded['entry']}"
        click.echo(f"  {each.number}  {printable(each.file)}: {each.verdict}{entry}")
    for written in found.notes:
        about = "" if written.about is None else f" about {written.about}"
        click.echo(f"  note{about} ({written.author}): {written.text}")
