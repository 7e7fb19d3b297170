"""Which precision a model is decoded in.

==========  =======================================================================
``exact``   fp32: audiocraft's own tokens. Weights saved in fp16, as hub checkpoints
            are, may be read as such: that changes none of them
``bf16``    weights and products in bf16
``int8``    weights per channel and activations per row in int8
``auto``    int8 where it is at least 1.5 times as fast as bf16 on this processor,
            else bf16 where that is faster than fp32 by as much, else exact; a lossy
            one only if its predictions stay within the limits of
            :mod:`studio.music.models.decoding.quality`. A model that fits the
            processor's cache is decoded exactly.
==========  =======================================================================
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from studio.core.errors import ModelError
from studio.music.models.config import OF_DECODING, Precision, UsedPrecision
from studio.music.models.decoding import kernels
from studio.music.models.decoding.attention import attend
from studio.music.models.decoding.kernels import Kernel
from studio.music.models.decoding.network import Network, check_supported, linear_weights
from studio.music.models.decoding.quality import Quality, measure_quality
from studio.music.models.decoding.sampling import Sampling

__all__ = ["Decoding", "Precision", "prepare", "probe_condition"]

_WORTH = 1.5
"""A lossy precision must be this much faster than the next more exact one."""

_GATE_STEPS = 48
"""Steps compared before `auto` settles on a lossy precision."""

_CACHE_TRIAL_BYTES = 24 * 2**20
"""Keys and values read by the trial of their type, in fp32."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """A network and what it was decided to be. `quality` is None where nothing was compared."""

    network: Network
    precision: UsedPrecision
    kernel: str
    quality: Quality | None = None


@torch.inference_mode()
def prepare(lm: Any, precision: Precision = "exact", *, release: bool = False) -> Decoding:
    """Pack the weights of audiocraft's `lm` with the fastest kernel of the precision.

    Args:
        lm: audiocraft's `LMModel`, in fp32.
        precision: see this module.
        release: free the fp32 weights that are packed otherwise; `lm` itself can then generate
            no more.

    Raises:
        ModelError: no such precision, or this build of torch cannot do it.
    """
    if precision not in get_args(Precision):
        raise ModelError(f"no precision {precision!r}; there are {', '.join(get_args(Precision))}")
    check_supported(lm)
    weights = linear_weights(lm)
    if weights[0].is_cuda:
        decoding = _on_gpu(lm, precision)
        if release:
            _release(lm)
        return decoding
    if precision == "auto" and kernels.small(weights):
        precision = "exact"
    if precision == "auto":
        decoding = _automatic(lm, weights)
    else:
        usable = kernels.available(_kernels(lm, precision))
        if not usable:
            raise ModelError(
                f"this processor or build of torch cannot decode in {precision}; choose exact or "
                "auto"
            )
        decoding = _pack(lm, precision, kernels.fastest(usable, weights))
    if release:
        _release(lm)
    return decoding


def _on_gpu(lm: Any, precision: Precision) -> Decoding:
    """bf16 unless `exact` is asked for: int8 is of use where reading the weights is what costs."""
    if precision == "int8":
        raise ModelError("on a GPU there are exact, bf16 and auto, which is bf16")
    if precision == "exact":
        return Decoding(Network(lm, kernels.Plain, torch.float32), "exact", "Plain")
    return Decoding(Network(lm, kernels.PlainHalf, torch.bfloat16), "bf16", "PlainHalf")


def _kernels(lm: Any, precision: UsedPrecision) -> Sequence[Kernel]:
    if precision != "exact":
        return kernels.BF16 if precision == "bf16" else kernels.INT8
    heads = [linear.weight for linear in lm.linears]
    return kernels.HALVES if kernels.are_halves([*linear_weights(lm), *heads]) else kernels.EXACT


def _pack(lm: Any, precision: UsedPrecision, kernel: Kernel) -> Decoding:
    dtype = torch.float32 if precision == "exact" else _cache_dtype(lm)
    name = getattr(kernel, "__name__", "")
    return Decoding(Network(lm, kernel, dtype), precision, name)


def _automatic(lm: Any, weights: Sequence[Tensor]) -> Decoding:
    """The least exact precision that is worth it and within the limits of quality."""
    chosen = {
        name: kernels.fastest(usable, weights)
        for name in OF_DECODING
        if (usable := kernels.available(_kernels(lm, name)))
    }
    times = dict(zip(chosen, kernels.time_kernels(list(chosen.values()), weights), strict=True))
    bf16, int8 = times.get("bf16", math.inf), times.get("int8", math.inf)
    better: list[UsedPrecision] = []
    if int8 * _WORTH <= min(bf16, times["exact"]):
        better.append("int8")
    if bf16 * _WORTH <= times["exact"]:
        better.append("bf16")
    for precision in better:
        lossy = _pack(lm, precision, chosen[precision])
        quality = _gate(lm, lossy.network, Network(lm))
        if quality.holds:
            return replace(lossy, quality=quality)
    return _pack(lm, "exact", chosen["exact"])


def _gate(lm: Any, network: Network, reference: Network) -> Quality:
    """Compare over a short sequence of random tokens; the bench does so over real ones."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(lm.card, (lm.n_q, _GATE_STEPS + 1), generator=generator)
    tokens[:, 0] = lm.special_token_id
    how = Sampling(top_k=min(250, lm.card))
    return measure_quality(network, reference, probe_condition(lm), tokens, how)


def probe_condition(lm: Any) -> Any:
    """A request to measure with: one word for every text, no melody."""
    from audiocraft.modules.conditioners import ConditioningAttributes, WavCondition

    provider = lm.condition_provider
    silence = WavCondition(
        torch.zeros(1, 1, 1), torch.tensor([0]), sample_rate=[_rate_of(provider)], path=[None]
    )
    return ConditioningAttributes(
        text=dict.fromkeys(provider.text_conditions, "music"),
        wav=dict.fromkeys(provider.wav_conditions, silence),
    )


def _rate_of(provider: Any) -> int:
    """The rate at which a melody conditioner listens; any where there is none."""
    for conditioner in provider.conditioners.values():
        rate = getattr(conditioner, "sample_rate", None)
        if rate:
            return int(rate)
    return 32000


def _cache_dtype(lm: Any) -> torch.dtype:
    """bf16, which halves what attention reads, unless this processor attends faster in fp32."""
    heads = lm.transformer.layers[0].self_attn.num_heads
    positions = 384
    layers = max(1, _CACHE_TRIAL_BYTES // (2 * 2 * 4 * lm.dim * positions))
    generator = torch.Generator().manual_seed(0)
    kept = [
        torch.randn(2, heads, positions, lm.dim // heads, generator=generator)
        for _ in range(2 * layers)
    ]
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[torch.dtype, float] = {}
    for dtype in (torch.bfloat16, torch.float32):
        caches = [one.to(dtype) for one in kept]
        query = caches[0][:, :, :1]
        times[dtype] = math.inf
        for repeat in range(4):
            started = clock()
            for keys, values in zip(caches[::2], caches[1::2], strict=True):
                attend(query, keys, values)
            if repeat:
                times[dtype] = min(times[dtype], clock() - started)
    slower = times[torch.bfloat16] > kernels.MARGIN * times[torch.float32]
    return torch.float32 if slower else torch.bfloat16


def _release(lm: Any) -> None:
    """Free the weights of linear layers and embeddings; what is still used is held elsewhere."""
    nothing = lm.emb[0].weight.new_empty(0)  # MusicGen asks a weight where the model is
    for layer in lm.transformer.layers:
        modules = [layer.self_attn, layer.cross_attention]
        for attention in filter(None, modules):
            attention.in_proj_weight.data = nothing
            attention.out_proj.weight.data = nothing
        layer.linear1.weight.data = nothing
        layer.linear2.weight.data = nothing
    for module in [*lm.emb, *lm.linears]:
        module.weight.data = nothing
