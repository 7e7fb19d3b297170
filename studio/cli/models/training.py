"""``studio house ...``: make and measure the house model; render the catalogue of music.

Thin wrappers over :mod:`studio.music.training`; every option that shapes a result is in
``configs/train/``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from watermark.cli.numbers import Count, Number
from watermark.cli.paths import INPUT, OutputFile, OutputFolder

__all__ = ["house"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_recipe_profile = click.option(
    "--profile", default="cpu", show_default=True, help="Profile of the recipe: cpu or gpu."
)
_run_option = click.option(
    "--run", "run_dir", required=True, type=_FOLDER, help="Folder of checkpoints and logs."
)
_fresh_option = click.option("--fresh", is_flag=True, help="Begin anew instead of resuming.")
_minutes_option = click.option("--max-minutes", type=Number(), help="Save and stop after so long.")
_codec_option = click.option(
    "--codec",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that `train-stem-codec` wrote.",
)
_encoded_option = click.option(
    "--tracks", required=True, type=_FOLDER, help="Folder that `encode-scores` made."
)
_limit_option = click.option("--limit", type=Count(1), help="At most so many tracks.")


def _recipe(name: str) -> Path:
    from studio.core.paths import resolve_paths

    return resolve_paths().configs / "train" / name


@click.group()
def house() -> None:
    """Make and measure the house model: tracks, stem codec, performer."""


@house.command("compose")
@click.option("--out", required=True, type=OutputFolder(), help="Folder of the catalogue.")
@_limit_option
def compose(out: Path, limit: int | None) -> None:
    """Compose the catalogue that seal models train on; deterministic by seed.

    Its recipe is configs/train/catalogue.yaml.
    """
    from studio.music.training.catalogue import CatalogueConfig, compose_catalogue

    config = CatalogueConfig.load(_recipe("catalogue.yaml"))
    tracks = compose_catalogue(config, out, limit=limit, progress=_Counter("composed"))
    click.echo(f"{len(tracks)} tracks planned in {out}")


@house.command("render")
@click.option("--out", required=True, type=OutputFolder(), help="Folder that `compose` made.")
@_limit_option
def render(out: Path, limit: int | None) -> None:
    """Render tracks that are composed but not rendered yet, with FluidSynth."""
    from studio.music.training.catalogue import render_catalogue

    tracks = render_catalogue(out, limit=limit, progress=_Counter("rendered"))
    hours = sum(track.duration_s for track in tracks) / 3600
    click.echo(f"{len(tracks)} tracks rendered, {hours:.2f} h")


@house.command("evaluate")
@click.option("--weights", type=_FOLDER, help="Weights to measure; the embedded ones by default.")
@click.option("--per-genre", type=Count(1), help="Fresh requests of every genre; 6 by default.")
@click.option("--seed", type=Count(0), help="Another seed gives other fresh requests.")
@click.option("--genre", "genres", multiple=True, help="Only this genre; may be repeated.")
@click.option(
    "--tracks", type=_FOLDER,
    help="Folder that `encode-scores` made: also measure what is copied from training.",
)  # fmt: skip
@click.option("--keep", type=_FOLDER, help="Keep the performances and their references as WAV.")
@click.option("--record", is_flag=True, help="Put the figures into the card of the weights.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    weights: Path | None,
    per_genre: int | None,
    seed: int | None,
    genres: tuple[str, ...],
    tracks: Path | None,
    keep: Path | None,
    record: bool,
    as_json: bool,
) -> None:
    """Measure the house model on fresh requests; exits with 1 where a target is missed.

    Each figure (drones, chords, lead notes, noise, tags heard, speed) stands beside that of the
    composer's own render of the same score.
    """
    from studio.music.models.config import HOUSE_WEIGHTS
    from studio.music.training.evaluation.performance import (
        PerformanceEvaluation,
        evaluate_performer,
    )
    from studio.music.training.performer.export import record_figures

    usual = PerformanceEvaluation()
    options = PerformanceEvaluation(
        per_genre=usual.per_genre if per_genre is None else per_genre,
        seed=usual.seed if seed is None else seed,
        genres=genres,
        tracks=tracks,
    )
    report = evaluate_performer(
        weights or HOUSE_WEIGHTS,
        options,
        keep=keep,
        progress=lambda text: click.echo(text, file=sys.stderr),
    )
    if record:
        record_figures(weights or HOUSE_WEIGHTS, report.to_dict())
    click.echo(json.dumps(report.to_dict()) if as_json else report.text())
    ctx.exit(0 if all(check.reached for check in report.checks) else 1)


_clips_option = click.option(
    "--clips", required=True, type=_FOLDER, help="Folder of the judge's clips."
)


@house.command("render-judge-clips")
@_clips_option
@_limit_option
def render_judge_clips(clips: Path, limit: int | None) -> None:
    """Render what the judge of tags learns from; continues an earlier run."""
    from studio.music.training.evaluation.judge_clips import JudgeDataConfig, render_clips
    from studio.music.training.performer.data import composer_tags

    config = JudgeDataConfig.load(_recipe("judge.yaml"))
    made = render_clips(config, composer_tags(), clips, limit=limit, progress=_Counter("rendered"))
    click.echo(f"{made} clips rendered in {clips}")


@house.command("train-judge")
@_clips_option
@click.option("--out", required=True, type=OutputFolder(), help="Folder for weights and card.")
def train_judge(clips: Path, out: Path) -> None:
    """Train the judge of tags by configs/train/judge.yaml; says how good it is.

    `evaluate` uses the judge that ships with the studio.
    """
    from studio.music.models.config import HOUSE_WEIGHTS
    from studio.music.models.house.performer import CODEC_NAME
    from studio.music.training.evaluation.judge_clips import JudgeDataConfig
    from studio.music.training.evaluation.judge_training import JudgeTrainingConfig
    from studio.music.training.evaluation.judge_training import train_judge as train
    from studio.music.training.performer.data import composer_tags

    recipe = _recipe("judge.yaml")
    right = train(
        JudgeDataConfig.load(recipe),
        JudgeTrainingConfig.load(recipe),
        composer_tags(),
        clips,
        HOUSE_WEIGHTS / CODEC_NAME,
        out,
        progress=_Counter("drawn"),
    )
    click.echo(
        "judged right of the test renders: "
        + ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in right.items())
    )


_tables_option = click.option(
    "--tables", required=True, type=INPUT,
    help="Instrument tables, written by `measure-instruments`.",
)  # fmt: skip


@house.command("measure-instruments")
@click.option(
    "--out", required=True, type=OutputFile(),
    help="File of the tables (.npz).",
)  # fmt: skip
def measure_instruments(out: Path) -> None:
    """Measure the soundfont's instruments for the stem codec."""
    from studio.music.training.stems.instrument_tables import measure_tables
    from studio.music.training.stems.rendering import StemRenderer

    with StemRenderer() as renderer:
        tables = measure_tables(renderer, progress=_Counter("measured"))
    tables.save(out)
    click.echo(f"{len(tables)} instruments in {out}")


@house.command("render-stems")
@click.option("--out", required=True, type=OutputFolder(), help="Folder for train/ and test/.")
@_tables_option
@_limit_option
def render_stems(out: Path, tables: Path, limit: int | None) -> None:
    """Compose and render the stem codec's tracks; continues an earlier run."""
    from studio.music.training.stems.recipe import StemDataConfig, render_tracks

    config = StemDataConfig.load(_recipe("stem-codec.yaml"))
    made = render_tracks(config, tables, out, limit=limit, progress=_Counter("rendered"))
    click.echo(f"{made} tracks rendered in {out}")


@house.command("train-stem-codec")
@click.option("--tracks", required=True, type=_FOLDER, help="Folder that `render-stems` made.")
@_tables_option
@_run_option
@_recipe_profile
@_fresh_option
@click.option(
    "--start", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Begin a new run with the weights of this codec.",
)  # fmt: skip
@_minutes_option
def train_stem_codec(
    tracks: Path,
    tables: Path,
    run_dir: Path,
    profile: str,
    fresh: bool,
    start: Path | None,
    max_minutes: float | None,
) -> None:
    """Train the stem codec by configs/train/stem-codec.yaml; resumes by itself."""
    from studio.music.models.house.excitation import InstrumentTables
    from studio.music.training.stems.codec_training import StemTrainingConfig
    from studio.music.training.stems.codec_training import train_stem_codec as train
    from studio.music.training.stems.data import StemTracks

    path = train(
        StemTrainingConfig.load(_recipe("stem-codec.yaml"), profile),
        InstrumentTables.load(tables),
        StemTracks(tracks / "train"),
        run_dir,
        resume=not fresh,
        start=start,
        max_minutes=max_minutes,
        progress=_Counter("stem codec"),
    )
    click.echo(path)


@house.command("evaluate-stem-codec")
@click.option("--tracks", required=True, type=_FOLDER, help="Folder that `render-stems` made.")
@click.option(
    "--codec", required=True, type=INPUT,
    help="File that `train-stem-codec` wrote.",
)  # fmt: skip
def evaluate_stem_codec(tracks: Path, codec: Path) -> None:
    """Measure the stem codec on held-out tracks."""
    from studio.music.training.stems.evaluation import evaluate_folder

    click.echo(evaluate_folder(codec, tracks / "test", limit=24).text())


@house.command("encode-scores")
@_codec_option
@click.option("--out", required=True, type=OutputFolder(), help="Folder of the encoded tracks.")
@_limit_option
def encode_scores(codec: Path, out: Path, limit: int | None) -> None:
    """Compose, render and encode the performer's tracks; continues an earlier run."""
    from studio.music.training.performer.data import PerformanceDataConfig, encode_tracks

    config = PerformanceDataConfig.load(_recipe("performer.yaml"))
    made = encode_tracks(config, codec, out, limit=limit, progress=_Counter("encoded"))
    click.echo(f"{made} tracks encoded")


@house.command("train-performer")
@_codec_option
@_encoded_option
@_run_option
@_recipe_profile
@_fresh_option
@_minutes_option
def train_performer(
    codec: Path,
    tracks: Path,
    run_dir: Path,
    profile: str,
    fresh: bool,
    max_minutes: float | None,
) -> None:
    """Train the performing model by configs/train/performer.yaml; resumes by itself."""
    from studio.music.training.performer.training import PerformerTrainingConfig
    from studio.music.training.performer.training import train_performer as train

    path = train(
        PerformerTrainingConfig.load(_recipe("performer.yaml"), profile),
        codec,
        tracks,
        run_dir,
        resume=not fresh,
        max_minutes=max_minutes,
        progress=_Counter("performer"),
    )
    click.echo(path)


@house.command("export-performer")
@_codec_option
@_encoded_option
@_run_option
@click.option("--out", required=True, type=OutputFolder(), help="Folder for weights and card.")
@click.option("--temperature", type=Number(0), default=1.0, show_default=True)
@click.option("--top-k", type=Count(0), default=0, help="0 draws from all tokens.")
@click.option("--notes", default="", help="A remark for the card.")
def export_performer(
    codec: Path, tracks: Path, run_dir: Path, out: Path, temperature: float, top_k: int, notes: str
) -> None:
    """Export codec and performer as weights for the studio, with a model card."""
    from studio.music.training.performer.export import export_performer as write

    digest = write(run_dir, codec, tracks, out, temperature=temperature, top_k=top_k, notes=notes)
    click.echo(digest)


_catalogue_option = click.option(
    "--catalogue", required=True, type=_FOLDER, help="Folder that `compose` and `render` made."
)


@house.command("train-bench-codec")
@_catalogue_option
@_run_option
@_recipe_profile
@_fresh_option
@_minutes_option
def train_bench_codec(
    catalogue: Path, run_dir: Path, profile: str, fresh: bool, max_minutes: float | None
) -> None:
    """Train the codec that `watermark bench` attacks with; resumes by itself.

    Its recipe is configs/train/bench-codec.yaml.
    """
    from studio.music.training.catalogue import Catalogue
    from studio.music.training.codec.training import BenchCodecTrainingConfig
    from studio.music.training.codec.training import train_bench_codec as train

    path = train(
        BenchCodecTrainingConfig.load(_recipe("bench-codec.yaml"), profile),
        Catalogue.open(catalogue),
        run_dir,
        resume=not fresh,
        max_minutes=max_minutes,
        progress=_Counter("bench codec"),
    )
    click.echo(path)


@house.command("export-bench-codec")
@_catalogue_option
@_run_option
@click.option("--out", required=True, type=OutputFolder(), help="Folder for weights and card.")
@click.option("--clips", type=Count(1), default=24, show_default=True, help="Held-out clips.")
@click.option("--notes", default="", help="A remark for the card.")
def export_bench_codec(catalogue: Path, run_dir: Path, out: Path, clips: int, notes: str) -> None:
    """Export the bench's codec as weights with a card; measures it on held-out tracks."""
    from studio.music.training.catalogue import Catalogue
    from studio.music.training.codec.export import export_bench_codec as write

    card = write(run_dir, Catalogue.open(catalogue), out, clips=clips, notes=notes)
    click.echo(json.dumps(card["figures"], indent=2))


class _Counter:
    """A line on stderr every few seconds: done, to do, and the figures of a training step."""

    _EVERY_S = 5.0

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + self._EVERY_S

    def __call__(self, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        if time.monotonic() >= self._next or done == total:
            self._next = time.monotonic() + self._EVERY_S
            told = "".join(f"  {name} {value:.4g}" for name, value in (figures or {}).items())
            click.echo(f"{self._what} {done} of {total}{told}", file=sys.stderr)
