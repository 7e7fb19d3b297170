"""``studio models bench``: decoding timed side by side, printed as tables or as JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from studio.cli.output import emit
from studio.core.errors import UsageError

if TYPE_CHECKING:
    from studio.music.models.benchmark import StepReport

__all__ = ["models_bench"]


@click.command("bench")
@click.option("--model", help="Id of a configured model; its files are loaded.")
@click.option(
    "--shape",
    type=click.Choice(["musicgen-small", "musicgen-medium"]),
    help="A real layout with random weights instead. Default: musicgen-small.",
)
@click.option(
    "--variant",
    "names",
    multiple=True,
    type=click.Choice(["audiocraft", "transformers", "exact", "bf16", "int8"]),
    help="Time only this one; may be repeated. Default: all.",
)
@click.option("--context", "contexts", multiple=True, type=click.IntRange(0), help="Steps behind.")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option(
    "--gate-steps",
    default=500,
    show_default=True,
    type=click.IntRange(0),
    help="Steps over which bf16 and int8 are compared with fp32; 0 leaves it out.",
)
@click.option("--memory/--no-memory", default=True, help="Measure memory, for a --shape only.")
@click.option(
    "--whole",
    default=0.0,
    type=click.FloatRange(0),
    help="Also generate so many seconds by audiocraft's decoder and ours, and compare the tokens.",
)
@click.option(
    "--together",
    default=0,
    type=click.IntRange(0, 64),
    help="Also time so many requests in the same steps against one after another.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def models_bench(
    model: str | None,
    shape: str | None,
    names: tuple[str, ...],
    contexts: tuple[int, ...],
    repeats: int,
    threads: int,
    gate_steps: int,
    memory: bool,
    whole: float,
    together: int,
    as_json: bool,
) -> None:
    """Time decoding steps: audiocraft, transformers, exact, bf16, int8.

    All take turns in one run, on the same weights. On one thread the time counted is the
    processor's, which other work on this machine lengthens little. The house model performs
    scores and has no such steps; `studio house evaluate` says how long it takes.
    """
    if model is not None and shape is not None:
        raise UsageError("give --model or --shape, not both")
    started = time.process_time()
    text, guidance = "music", 3.0
    if model is None:
        from studio.music.models.benchmark import SHAPES, musicgen_shape

        shape = shape or "musicgen-small"
        checkpoint = musicgen_shape(**SHAPES[shape])
    else:
        checkpoint, text, guidance = _configured(model)
    load_s = time.process_time() - started
    body = _steps(
        checkpoint.lm,
        model=model or str(shape),
        names=names,
        contexts=contexts,
        repeats=repeats,
        threads=threads,
        gate_steps=gate_steps,
        memory_of=shape if memory else None,
        load_s=load_s,
        as_json=as_json,
    )
    if whole:
        body["whole"] = _whole(
            checkpoint, text, guidance, model or str(shape), whole, threads, as_json
        )
    if together:
        body["together"] = _together(
            checkpoint.lm, names, contexts, together, repeats, threads, as_json
        )
    if as_json:
        emit(body)


def _together(
    lm: Any,
    names: tuple[str, ...],
    contexts: tuple[int, ...],
    count: int,
    repeats: int,
    threads: int,
    as_json: bool,
) -> list[dict[str, Any]]:
    from studio.music.models.benchmark.steps import text_condition
    from studio.music.models.benchmark.throughput import time_together
    from studio.music.models.config import OF_DECODING
    from studio.music.models.torch_threads import torch_threads

    with torch_threads(threads):
        found = time_together(
            lm,
            text_condition(lm),
            names=[name for name in OF_DECODING if name in (names or OF_DECODING)],
            contexts=contexts or (0, 750, 1450),
            count=count,
            repeats=repeats,
            say=lambda line: click.echo(line, err=True),
        )
    if not as_json:
        for one in found:
            turns = "" if one.rows_apart else " (this kernel has them take turns)"
            click.echo(
                f"{one.name:6} after {one.context}: {count} requests in {one.together_ms:.0f} ms "
                f"a step, one after another {one.alone_ms:.0f} ms: {one.ratio:.1f} times{turns}"
            )
    return [{**asdict(one), "ratio": one.ratio} for one in found]


def _configured(model: str) -> tuple[Any, str, float]:
    """(checkpoint, what it is prompted with, guidance)."""
    from studio.core.paths import resolve_paths
    from studio.core.tags import Vocabulary
    from studio.music.models.checkpoints import load_checkpoint
    from studio.music.models.config import load_model_configs, performs_scores
    from studio.music.models.generator import hub_is_off, prompt_text

    configs = resolve_paths().configs
    models = load_model_configs(configs / "models")
    if model not in models:
        raise UsageError(f"unknown model {model!r}; there are {', '.join(models)}")
    config = models[model]
    if performs_scores(config):
        raise UsageError(f"model {model!r} performs a score; this bench times token decoders")
    tags = Vocabulary.drafted(configs / "consent").parse(["genre/waltz"])
    checkpoint = load_checkpoint(config, offline=hub_is_off())
    return checkpoint, prompt_text(tags), config.guidance


def _steps(
    lm: Any,
    *,
    names: tuple[str, ...],
    contexts: tuple[int, ...],
    memory_of: str | None,
    as_json: bool,
    **options: Any,
) -> dict[str, Any]:
    from studio.music.models.benchmark.memory import measure_memory
    from studio.music.models.benchmark.steps import VARIANTS, time_steps

    report = time_steps(
        lm,
        names=names or VARIANTS,
        contexts=contexts or (0, 750, 1450),
        say=lambda line: click.echo(line, err=True),
        **options,
    )
    if memory_of is not None:
        for row in report.variants:
            click.echo(f"measuring the memory of {row.name}", err=True)
            found = measure_memory(memory_of, row.name, max(report.contexts))
            row.peak_mb, row.resident_mb = found["peak_mb"], found["resident_mb"]
    if not as_json:
        _print_steps(report)
    return report.to_json()


def _print_steps(report: StepReport) -> None:
    click.echo(
        f"{report.model}: ms a step with guidance (share of the memory's speed), "
        f"{report.threads} thread(s), least of {report.repeats}"
    )
    heads = [f"after {context}" for context in report.contexts]
    click.echo(
        f"{'':13}" + "".join(f"{head:>16}" for head in heads) + f"{'10 s of music':>16}"
        f"{'ratio':>8}{'ready in':>10}{'memory, peak':>18}  kernel, cache"
    )
    for row in report.variants:
        cells = [
            f"{row.step_ms[context]:.1f} ({row.bandwidth_share[context]:.0%})"
            for context in report.contexts
        ]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        memory = "" if row.peak_mb is None else f"{row.resident_mb:.0f}, {row.peak_mb:.0f} MB"
        click.echo(
            f"{row.name:13}"
            + "".join(f"{cell:>16}" for cell in cells)
            + f"{row.ten_seconds_s:>14.1f} s{ratio:>8}{row.prepare_s:>8.1f} s{memory:>18}"
            + f"  {', '.join(filter(None, (row.kernel, row.cache)))}"
        )
    click.echo(f"weights are read at {report.read_gb_s:.1f} GB/s; loaded in {report.load_s:.1f} s")
    for row in report.variants:
        if row.quality is not None:
            _print_quality(row.name, row.quality)


def _print_quality(name: str, quality: Mapping[str, float]) -> None:
    click.echo(
        f"{name} against fp32 over {quality['steps']:.0f} steps: "
        f"KL {quality['kl']:.4f} nats a token, the same token drawn "
        f"{quality['same_drawn']:.1%}, likeliest {quality['same_likeliest']:.1%}, "
        f"perplexity x {quality['perplexity_ratio']:.4f}: "
        + ("within the limits" if quality["holds"] else "BEYOND the limits")
    )


def _whole(
    checkpoint: Any,
    text: str,
    guidance: float,
    name: str,
    seconds: float,
    threads: int,
    as_json: bool,
) -> dict[str, Any]:
    from studio.music.models.benchmark import compare_decoders
    from studio.music.models.decoding.precision import prepare

    times = compare_decoders(
        checkpoint,
        text,
        model=name,
        music_s=seconds,
        runs=1,
        threads=threads,
        guidance=guidance,
        clock="processor" if threads == 1 else "wall",
        network=prepare(checkpoint.lm, "exact").network,
    )
    if not as_json:
        same = "the same tokens" if times.same_tokens else "OTHER TOKENS"
        click.echo(
            f"{seconds:g} s of music: audiocraft {times.audiocraft_s:.1f} s, exact "
            f"{times.ours_s:.1f} s ({times.ratio:.2f} times as fast, {same}), "
            f"codec {times.codec_s:.1f} s"
        )
    return times.to_json()
