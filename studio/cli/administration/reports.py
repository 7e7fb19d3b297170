"""``studio statement``, ``disclosure``, ``names`` and ``usage``: figures and the names screen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, NEGATIVE, emit, json_option, write_output
from studio.core.errors import UsageError
from watermark.cli.numbers import Count
from watermark.cli.paths import INPUT, OutputFile

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.reports.statements.statement import Period

__all__ = ["disclosure", "names", "statement", "usage"]


@click.command()
@click.option("--holder", metavar="ID", help="Rights holder; `studio consent holder list`.")
@click.option("--all", "everybody", is_flag=True, help="Sums of all holders, against the ledger.")
@click.option("--from", "start", required=True, metavar="DAY", help="First day (UTC), or instant.")
@click.option("--to", "end", required=True, metavar="DAY", help="Last day (UTC), or instant.")
@click.option(
    "--format", type=click.Choice(["csv", "json", "html"]), default="csv", show_default=True
)
@click.option("--as-of", type=Count(0), help="Count the first so many ledger entries.")
@click.option("--out", type=OutputFile(), help="Write to this file instead.")
@click.pass_context
def statement(
    ctx: click.Context,
    holder: str | None,
    everybody: bool,
    start: str,
    end: str,
    format: str,
    as_of: int | None,
    out: Path | None,
) -> None:
    """List what was made under a rights holder's grants in a period, with values.

    A day is the whole day in UTC. With --all, exit code 1 if the holders' statements do not add up
    to the ledger's entries.
    """
    from studio.reports.statements.export import write
    from studio.reports.statements.statement import parse_period

    if everybody == (holder is not None):
        raise UsageError("name one --holder, or ask for --all")
    period = parse_period(start, end)
    with open_as_caller() as session:
        if holder is None:
            ctx.exit(DONE if _everybody(session, period, as_of) else NEGATIVE)
        text = write(session.consent.statement(holder, period, as_of=as_of), format)
    if out is None:
        click.echo(text, nl=False)
        return
    write_output(out, text)


def _everybody(session: Session, period: Period, as_of: int | None) -> bool:
    """One JSON line for each holder and two for the sums; whether they agree."""
    from studio.reports.statements.statement import summary_of

    result = session.consent.reconcile(period, as_of=as_of)
    for holder, sums in result.holders.items():
        emit({"holder": holder, **summary_of(sums)})
    emit({"all_holders": summary_of(result.lines), "ledger": summary_of(result.entries),
          "agree": result.ok})  # fmt: skip
    return result.ok


@click.command()
@click.argument("output_id")
def disclosure(output_id: str) -> None:
    """Print the AI disclosure of OUTPUT_ID: contributions, consent, proof."""
    with open_as_caller() as session:
        body = session.outputs.disclosure(output_id)
    click.echo(json.dumps(body, ensure_ascii=False, indent=2))


@click.group()
def names() -> None:
    """The name screen: it keeps artists' names out of titles and notes."""


@names.command("check")
@click.argument("texts", nargs=-1, required=True)
@json_option
@click.pass_context
def names_check(ctx: click.Context, texts: tuple[str, ...], as_json: bool) -> None:
    """Say for each TEXT whether it may be a title, or whose name it contains."""
    code = DONE
    with open_as_caller() as session:
        answers = [(text, session.catalog.names_in(text)) for text in texts]
    for text, found in answers:
        code = NEGATIVE if found else code
        if as_json:
            hits = [{"name": f.name, "found": f.found, "how": str(f.how)} for f in found]
            emit({"text": text, "allowed": not found, "names": hits})
        else:
            whose = "; ".join(f"{f.name} ({f.how})" for f in found)
            click.echo(f"{'-' if found else '+'} {text}{f': {whose}' if found else ''}")
    ctx.exit(code)


@names.command("measure")
@click.argument("table", type=INPUT)
@json_option
def names_measure(table: Path, as_json: bool) -> None:
    """Measure recall and false refusals of the name screen on TABLE.

    A line of TABLE has three fields with tabs between: refuse or allow, kind, text.
    """
    from studio.consent.name_screen.evaluation import read_table

    with open_as_caller() as session:
        result = session.catalog.measure_name_screen(read_table(table)).to_json()
    if as_json:
        emit(result)
        return
    for what, key in (("refused", "recall_95"), ("wrongly_refused", "false_refusals_95")):
        count, of = result[what]
        low, high = result[key]
        share = f"{count / of:.1%}" if of else "none to count"
        click.echo(f"{what.replace('_', ' ')}: {count} of {of} ({share}; {low:.1%} to {high:.1%})")
    for row in result["kinds"]:
        click.echo(f"  {row['expected']:7} {row['kind']:32} {row['right']:4} of {row['texts']}")
    for expected, kind, text in result["wrong"]:
        click.echo(f"  wrong: should {expected} ({kind}): {text}")


@click.command()
@click.option("--day", metavar="DAY", help="A day in UTC, as 2026-11-22; today by default.")
@json_option
def usage(day: str | None, as_json: bool) -> None:
    """Show what each account generated on a day, near-duplicates, and the limits."""
    try:
        when = None if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{day!r} is no day; write it as 2026-11-22") from None
    with open_as_caller() as session:
        body = session.operation.usage(when).to_json()
    if as_json:
        emit(body)
        return
    click.echo(f"{body['day']} (UTC)")
    for name, limit in body["limits"].items():
        click.echo(f"  limit  {name:24} {limit:g}")
    for row in body["accounts"]:
        click.echo(
            f"  {row['account']}: {row['released']} released, {row['running']} running, "
            f"{row['refused']} refused, {row['stopped']} stopped, {row['failed']} failed, "
            f"{row['seconds']:g} s, "
            f"{row['near_duplicates']} near-duplicates"
        )
    click.echo(
        f"since the beginning: {body['outputs_ever']} outputs, "
        f"{body['near_duplicates_ever']} near-duplicates"
    )
