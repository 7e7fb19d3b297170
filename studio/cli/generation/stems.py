"""``studio score`` and ``studio stems``: an output's score and four stems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio.cli.caller import open_as_caller
from studio.cli.generation.progress import Meter
from studio.cli.output import emit, json_option, write_output
from studio.core.config import FORMATS
from studio.core.errors import UsageError
from watermark.cli.paths import OutputFile, OutputFolder
from watermark.cli.process import printable

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.derived.renditions import Stems

__all__ = ["hand_out", "require_score", "score", "stems"]


@click.command()
@click.argument("output_id")
@click.option("--midi", type=OutputFile(), help="Write the score to this file (MIDI).")
@click.option(
    "--sheet", type=OutputFile(), help="Write its lead sheet to this file, for `generate --sheet`."
)
@click.option("--json", "as_json", is_flag=True, help="Print the score as JSON, every note of it.")
def score(output_id: str, midi: Path | None, sheet: Path | None, as_json: bool) -> None:
    """Show the score of OUTPUT_ID: key, metre, tempo, form; --json: every note.

    A MIDI file carries the output's id, title and credits and is recorded in the ledger.
    """
    with open_as_caller() as session:
        if midi is not None:
            _write_score(session, output_id, midi)
        if sheet is not None:
            write_output(sheet, session.outputs.chart(output_id).text.encode())
            click.echo(printable(str(sheet)), err=True)
        found = session.outputs.score(output_id)
    if as_json:
        emit(json.loads(found.to_json()))
        return
    click.echo(f"{output_id}  {found.words}")
    for part in found.parts:
        click.echo(f"  {part.stem:8} {part.role:20} {len(part.notes)} notes")


@click.command()
@click.argument("output_id")
@click.option("--out", required=True, type=OutputFolder(), help="Folder to put the files into.")
@click.option("--format", type=click.Choice(FORMATS), help="Format; the output's own by default.")
@json_option
def stems(output_id: str, out: Path, format: str | None, as_json: bool) -> None:
    """Make the stems of OUTPUT_ID (drums, bass, lead, harmony), each watermarked.

    The recorded score is performed again as it was. Consent is asked again. A stem without sound
    is left out.
    """
    with open_as_caller() as session:
        body = _write_stems(session, output_id, out, format)
    if as_json:
        emit(body)


def require_score(session: Session, model: str, folder: Path | None, midi: Path | None) -> None:
    """Refuse before any music is made what a model without scores cannot give."""
    from studio.music.models.config import performs_scores

    known = session.catalog.models().get(model)
    if (folder is not None or midi is not None) and known and not performs_scores(known):
        raise UsageError(f"model {model!r} plays from no score, so it gives no stems and no MIDI")


def hand_out(
    session: Session, output_id: str, folder: Path | None, midi: Path | None
) -> dict[str, Any]:
    """Write stems and score of a new output where they are wanted; what was written."""
    made: dict[str, Any] = {}
    if midi is not None:
        made["midi"] = _write_score(session, output_id, midi)
    if folder is not None:
        made["stems"] = _write_stems(session, output_id, folder, None)
    return made


def _write_score(session: Session, output_id: str, path: Path) -> dict[str, Any]:
    made = session.outputs.score_file(output_id)
    write_output(path, made.content)
    click.echo(f"{printable(str(path))} (ledger entry {made.entry_index})", err=True)
    return {"file": str(path), "sha256": made.sha256, "entry": made.entry_index}


def _write_stems(
    session: Session, output_id: str, folder: Path, format: str | None
) -> dict[str, Any]:
    chosen = next((known for known in FORMATS if known == format), None)
    made: Stems = session.generation.stems(output_id, format=chosen, progress=Meter())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"cannot make {folder}: {exc.strerror}") from exc
    for file in made.files:
        write_output(folder / file.name, file.content)
        click.echo(printable(str(folder / file.name)), err=True)
    for left in made.left_out:
        click.echo(f"left out  {left.text()}", err=True)
    click.echo(f"ledger entry  {made.entry_index} ({made.entry_hash})", err=True)
    return made.to_json()
