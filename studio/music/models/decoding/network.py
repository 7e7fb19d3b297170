"""One step of audiocraft's transformer for any number of generations at once.

The rows of all generations go through each linear layer together, for a step costs what reading
the weights costs; each attends to its own caches by itself, so what it computes does not depend
on the others' lengths.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from studio.core.errors import ModelError
from studio.music.models.decoding.kernels import Kernel, Plain, keeps_rows_apart

__all__ = ["Network", "check_supported", "linear_weights"]


class Network:
    """The weights of an `LMModel`, packed for decoding. Immutable; runs hold what changes.

    Args:
        lm: audiocraft's model; must pass :func:`check_supported`.
        kernel: packs each linear layer.
        cache_dtype: of the keys and values that runs keep.
    """

    def __init__(
        self, lm: Any, kernel: Kernel = Plain, cache_dtype: torch.dtype | None = None
    ) -> None:
        self.lm = lm
        self.codebooks: int = lm.n_q
        self.dim: int = lm.dim
        # One gather and one product per step instead of one per codebook.
        self.embeddings = torch.cat([emb.weight for emb in lm.emb]).detach()
        self.offsets = torch.arange(lm.n_q, device=self.embeddings.device) * (lm.card + 1)
        biases = [linear.bias for linear in lm.linears]
        self.heads = kernel(
            torch.cat([linear.weight for linear in lm.linears]).detach(),
            None if biases[0] is None else torch.cat(biases).detach(),
        )
        self.out_norm = lm.out_norm
        self.layers = [Layer(layer, kernel) for layer in lm.transformer.layers]
        self.keeps_rows_apart = keeps_rows_apart(kernel)
        self.conditioning = threading.Lock()  # a tokenizer serves one thread at a time
        self.cache_dtype = cache_dtype or self.embeddings.dtype
        self._positions = torch.empty(1, 0, self.dim)

    def positions(self, count: int) -> Tensor | None:
        """What the first `count` positions add (1, count, dim); None without such a table."""
        transformer = self.lm.transformer
        if transformer.positional_embedding not in ("sin", "sin_rope"):
            return None
        if self._positions.shape[1] < count:
            from audiocraft.modules.transformer import create_sin_embedding

            self._positions = transformer.positional_scale * create_sin_embedding(
                torch.arange(count, device=self.embeddings.device).view(1, -1, 1),
                self.dim,
                max_period=transformer.max_period,
                dtype=self.embeddings.dtype,
            )
        return self._positions[:, :count]

    def step(
        self, runs: Sequence[Stepping], tokens: Sequence[Tensor], *, every: bool = False
    ) -> list[Tensor]:
        """Feed each run its `tokens` (requests, codebooks, new steps).

        Returns the logits of what follows the last of them, (rows, codebooks, card) per run; with
        `every` those after each, (rows, new steps, codebooks, card).
        """
        entering = [run.enter(part) for run, part in zip(runs, tokens, strict=True)]
        spans: list[slice] = []
        end = 0
        for part in entering:
            spans.append(slice(end, end + part.shape[0] * part.shape[1]))
            end = spans[-1].stop
        x = _joined([part.flatten(0, 1) for part in entering])
        for index, layer in enumerate(self.layers):
            x = layer.step(x, index, runs, spans)
        kept: list[Tensor] = []
        for run, part, span, new in zip(runs, entering, spans, tokens, strict=True):
            run.position += part.shape[1]
            by_row = x[span].view(part.shape)
            kept.append(by_row[:, -(new.shape[-1] if every else 1) :])
        x = _joined([part.flatten(0, 1) for part in kept])
        if self.out_norm is not None:
            x = self.out_norm(x)
        logits = torch.split(self.heads(x), [part.shape[0] * part.shape[1] for part in kept])
        shaped = [
            one.view(*part.shape[:2], self.codebooks, -1)
            for one, part in zip(logits, kept, strict=True)
        ]
        return shaped if every else [one[:, -1] for one in shaped]


class Attending(Protocol):
    """What a layer asks of a generation; both over its rows and new steps, (rows * steps, …)."""

    def attend(self, index: int, projected: Tensor) -> Tensor:
        """Self-attention of layer `index`: queries, keys and values side by side to (…, dim)."""
        ...

    def attend_to_text(self, index: int, query: Tensor) -> Tensor:
        """Cross-attention of layer `index`: (…, dim) to the same."""
        ...


class Stepping(Attending, Protocol):
    """What the network asks of a generation that it steps through; a run is one."""

    position: int

    def enter(self, tokens: Tensor) -> Tensor:
        """What `tokens` (requests, codebooks, new steps) are to the first layer."""
        ...


class Layer:
    """One transformer layer, its linear layers packed."""

    def __init__(self, layer: Any, kernel: Kernel) -> None:
        attention = layer.self_attn
        self.heads: int = attention.num_heads
        self.rope = attention.rope
        self.norm = layer.norm1
        self.projection = kernel(*_detached(attention.in_proj_weight, attention.in_proj_bias))
        self.out = _Residual(attention.out_proj, layer.layer_scale_1, kernel)
        self.cross_query: Any = None
        cross = layer.cross_attention
        if cross is not None:
            third = cross.in_proj_weight.shape[0] // 3
            weight, bias = _detached(cross.in_proj_weight, cross.in_proj_bias)
            first, rest = slice(0, third), slice(third, None)
            self.norm_cross = layer.norm_cross
            self.cross_query = kernel(weight[first], None if bias is None else bias[first])
            self.cross_source = kernel(weight[rest], None if bias is None else bias[rest])
            self.cross_out = _Residual(cross.out_proj, layer.layer_scale_cross, kernel)
        self.norm_hidden = layer.norm2
        self.activation: Callable[[Tensor], Tensor] = layer.activation
        self.hidden = kernel(*_detached(layer.linear1.weight, layer.linear1.bias))
        self.hidden_out = _Residual(layer.linear2, layer.layer_scale_2, kernel)

    def step(
        self, x: Tensor, index: int, runs: Sequence[Attending], spans: Sequence[slice]
    ) -> Tensor:
        """`x` (rows and steps of all runs, dim) through the layer, keys and values kept."""
        projected = self.projection(self.norm(x))
        x = self.out(
            x,
            _joined(
                [run.attend(index, projected[span]) for run, span in zip(runs, spans, strict=True)]
            ),
        )
        if self.cross_query is not None:
            query = self.cross_query(self.norm_cross(x))
            x = self.cross_out(
                x,
                _joined(
                    [
                        run.attend_to_text(index, query[span])
                        for run, span in zip(runs, spans, strict=True)
                    ]
                ),
            )
        return self.hidden_out(x, self.activation(self.hidden(self.norm_hidden(x))))


class _Residual:
    """A linear layer whose scaled result is added to what went in."""

    def __init__(self, linear: nn.Linear, scale: nn.Module, kernel: Kernel) -> None:
        self.linear = kernel(*_detached(linear.weight, linear.bias))
        self.scale = None if isinstance(scale, nn.Identity) else scale

    def __call__(self, residual: Tensor, x: Tensor) -> Tensor:
        if self.scale is None:
            return self.linear.add_to(residual, x)
        out: Tensor = residual + self.scale(self.linear(x))
        return out


def linear_weights(lm: Any) -> list[Tensor]:
    """The weights that a step multiplies by, in the order it does: what a trial is timed on."""
    weights: list[Tensor] = []
    for layer in lm.transformer.layers:
        weights += [layer.self_attn.in_proj_weight, layer.self_attn.out_proj.weight]
        if layer.cross_attention is not None:
            third = layer.cross_attention.in_proj_weight.shape[0] // 3
            weights += [
                layer.cross_attention.in_proj_weight[:third],
                layer.cross_attention.out_proj.weight,
            ]
        weights += [layer.linear1.weight, layer.linear2.weight]
    return [weight.detach() for weight in weights]


def check_supported(lm: Any) -> None:
    """Raise :class:`ModelError` for an architecture that the network does not cover."""
    wanted: dict[str, Callable[[Any], bool]] = {
        "layers that normalise their input": lambda layer: layer.norm_first,
        "audiocraft's own attention": lambda layer: layer.self_attn.custom,
        "unlimited context": lambda layer: layer.self_attn.past_context is None,
        "one key head per query head": lambda layer: layer.self_attn.kv_repeat == 1,
        "plain queries and keys": lambda layer: (
            not layer.self_attn.qk_layer_norm
            and not getattr(layer.cross_attention, "qk_layer_norm", False)
        ),
    }
    for what, holds in wanted.items():
        if not all(holds(layer) for layer in lm.transformer.layers):
            raise ModelError(f"this checkpoint's language model lacks {what}")
    for way, what in (("input_interpolate", "interpolated onto"), ("sum", "summed into")):
        if lm.fuser.fuse2cond.get(way):
            raise ModelError(f"conditions {what} the input are not supported")


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _detached(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return weight.detach(), None if bias is None else bias.detach()
