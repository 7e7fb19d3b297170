"""``studio calibrate-reader``: the threshold and error rate of a reader of others' marks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import emit, json_option, write_output
from watermark.cli.batch import Meter, paths_of
from watermark.cli.numbers import Number
from watermark.cli.paths import OutputFile
from watermark.cli.process import printable

__all__ = ["calibrate_reader"]


@click.command("calibrate-reader")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--out",
    required=True,
    type=OutputFile(),
    help="File to write; for AudioSeal calibration.json beside $AUDIOSEAL_CONFIG.",
)
@click.option(
    "--reader",
    default="studio.verification.audioseal_reader:open_reader",
    show_default=True,
    help="As verify.other_readers names it.",
)
@click.option(
    "--seconds",
    type=Number(1.0, 600.0),
    default=10.0,
    show_default=True,
    help="Length of the clip from the middle of each recording.",
)
@click.option(
    "--target",
    type=Number(0.0, 0.5),
    default=0.01,
    show_default=True,
    help="Share of unmarked recordings that may pass the threshold.",
)
@click.option(
    "--threshold", type=Number(), help="A threshold chosen beforehand; then all music is counted."
)
@click.option("--skip", multiple=True, metavar="PATTERN", help="Leave out files of that name.")
@json_option
def calibrate_reader(
    folders: tuple[str, ...],
    out: Path,
    reader: str,
    seconds: float,
    target: float,
    threshold: float | None,
    skip: tuple[str, ...],
    as_json: bool,
) -> None:
    """Calibrate a reader of others' marks on the unmarked music in FOLDER.

    The threshold is chosen on one half of the recordings, its false alarms are counted on the
    other. The music must hold no mark of that system; nobody can check that here.
    """
    meter = Meter()

    def files() -> Iterator[Path]:
        for path in paths_of(folders, None, skip):
            yield Path(path)
            meter.done(path)

    def left_out(path: Path, why: str) -> None:
        meter.clear()
        click.echo(f"left out: {printable(path.name)}: {why}", err=True)

    with open_as_caller() as session:
        found = session.verification.calibrate_reader(
            reader,
            files(),
            duration_s=seconds,
            target=target,
            threshold=threshold,
            left_out=left_out,
        )
    meter.clear()
    body = found.to_json()
    write_output(out, json.dumps(body, indent=2) + "\n")
    if as_json:
        emit(body)
        return
    known = found.calibration
    click.echo(
        f"{found.reader} ({found.version}): threshold {known.threshold:.4g}, {known.alarms} alarms "
        f"in {known.clips} unmarked recordings, {known.duration_s:g} s of each: at most "
        f"{known.upper:.2%} of unmarked music passes it (95 % confidence)"
    )
    click.echo(f"written: {printable(str(out))}", err=True)
