"""``studio download``: an output in one of its forms, as a file named after the title."""

from __future__ import annotations

from pathlib import Path

import click

from studio.app.outputs.downloads import FORMS
from studio.cli.caller import open_as_caller
from studio.cli.generation.progress import Meter
from studio.cli.output import emit, json_option, write_output
from studio.core.errors import UsageError
from watermark.cli.paths import OutputFile
from watermark.cli.process import printable

__all__ = ["download"]


@click.command()
@click.argument("output_id")
@click.option(
    "--as",
    "format",
    type=click.Choice([form.name for form in FORMS]),
    help="Format of the file; without it the formats are listed.",
)
@click.option(
    "--out",
    type=OutputFile(),
    help="File to write; by default one in this folder, named after the title.",
)
@json_option
def download(output_id: str, format: str | None, out: Path | None, as_json: bool) -> None:
    """Write OUTPUT_ID as a file of another format: sound, stems, score, receipt, record, credits.

    Sound is transcoded from the released file, with its watermark, then signed and recorded in
    the ledger when it is asked for first. Stems count as one request.
    """
    if format is None:
        if out is not None:
            raise UsageError("--out goes with --as FORMAT")
        _list(output_id, as_json)
        return
    with open_as_caller() as session:
        made = session.renditions.make(output_id, format, progress=Meter())
    path = out or Path(made.file_name)
    if out is None and path.exists():
        raise UsageError(f"{path} is there already; name another file with --out")
    write_output(path, made.content)
    click.echo(printable(str(path)), err=True)
    if made.entry_index is not None:
        click.echo(f"ledger entry  {made.entry_index}", err=True)
    if as_json:
        emit({"file": str(path), "bytes": len(made.content), "entry": made.entry_index})


def _list(output_id: str, as_json: bool) -> None:
    with open_as_caller() as session:
        offers = session.renditions.offers(output_id)
    for offer in offers:
        if as_json:
            emit(offer.to_json())
            continue
        why = "" if offer.why_not is None else f"  not to be had: {offer.why_not}"
        click.echo(f"{offer.form.name:8} {printable(offer.file_name)}{why}")
