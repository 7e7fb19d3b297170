"""One decoding step at several lengths of context, all variants in one run on the same weights.

The variants take turns at each length, so that a busy machine troubles all alike, and the time
counted is what this process was given by the processor (on one thread, about what an idle machine
would take; caches and memory are still shared). The least of the repetitions counts.

How near a step is to what the memory allows: the bytes it must read (weights, keys and values), at
the rate at which the same thread sums up the same weights, over the time it took.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from studio.core.errors import ModelError, UsageError
from studio.music.models.benchmark.variants import Audiocraft, Ours, Transformers, Variant
from studio.music.models.config import Precision
from studio.music.models.decoding.network import Network, linear_weights
from studio.music.models.decoding.precision import prepare
from studio.music.models.decoding.quality import Quality, measure_quality
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling, sample

__all__ = [
    "VARIANTS",
    "StepReport",
    "VariantTimes",
    "make_variant",
    "text_condition",
    "time_steps",
]

VARIANTS = ("audiocraft", "transformers", "exact", "bf16", "int8")

_FRAME_RATE = 50
_TEN_SECONDS = 10 * _FRAME_RATE
_PRECISIONS: dict[str, Precision] = {"exact": "exact", "bf16": "bf16", "int8": "int8"}
_WEIGHT_BYTES = {"exact": 4, "bf16": 2, "int8": 1}


@dataclass(slots=True)
class VariantTimes:
    """One row of the report. Milliseconds and shares are by length of context.

    `ratio` is against audiocraft over ten seconds of music, `prepare_s` the processor time from
    weights in memory to ready. Memory is of a process of its own, with the longest context filled:
    at its peak (while the fp32 weights are packed) and lasting.
    """

    name: str
    kernel: str
    cache: str
    prepare_s: float
    step_ms: dict[int, float] = field(default_factory=dict)
    bandwidth_share: dict[int, float] = field(default_factory=dict)
    ten_seconds_s: float = math.nan
    ratio: float | None = None
    quality: dict[str, float] | None = None
    peak_mb: float | None = None
    resident_mb: float | None = None


@dataclass(frozen=True, slots=True)
class StepReport:
    """What :func:`time_steps` found. `read_gb_s` is the rate of reading the weights."""

    model: str
    threads: int
    repeats: int
    contexts: tuple[int, ...]
    read_gb_s: float
    load_s: float
    variants: tuple[VariantTimes, ...]

    def to_json(self) -> dict[str, Any]:
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded


def time_steps(
    lm: Any,
    *,
    model: str,
    names: Sequence[str] = VARIANTS,
    contexts: Sequence[int] = (0, 750, 1450),
    repeats: int = 5,
    threads: int = 1,
    gate_steps: int = 500,
    load_s: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> StepReport:
    """Time one guided step of each variant in `names` at each of `contexts`.

    With `gate_steps` every lossy precision is also compared with fp32 over so many steps of music
    that it made itself (:mod:`studio.music.models.decoding.quality`).

    Raises :class:`UsageError` for an unknown variant, :class:`ModelError` for one that this
    machine cannot run.
    """
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise UsageError(f"no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            return _time_steps(
                lm, model, names, tuple(contexts), repeats, threads, gate_steps, load_s, say
            )
    finally:
        torch.set_num_threads(before)


def _time_steps(
    lm: Any,
    model: str,
    names: Sequence[str],
    contexts: tuple[int, ...],
    repeats: int,
    threads: int,
    gate_steps: int,
    load_s: float,
    say: Callable[[str], None],
) -> StepReport:
    condition = text_condition(lm)
    clock = time.process_time if threads == 1 else time.perf_counter
    variants: dict[str, Variant] = {}
    rows: dict[str, VariantTimes] = {}
    for name in names:
        say(f"preparing {name}")
        started = clock()
        variants[name] = make_variant(lm, name, condition, longest=max(contexts) + repeats + 2)
        rows[name] = _row(name, variants[name], clock() - started)
    weights = linear_weights(lm)
    weight_count = sum(weight.numel() for weight in weights)
    reading = math.inf
    token = torch.zeros(1, lm.n_q, 1, dtype=torch.int64)
    for context in contexts:
        say(f"{repeats} steps at context {context}")
        best = dict.fromkeys(names, math.inf)
        for repeat in range(repeats + 1):  # the first warms up
            started = clock()
            for weight in weights:
                weight.sum()
            reading = min(reading, clock() - started)
            for name, variant in variants.items():
                variant.at(context)
                started = clock()
                variant.step(token)
                if repeat:
                    best[name] = min(best[name], clock() - started)
        for name, seconds in best.items():
            rows[name].step_ms[context] = seconds * 1e3
    rate = 4 * weight_count / reading
    for row in rows.values():
        cached = 2 * 2 * lm.dim * len(lm.transformer.layers)  # keys and values of two rows
        for context, milliseconds in row.step_ms.items():
            read = weight_count * (2 if row.kernel == "Fp16" else _WEIGHT_BYTES.get(row.name, 4))
            read += cached * context * (2 if row.cache == "bfloat16" else 4)
            row.bandwidth_share[context] = read / rate / (milliseconds / 1e3)
        row.ten_seconds_s = _over_ten_seconds(row.step_ms, lm)
        if "audiocraft" in rows:
            row.ratio = rows["audiocraft"].ten_seconds_s / row.ten_seconds_s
    for variant in variants.values():
        variant.close()
    if gate_steps:
        for name, variant in variants.items():
            if isinstance(variant, Ours) and name != "exact":
                say(f"comparing {name} with fp32 over {gate_steps} steps")
                rows[name].quality = _told(
                    compare_precision(lm, variant.network, condition, gate_steps)
                )
    return StepReport(model, threads, repeats, contexts, rate / 1e9, load_s, tuple(rows.values()))


def make_variant(
    lm: Any, name: str, condition: Any, *, longest: int, release: bool = False
) -> Variant:
    """The variant `name` over `lm`, with room for `longest` steps; see :data:`VARIANTS`."""
    how = Sampling(top_k=min(250, lm.card))
    if name == "audiocraft":
        return Audiocraft(lm, condition, how)
    if name == "transformers":
        reference = Run(Network(lm), [condition], guided=True, steps=1)
        if reference.cross is None or reference.prefix is not None:
            raise ModelError("transformers has only models that attend to a text")
        return Transformers(lm, reference.cross[0], how)
    if name not in _PRECISIONS:
        raise UsageError(f"no variant {name!r}; there are {', '.join(VARIANTS)}")
    decoding = prepare(lm, _PRECISIONS[name], release=release)
    return Ours(decoding, condition, how, longest)


def text_condition(lm: Any) -> Any:
    """A request with the same words for every text the model listens to."""
    from studio.music.models.decoding.precision import probe_condition

    return probe_condition(lm)


def compare_precision(lm: Any, network: Network, condition: Any, steps: int) -> Quality:
    """Generate `steps` by `network`, then compare what it and fp32 say about each of them."""
    how = Sampling(top_k=min(250, lm.card))
    run = Run(network, [condition], guided=True, steps=steps + 1)
    generators = [torch.Generator().manual_seed(1)]
    read: list[Tensor] = [torch.full((lm.n_q,), lm.special_token_id)]
    for step in range(steps):
        (logits,) = network.step([run], [read[-1][None, :, None]])
        drawn = sample(how.guided(*torch.split(logits, 1)), generators, how)[0]
        for codebook in range(step + 1, lm.n_q):  # codebooks start one step apart
            drawn[codebook] = lm.special_token_id
        read.append(drawn)
    return measure_quality(network, Network(lm), condition, torch.stack(read, dim=1), how)


def _told(quality: Quality) -> dict[str, float]:
    return {
        **asdict(quality),
        "perplexity_ratio": quality.perplexity_ratio,
        "holds": quality.holds,
    }


def _row(name: str, variant: Variant, seconds: float) -> VariantTimes:
    if isinstance(variant, Ours):
        cache = str(variant.network.cache_dtype).removeprefix("torch.")
        return VariantTimes(name, variant.decoding.kernel, cache, seconds)
    return VariantTimes(name, "", "float32", seconds)


def _over_ten_seconds(step_ms: dict[int, float], lm: Any) -> float:
    """Seconds for the steps of ten seconds of music: a straight line through the lengths timed."""
    steps = _TEN_SECONDS + lm.n_q - 1
    lengths = sorted(step_ms)
    total = 0.0
    for step in range(steps):
        after = next((one for one in lengths if one >= step), lengths[-1])
        before = max((one for one in lengths if one <= step), default=lengths[0])
        share = 0.0 if after == before else (step - before) / (after - before)
        total += step_ms[before] + share * (step_ms[after] - step_ms[before])
    return total / 1e3


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value
