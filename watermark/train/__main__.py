"""``python -m watermark.train``: data, run, export, calibrate, measure, keep.

Messages go to standard error, results to standard output.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

_path = click.Path(path_type=Path)
_WEIGHTS = Path(__file__).parents[1] / "models" / "weights" / "house.safetensors"


@click.group()
def main() -> None:
    """Train, calibrate and measure the house seal."""


@main.command()
@click.option("--audio", type=_path, required=True, help="Music: wav, flac or npy below it.")
@click.option("--out", type=_path, required=True, help="Folder for the shards.")
@click.option("--hours", default=3.0, show_default=True)
@click.option("--speech-minutes", default=8.0, show_default=True, help="By espeak-ng; 0 for none.")
@click.option("--npy-rate", default=16_000, show_default=True, help="Sample rate of npy files, Hz.")
@click.option("--only", default="", help="Only files with this in their name (a split).")
@click.option("--seed", default=0)
def data(
    audio: Path, out: Path, hours: float, speech_minutes: float, npy_rate: int, only: str, seed: int
) -> None:
    """Build the shards a run trains on: music-*.npy and speech.npy."""
    from watermark.train.data import build_shard, build_speech

    out.mkdir(parents=True, exist_ok=True)
    seconds = build_shard(
        audio, out / "music-0.npy", max_hours=hours, npy_rate=npy_rate, only=only, seed=seed
    )
    click.echo(f"music: {seconds / 3600:.2f} h", err=True)
    if speech_minutes > 0:
        seconds = build_speech(out / "speech.npy", minutes=speech_minutes, seed=seed)
        click.echo(f"speech: {seconds / 60:.1f} min", err=True)


@main.command()
@click.option("--config", type=_path, default=Path("configs/train/seal.yaml"), show_default=True)
@click.option("--profile", default="cpu", show_default=True)
@click.option("--data", "shards", type=_path, required=True, help="Folder made by `data`.")
@click.option("--work", type=_path, required=True, help="State and log; a run goes on from it.")
@click.option("--init", type=_path, help="Weights (safetensors) that a new run starts from.")
def run(config: Path, profile: str, shards: Path, work: Path, init: Path | None) -> None:
    """Train, or go on with a training that was interrupted."""
    from watermark.train.recipe import load_profile
    from watermark.train.recipe import run as train

    music, speech = sorted(shards.glob("music*.npy")), sorted(shards.glob("speech*.npy"))
    train(load_profile(config, profile), music=music, speech=speech, work=work, init=init)


@main.command()
@click.option("--work", type=_path, required=True)
@click.option("--out", type=_path, default=Path("watermark/models/weights/house.safetensors"))
@click.option("--name", default="house", show_default=True)
@click.option("--strength-db", type=float, required=True, help="Depth K of strength 1.")
@click.option("--max-strength", default=1.6, show_default=True)
@click.option("--chip-cells", default=0, show_default=True, help="Cells of a scramble's chip.")
@click.option("--facts", default="{}", help="JSON about the training, kept in the record.")
def export(
    work: Path,
    out: Path,
    name: str,
    strength_db: float,
    max_strength: float,
    chip_cells: int,
    facts: str,
) -> None:
    """Write the weights and their record."""
    from watermark.train.export import export as write

    digest = write(
        work / "state.pt",
        out,
        name=name,
        strength_db=strength_db,
        max_strength=max_strength,
        chip_cells=chip_cells,
        facts=json.loads(facts),
    )
    click.echo(digest)


@main.command()
@click.option("--strength-db", type=float, required=True, help="Depth K of strength 1.")
@click.option("--max-strength", type=float, required=True, help="The audibility limit, linear.")
@click.option("--floor", type=float, required=True, help="Depth on a perfectly steady band.")
@click.option("--prominence-slope", type=float, required=True, help="dB of depth per dB.")
@click.option("--weights", type=_path, default=None, help="Default: the embedded ones.")
def depth(
    strength_db: float,
    max_strength: float,
    floor: float,
    prominence_slope: float,
    weights: Path | None,
) -> None:
    """Set how deep the mark goes where, in the record; the networks stay, so old seals stay
    readable, and so does the calibration, which is the reader's."""
    from watermark.train.export import update_record

    target = weights or _WEIGHTS
    old = json.loads(target.with_suffix(".json").read_text())["depth"]
    update_record(
        target,
        strength_db=strength_db,
        max_strength=max_strength,
        depth={**old, "floor": floor, "prominence_slope": prominence_slope},
    )


@main.command()
@click.option("--audio", type=_path, required=True, help="Unmarked music of one source.")
@click.option("--source", required=True, help="What it is, for the record.")
@click.option("--scores", type=_path, required=True, help="JSON lines; appended to.")
@click.option("--share", "shares", multiple=True, default=("2:0.1", "5:0.3", "10:1", "30:0.4"))
@click.option("--npy-rate", default=16_000, show_default=True)
@click.option("--only", default="", help="Only files with this in their name.")
@click.option("--most-per-file", default=1000, help="Clips of a duration.")
@click.option("--coded", default=0.3, show_default=True, help="Share coded coarsely first.")
@click.option("--weights", type=_path, default=None, help="Default: the embedded ones.")
@click.option("--write/--no-write", default=False, help="Write the calibration to the record.")
def calibrate(
    audio: Path,
    source: str,
    scores: Path,
    shares: tuple[str, ...],
    npy_rate: int,
    only: str,
    most_per_file: int,
    coded: float,
    weights: Path | None,
    write: bool,
) -> None:
    """Score unmarked clips (a share is seconds:share of clips), then set the thresholds."""
    import torch

    from watermark.models.base import SealModelConfig
    from watermark.models.loading import load_seal_model
    from watermark.train.calibrate import Score, score_clips
    from watermark.train.calibrate import calibrate as rows
    from watermark.train.export import update_record

    torch.set_num_threads(1)
    model = load_seal_model(SealModelConfig("house", path=str(weights) if weights else None))
    wanted = {float(d): float(s) for d, s in (item.split(":") for item in shares)}
    with scores.open("a") as out:

        def log(score: Score) -> None:
            out.write(json.dumps(asdict(score)) + "\n")
            out.flush()

        score_clips(
            audio,
            model,
            source=source,
            shares=wanted,
            npy_rate=npy_rate,
            most_per_file=most_per_file,
            pattern=only,
            log=log,
            coded_share=coded,
        )
    everything = [Score(**json.loads(line)) for line in scores.read_text().splitlines()]
    calibration = rows(everything)
    for row in calibration["rows"]:
        summary = {k: row[k] for k in ("duration_s", "clips", "threshold", "held_out")}
        click.echo(json.dumps(summary))
    if write:
        target = weights or _WEIGHTS
        update_record(target, calibration=calibration)


@main.command()
@click.option("--audio", type=_path, required=True, help="Unmarked music.")
@click.option("--seconds", "durations", multiple=True, type=float, default=(10.0,))
@click.option("--clips", default=400, show_default=True, help="Of each duration, at most.")
@click.option("--most-per-file", default=20, show_default=True)
@click.option("--speed-search", is_flag=True, help="Look at other speeds and tempos too.")
@click.option("--stride", default=1, show_default=True, help="Take every so many-th clip.")
@click.option("--scores", type=_path, default=None, help="JSON lines, one a clip; appended to.")
@click.option("--weights", type=_path, default=None, help="Default: the embedded ones.")
def alarms(
    audio: Path,
    durations: tuple[float, ...],
    clips: int,
    most_per_file: int,
    speed_search: bool,
    stride: int,
    scores: Path | None,
    weights: Path | None,
) -> None:
    """Count how often the detector as it is calls unmarked music sealed."""
    import torch

    from watermark.models.base import SealModelConfig
    from watermark.models.loading import load_seal_model
    from watermark.train.calibrate import count_alarms

    torch.set_num_threads(1)
    model = load_seal_model(SealModelConfig("house", path=str(weights) if weights else None))
    for duration in durations:
        row = count_alarms(
            audio,
            model,
            duration_s=duration,
            clips=clips,
            most_per_file=most_per_file,
            stride=stride,
            speed_search=speed_search,
            log=None if scores is None else scores,
        )
        click.echo(json.dumps({"model": model.id, **row}))


@main.command()
@click.option("--audio", type=_path, required=True, help="Held-out music.")
@click.option("--clips", default=16, show_default=True)
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--start", default=5.0, show_default=True, help="Where in each file, seconds.")
@click.option("--npy-rate", default=16_000, show_default=True)
@click.option("--only", default="")
@click.option("--strength", type=float, default=None)
@click.option("--registered", default=10_000, show_default=True)
@click.option("--attack", "attacks", multiple=True, help="Only this one; may be repeated.")
@click.option("--weights", type=_path, default=None)
def measure(
    audio: Path,
    clips: int,
    seconds: float,
    start: float,
    npy_rate: int,
    only: str,
    strength: float | None,
    registered: int,
    attacks: tuple[str, ...],
    weights: Path | None,
) -> None:
    """Bit accuracy, detection, identification, SI-SNR and speed, as one JSON object."""
    import numpy as np
    import torch

    from watermark.models.base import SealModelConfig
    from watermark.models.loading import load_seal_model
    from watermark.train.calibrate import load
    from watermark.train.data import audio_files
    from watermark.train.measure import ATTACKS
    from watermark.train.measure import measure as figures

    if unknown := sorted(set(attacks) - set(ATTACKS)):
        raise click.UsageError(f"no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}")

    torch.set_num_threads(1)
    model = load_seal_model(SealModelConfig("house", path=str(weights) if weights else None))
    files = [p for p in audio_files(audio) if only in p.name]
    chosen = np.linspace(0, len(files) - 1, min(clips, len(files))).round().astype(int)
    waves = [load(files[i], npy_rate).slice(start, start + seconds) for i in chosen]
    waves = [w for w in waves if w.duration_s > seconds - 0.01]
    result = figures(
        waves,
        model,
        strength=strength,
        registered=registered,
        attacks=attacks or tuple(ATTACKS),
        log=lambda line: click.echo(line, err=True),
    )
    click.echo(json.dumps({"model": model.id, **result}))


@main.command()
@click.argument("reports", type=_path, nargs=-1, required=True)
@click.option("--command", default="", help="How the reports were made, for the record.")
@click.option("--weights", type=_path, default=None, help="Default: the embedded ones.")
def keep(reports: tuple[Path, ...], command: str, weights: Path | None) -> None:
    """Keep `watermark bench` reports (bench.json) beside the weights: verdicts state their misses.

    The first names the length of its clips; rows of the others carry their own.
    """
    from watermark.train.export import bench_record, update_record

    loaded = [json.loads(path.read_text()) for path in reports]
    target = weights or _WEIGHTS
    update_record(target, bench=bench_record(loaded, command))


if __name__ == "__main__":
    main()
