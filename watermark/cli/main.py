"""The ``watermark`` command: parse, call, print, exit code.

Results go to stdout, with ``--json`` as one object a line; messages go to stderr. Exit codes: 0
done, 1 a negative verdict (nothing detected, nothing identified, a carrier that cannot hold a
seal), 2 usage, 3 an input could not be read, 4 the program or its machine failed
(:mod:`watermark.cli.process`). Of many files, one that cannot be read never stops the run: its line
says why, and the exit code is 3 in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from watermark.batch.pool import Failure, Report
from watermark.cli.batch import (
    answers,
    failure_record,
    many_files,
    paths_of,
    run_scan,
    scan_options,
)
from watermark.cli.common import (
    COLUMNS,
    BitRate,
    codebook_of,
    describe,
    describe_identity,
    identity,
    ids_digest,
    unreadable,
)
from watermark.cli.process import INTERRUPTED, CommandGroup, emit, printable
from watermark.errors import AudioError, BenchError, CarrierError, WatermarkError

if TYPE_CHECKING:
    from watermark.audio.waveform import Waveform
    from watermark.coding.message import SealId
    from watermark.detection.detect import Detection
    from watermark.models.base import SealModel, SealModelConfig

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


_model_option = click.option(
    "--model",
    default="house",
    show_default=True,
    metavar="house|hub|FILE.yaml",
    help="Seal model: the embedded one, Meta's from the hub, or a configuration file.",
)
_ids_option = click.option(
    "--ids",
    type=click.Path(dir_okay=False),
    help="Registered seals, one a line: 16 hexadecimal digits, then, if known, the track's seconds "
    "and the key's epoch.",
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
        type=click.Path(dir_okay=False),
        help="Seal key, made by `watermark key create`"
        + ("" if required else "; repeat for several epochs")
        + ". Default: $WATERMARK_KEY_FILE.",
    )


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consented-music-studio")
def main() -> None:
    """Seal music with a keyed watermark, and find out later which output it was."""


@main.group()
def key() -> None:
    """Seal keys. Whoever has one can write and read every seal of its epoch."""


@key.command("create")
@click.argument("path", type=click.Path(dir_okay=False))
@click.option("--epoch", type=click.IntRange(min=1), default=1, show_default=True)
def key_create(path: str, epoch: int) -> None:
    """Make a new key in PATH, readable by its owner only. Never overwrites."""
    from watermark.coding.message import SealKey

    SealKey.create(epoch).save(path)
    click.echo(f"made a key of epoch {epoch} in {Path(path).name}; keep it secret and keep a copy")


@main.command()
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option("--seal-id", metavar="HEX", help="16 hexadecimal digits; a new one if not given.")
@_key_option(required=True)
@_model_option
@click.option("--strength", type=float, help="Strength of the mark; default: the model's own.")
@click.option(
    "--bitrate",
    type=BitRate(),
    metavar="BIT/S",
    help="For mp3, m4a and opus, like 192000 or 192k.",
)
@_json_option
def embed(
    source: str,
    target: str,
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
    networks = _load_model(model)
    made = embed_file(
        source, target, chosen, seal_key, model=networks, strength=strength, bitrate=bitrate
    )
    if as_json:
        record = {"file": printable(target), "seal_id": chosen.hex, "epoch": seal_key.epoch}
        record |= {"model": networks.id, "duration_s": made.duration_s, "score": made.found.score}
        record |= {"identified": made.found.identification is not None, "notes": list(made.notes)}
        emit(record)
    else:
        click.echo(f"{printable(target)}: sealed as {chosen.hex} ({made.duration_s:.1f} s)")
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
@_model_option
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
@_model_option
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


@main.command()
@many_files
@scan_options
@_ids_option
@_key_option(required=False)
@_model_option
@_in_process_option
def scan(
    files: tuple[str, ...],
    files_from: str | None,
    skip: tuple[str, ...],
    jobs: int,
    out: Path,
    timeout_s: float,
    retry: bool,
    ids: str | None,
    key_files: tuple[str, ...],
    model: str,
    in_process: bool,
) -> None:
    """Examine a catalogue into a report that a broken-off run continues.

    Exit code 0 when all was examined, whatever was found; 3 if files could not be read.
    """
    reader = _load_model(model).id + (f", {ids_digest(ids)}" if ids else "")

    def record_of(file: str, answer: Detection | AudioError) -> dict[str, Any]:
        if isinstance(answer, AudioError):
            return unreadable(file, answer)
        body = answer.to_json()
        return {**body, "file": file, "verdict": "sealed" if answer.detected else "no seal"}

    code = run_scan(
        paths_of(files, files_from, skip),
        partial(_start, model, ids, key_files, isolated=not in_process),
        record_of,
        out=out,
        reader=reader,
        columns=COLUMNS,
        row_of=lambda record: {**(record.get("identification") or {}), **record},
        jobs=jobs,
        timeout_s=timeout_s,
        again=lambda record: retry and "error" in record,
    )
    sys.exit(code)


@main.command()
@click.option(
    "--attacks", type=click.Path(dir_okay=False), help="Default: the list that is shipped."
)
@click.option("--only", metavar="TEXT", help="Only attacks whose name or kind holds TEXT.")
@click.option("--audio", type=click.Path(), metavar="DIR", help="Music to seal; default: made up.")
@click.option("--noise", type=click.Path(), metavar="DIR", help="Recordings of noise, to mix in.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share the work; the figures do not depend on it.",
)
@click.option("--speed-search", is_flag=True, help="Read at speeds up to 5 % off, too; slow.")
@click.option("--clips", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=2), default=10.0, show_default=True)
@click.option("--decoys", type=click.IntRange(min=0), default=10_000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--strength", type=float, help="Strength of the mark; default: the model's own.")
@_model_option
@click.option(
    "--out", type=click.Path(file_okay=False), metavar="DIR", help="Where to put reports."
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on stdout.")
def bench(
    attacks: str | None,
    only: str | None,
    audio: str | None,
    noise: str | None,
    jobs: int,
    speed_search: bool,
    clips: int,
    seconds: float,
    decoys: int,
    seed: int,
    strength: float | None,
    model: str,
    out: str | None,
    as_json: bool,
) -> None:
    """Measure how the seal holds: detection, false alarms and identification after every attack.

    With --out, bench.json, bench.txt, bench.html and bench.png are written there.
    """
    import torch

    from watermark.coding.message import SealKey
    from watermark.embedding.embed import embed as embed_seal
    from watermark.evaluation import bench as benching
    from watermark.evaluation.adversarial import all_threats
    from watermark.evaluation.attack_list import (
        default_attacks,
        load_attacks,
        with_recordings,
        without_missing_plugins,
    )
    from watermark.evaluation.parallel import BenchSetting, attack_all
    from watermark.evaluation.report import as_html, as_png, as_text

    specs, without = with_recordings(load_attacks(attacks or default_attacks()), noise)
    if only:
        specs = tuple(s for s in specs if only in s.name or only in s.family)
        without = tuple(name for name in without if only in name)
    specs, lacking = without_missing_plugins(specs)
    missing = {"left out (no --noise DIR)": ", ".join(without)} if without else {}
    for name, modules in lacking.items():
        missing[f"left out ({modules} not installed)"] = name
        click.echo(f"left out: {name} needs {modules}", err=True)
    if not specs:
        raise BenchError(f"no attack whose name or kind holds {only!r} can run here")
    for spec in specs:
        spec.check()
    for name in without:
        click.echo(f"left out: {name} needs --noise DIR", err=True)
    if audio:
        music, left_out = benching.load_clips(audio, count=clips, seconds=seconds)
        for reason in left_out:
            click.echo(f"left out: {reason}", err=True)
        kind = f"{len(music)} files of {Path(audio).resolve().name}"
    else:
        music = benching.synthetic_clips(count=clips, seconds=seconds, seed=seed)
        kind = "made up on the spot (no --audio given); a smoke test, not a measurement"
    # One thread, as in every process of --jobs: then their sums are the same to the last digit.
    torch.set_num_threads(1)
    # The key is thrown away: it is derived from the seed so that a run can be repeated.
    key = SealKey(1, seed.to_bytes(32, "big", signed=True))
    networks = _load_model(model)
    setting = BenchSetting(music, _model_config(model), key, decoys, seed, strength, speed_search)
    stranger_key = SealKey(1, bytes(31) + b"s")

    def stranger(waveform: Waveform, seal_id: SealId) -> Waveform:
        return embed_seal(waveform, seal_id, stranger_key, model=networks)

    def say(text: str) -> None:
        click.echo(text, err=True)

    ready = setting.bench(networks)
    try:
        results = attack_all(
            setting.start if jobs > 1 else lambda: ready,
            specs,
            [clip.name for clip in music],
            jobs=jobs if jobs > 1 else 0,
            progress=say,
        )
        report = ready.report(
            results,
            threats=() if only else all_threats(stranger),
            setting={
                "model": networks.id,
                "audio": kind,
                "speed search": "yes" if speed_search else "no",
                **missing,
            },
            progress=lambda name: say(f"threat: {name}"),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; no report was written") from None
    text, data = as_text(report), json.dumps(report.to_json(), allow_nan=False)
    if out:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.txt").write_text(text + "\n", encoding="utf-8")
        (folder / "bench.json").write_text(data + "\n", encoding="utf-8")
        (folder / "bench.html").write_text(as_html(report), encoding="utf-8")
        if find_spec("matplotlib") is None:
            say("left out: bench.png needs matplotlib")
        else:
            (folder / "bench.png").write_bytes(as_png(report))
    click.echo(data if as_json else text)


def _load_model(name: str) -> SealModel:
    from watermark.models.base import load_seal_model

    return load_seal_model(_model_config(name))


def _model_config(name: str) -> str | SealModelConfig:
    from watermark.models.base import SealModelConfig

    return SealModelConfig.load(name) if name.endswith((".yaml", ".yml")) else name


def _start(
    model: str,
    ids: str | None,
    key_files: tuple[str, ...],
    *,
    isolated: bool,
    speed_search: bool = False,
) -> Callable[[str, Report], Detection | AudioError]:
    """What a worker does with a file; loads weights and registry. Unreadable is an answer."""
    from watermark.audio.waveform import STREAM_LIMITS
    from watermark.detection.detect import detect as detect_seal

    codebook = codebook_of(ids, key_files) if ids else None
    networks = _load_model(model)
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
