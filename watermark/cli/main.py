"""The ``watermark`` command: parse, call, print, exit code.

Results go to stdout, with ``--json`` as one object a line; messages go to stderr. Exit codes: 0
done, 1 a negative verdict (nothing detected, nothing identified, a carrier that cannot hold a
seal), 2 usage, 3 an input could not be read, 4 the program or its machine failed
(:mod:`watermark.cli.process`). Of many files, one that cannot be read never stops the run: its line
says why, and the exit code is 3 in the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from watermark.batch.pool import Failure, Report
from watermark.cli import common
from watermark.cli.batch import (
    answers,
    failure_record,
    many_files,
    paths_of,
)
from watermark.cli.bench import bench
from watermark.cli.common import (
    COLUMNS,
    BitRate,
    codebook_of,
    describe,
    describe_identity,
    identity,
    ids_digest,
    model_option,
    unreadable,
)
from watermark.cli.numbers import Count, Number
from watermark.cli.paths import OutputFile
from watermark.cli.process import INTERRUPTED, CommandGroup, emit, printable, verbose_option
from watermark.cli.scan import ScanSettings, run_scan, scan_options
from watermark.errors import AudioError, CarrierError, WatermarkError

if TYPE_CHECKING:
    from watermark.detection.detect import Detection

__all__ = ["main"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

DONE, NEGATIVE, USAGE, UNREADABLE = 0, 1, 2, 3


def exit_code(error: WatermarkError) -> int:
    """The exit code of an error: the one place that says so."""
    if isinstance(error, AudioError):
        return UNREADABLE
    return NEGATIVE if isinstance(error, CarrierError) else USAGE


class _Group(CommandGroup):
    """Gives the package's errors a line on stderr and an exit code."""

    def explained(self, error: BaseException) -> tuple[int, str] | None:
        return (exit_code(error), str(error)) if isinstance(error, WatermarkError) else None


_PATH = click.Path(readable=False)  # what is wrong with it, the command says
_ids_option = click.option(
    "--ids",
    type=_PATH,
    help="Registered seals, one a line: 16 hexadecimal digits, then, if known, the track's "
    "seconds, the key's epoch, and 'scrambled' for seals of today's house weights: that is "
    "quicker.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_speed_option = click.option(
    "--speed-search",
    is_flag=True,
    help="Where nothing is found, also look at speeds and tempos up to 5 % off, in the first ten "
    "minutes of a file: one to three seconds more. What is found so counts every try in its rates.",
)


_in_process_option = click.option(
    "--in-process",
    is_flag=True,
    help="Decode in this process: faster by about 0.2 s a file, for files you trust.",
)


def _key_option(*, required: bool) -> Callable[[_Command], _Command]:
    return click.option(
        "--key-file",
        "key_file" if required else "key_files",
        multiple=not required,
        required=required,
        envvar="WATERMARK_KEY_FILE",
        type=_PATH,
        help="Seal key, made by `watermark key create`"
        + ("" if required else "; repeat for several epochs")
        + ". Default: $WATERMARK_KEY_FILE.",
    )


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consented-music-studio")
@verbose_option
def main() -> None:
    """Seal music with a keyed watermark, and find out later which output it was."""


@main.group()
def key() -> None:
    """Seal keys. A key writes and reads every seal of its epoch."""


@key.command("create")
@click.argument("path", type=OutputFile())
@click.option("--epoch", type=Count(min=1), default=1, show_default=True)
def key_create(path: Path, epoch: int) -> None:
    """Make a new key in PATH, readable by its owner only. Never overwrites."""
    from watermark.coding.message import SealKey

    SealKey.create(epoch).save(path)
    click.echo(
        f"made a key of epoch {epoch} in {printable(path.name)}; keep it secret and keep a copy"
    )


@main.command()
@click.argument("source", metavar="IN", type=_PATH)
@click.argument("target", metavar="OUT", type=OutputFile())
@click.option("--seal-id", metavar="HEX", help="16 hexadecimal digits; a new one if not given.")
@_key_option(required=True)
@model_option
@click.option("--strength", type=Number(), help="Strength of the mark; default: the model's own.")
@click.option(
    "--bitrate",
    type=BitRate(),
    metavar="BIT/S",
    help="For mp3, m4a and opus, like 192000 or 192k.",
)
@_json_option
def embed(
    source: str,
    target: Path,
    seal_id: str | None,
    key_file: str,
    model: str,
    strength: float | None,
    bitrate: int | None,
    as_json: bool,
) -> None:
    """Seal IN and write it to OUT (wav, flac, mp3, m4a, opus, ogg; by extension).

    What was encoded is read again first: OUT is written only if the seal can be read in it, and
    every channel is in its place. Sample format, tags and picture are kept where OUT can hold them;
    what is not kept is said.
    """
    from watermark.coding.message import SealId, SealKey
    from watermark.embedding.file import embed_file

    chosen = SealId.parse(seal_id) if seal_id else SealId.random()
    seal_key = SealKey.load(key_file)
    networks = common.load_model(model)
    made = embed_file(
        source, target, chosen, seal_key, model=networks, strength=strength, bitrate=bitrate
    )
    if as_json:
        record = {"file": printable(str(target)), "seal_id": chosen.hex, "epoch": seal_key.epoch}
        record |= {"model": networks.id, "duration_s": made.duration_s, "score": made.found.score}
        record |= {"identified": made.found.identification is not None, "notes": list(made.notes)}
        emit(record)
    else:
        click.echo(f"{printable(str(target))}: sealed as {chosen.hex} ({made.duration_s:.1f} s)")
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    if made.found.identification is None:
        click.echo("the seal is detected, but this is too short or too faint to be named", err=True)


@main.command()
@many_files
@_json_option
@click.option(
    "--message-logits", is_flag=True, help="With --json: the soft bits, second by second."
)
@_ids_option
@_key_option(required=False)
@model_option
@_speed_option
@_in_process_option
def detect(
    files: tuple[str, ...],
    files_from: str | None,
    skip: tuple[str, ...],
    jobs: int,
    as_json: bool,
    message_logits: bool,
    ids: str | None,
    key_files: tuple[str, ...],
    model: str,
    speed_search: bool,
    in_process: bool,
) -> None:
    """Say for each FILE whether it carries a seal, where, and how surely.

    Folders are searched with all below them. With --ids and --key-file also which seal it is. Exit
    code 1 if a file carries none. Files are decoded in a child process with limits.
    """
    start = partial(
        _start, model, ids, key_files, isolated=not in_process, speed_search=speed_search
    )

    def show(file: str, found: Detection) -> int:
        if as_json:
            emit({**found.to_json(message_logits=message_logits), "file": printable(file)})
        else:
            click.echo(f"{printable(file)}: {describe(found)}")
        return DONE if found.detected else NEGATIVE

    sys.exit(_show_all(paths_of(files, files_from, skip), start, jobs, show, as_json))


@main.command()
@many_files
@_ids_option
@_key_option(required=False)
@model_option
@_speed_option
@_in_process_option
@_json_option
def identify(
    files: tuple[str, ...],
    files_from: str | None,
    skip: tuple[str, ...],
    jobs: int,
    ids: str | None,
    key_files: tuple[str, ...],
    model: str,
    speed_search: bool,
    in_process: bool,
    as_json: bool,
) -> None:
    """Name the seal of each FILE, from a list of ids and a key, without the studio.

    A seal is named only if the chance that any wrong one fits as well, over everything searched, is
    at most one in a million. Exit code 1 if a file's seal cannot be named.
    """
    if not ids:
        raise click.UsageError("identify needs --ids, the list of registered seals")
    start = partial(
        _start, model, ids, key_files, isolated=not in_process, speed_search=speed_search
    )

    def show(file: str, found: Detection) -> int:
        named = found.identification
        if as_json:
            emit({"file": printable(file), "identification": identity(named)})
        else:
            text = describe_identity(named) if named else "no known seal"
            click.echo(f"{printable(file)}: {text}")
        return NEGATIVE if named is None else DONE

    sys.exit(_show_all(paths_of(files, files_from, skip), start, jobs, show, as_json))


main.add_command(bench)


@main.command()
@many_files
@scan_options
@_ids_option
@_key_option(required=False)
@model_option
@_in_process_option
def scan(
    files: tuple[str, ...],
    files_from: str | None,
    skip: tuple[str, ...],
    settings: ScanSettings,
    ids: str | None,
    key_files: tuple[str, ...],
    model: str,
    in_process: bool,
) -> None:
    """Examine a catalogue into a report that a broken-off run continues.

    FILE is a file, a folder, a pattern like 'music/**/*.flac' or an address like s3://bucket/music.
    Exit code 0 when all was examined, whatever was found; 3 if files could not be read.
    """
    reader = common.load_model(model).id + (f", {ids_digest(ids)}" if ids else "")

    def record_of(file: str, answer: Detection | AudioError) -> dict[str, Any]:
        if isinstance(answer, AudioError):
            return unreadable(file, answer)
        body = answer.to_json()
        return {**body, "file": file, "verdict": "sealed" if answer.detected else "no seal"}

    code = run_scan(
        paths_of(files, files_from, skip),
        partial(_start, model, ids, key_files, isolated=not in_process, device=settings.ray.device),
        record_of,
        settings,
        reader=reader,
        columns=COLUMNS,
        row_of=lambda record: {**(record.get("identification") or {}), **record},
    )
    sys.exit(code)


def _start(
    model: str,
    ids: str | None,
    key_files: tuple[str, ...],
    *,
    isolated: bool,
    speed_search: bool = False,
    device: str = "cpu",
) -> Callable[[str, Report], Detection | AudioError]:
    """What a worker does with a file; loads weights and registry. Unreadable is an answer."""
    from watermark.audio.waveform import STREAM_LIMITS
    from watermark.detection.detect import detect as detect_seal

    codebook = codebook_of(ids, key_files) if ids else None
    networks = common.load_model(model, device)
    limits = replace(STREAM_LIMITS, isolated=isolated)

    def work(file: str, report: Report) -> Detection | AudioError:
        try:
            return detect_seal(
                file,
                model=networks,
                codebook=codebook,
                progress=lambda s, _total: report(s),
                limits=limits,
                speed_search=speed_search,
            )
        except AudioError as exc:
            return exc

    return work


def _show_all(
    paths: Iterable[str],
    start: Callable[[], Callable[[str, Report], Detection | AudioError]],
    jobs: int,
    show: Callable[[str, Detection], int],
    as_json: bool,
) -> int:
    """Every answer as it comes, and the exit code of them all."""
    worst = DONE
    try:
        for file, answer in answers(paths, start, jobs=jobs):
            if not isinstance(answer, AudioError | Failure):
                worst = max(worst, show(file, answer))
                continue
            worst = UNREADABLE
            if isinstance(answer, AudioError):
                record, text = unreadable(file, answer), str(answer)
            else:
                record = failure_record(file, answer)
                text = f"{printable(Path(file).name)}: {answer.why}"
            if as_json:
                emit({**record, "file": printable(file)})
            else:
                click.echo(f"Error: {text}", err=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return worst
