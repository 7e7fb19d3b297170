"""Draws the performer's tokens frame by frame: cached, cancellable, the same beside any other take.

audiocraft's own streaming grows its cache by copying and draws from the process's random numbers.
Here the keys and values of each layer lie in a ring of ``context + 1`` places (attention does not
mind their order; positions are in the keys), the random numbers come from one `torch.Generator` per
take, and the number of rows is always :data:`ROWS`: a matrix product of another height rounds
otherwise, and one token drawn differently is another performance. So a take is the same alone and
beside others. Rows cost nothing that is worth saving, as a step only waits for the weights.

>>> import torch
>>> from studio.music.models.house.language_model import build_language_model
>>> config = PerformerConfig(tags=("genre/jazz",), dim=32, layers=1, heads=2, context=4)
>>> state = build_language_model(config).state_dict()
>>> ring = TokenStream(StepWeights(state, config), Drawing(), [7, 8])
>>> condition = torch.zeros(2, 3, 32)
>>> ring.advance(condition, torch.ones(2, 4, dtype=torch.bool)).shape
torch.Size([2, 8, 2])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from studio.core.errors import ModelError, UsageError
from studio.music.models.house.language_model import CODEBOOKS, PerformerConfig
from studio.music.models.house.notes import STEMS

__all__ = ["ROWS", "Drawing", "StepWeights", "TokenStream"]

ROWS = 4
"""Rows of every step, and so the most takes that are drawn at once."""

_ROPE_LENGTH = 1 << 16  # frames: 21 minutes


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a token is drawn. `top_k` 0 draws from all; `temperature` 0 takes the likeliest."""

    temperature: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0:
            raise UsageError("temperature and top-k cannot be negative")


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One transformer layer. Normalisations are pairs of weight and bias."""

    norm: tuple[Tensor, Tensor]
    projection: Tensor
    out: Tensor
    norm_hidden: tuple[Tensor, Tensor]
    hidden: Tensor
    hidden_out: Tensor


class StepWeights:
    """The language model's weights, laid out for one step. Nothing of audiocraft is imported.

    Args:
        state: tensors in fp32 under the names that audiocraft's `LMModel` gives them.
        config: the model's shape.

    Raises :class:`ModelError` where the tensors are not those of a performer of this shape.
    """

    def __init__(self, state: Mapping[str, Tensor], config: PerformerConfig) -> None:
        self.codebooks, self.bins, self.dim = len(STEMS) * CODEBOOKS, config.bins, config.dim
        self.delays = [q for q in range(CODEBOOKS) for _ in STEMS]
        self.heads, self.places = config.heads, config.context + 1
        dim, hidden, width = self.dim, config.hidden_scale * self.dim, self.dim // self.heads

        def tensor(name: str, *shape: int) -> Tensor:
            value = state.get(name)
            if value is None or tuple(value.shape) != shape:
                raise ModelError(f"this language model is not a performer's: {name} is not {shape}")
            return value.detach()

        def norm(name: str) -> tuple[Tensor, Tensor]:
            return tensor(f"{name}.weight", dim), tensor(f"{name}.bias", dim)

        known = [f"emb.{k}.weight" for k in range(self.codebooks)]
        self.embeddings = torch.cat([tensor(name, self.bins + 1, dim) for name in known])
        heads = [f"linears.{k}.weight" for k in range(self.codebooks)]
        self.head = torch.cat([tensor(name, self.bins, dim) for name in heads])
        self.out_norm = norm("out_norm")
        self.layers = [
            LayerWeights(
                norm=norm(f"{layer}.norm1"),
                projection=tensor(f"{layer}.self_attn.in_proj_weight", 3 * dim, dim),
                out=tensor(f"{layer}.self_attn.out_proj.weight", dim, dim),
                norm_hidden=norm(f"{layer}.norm2"),
                hidden=tensor(f"{layer}.linear1.weight", hidden, dim),
                hidden_out=tensor(f"{layer}.linear2.weight", dim, hidden),
            )
            for layer in (f"transformer.layers.{k}" for k in range(config.layers))
        ]
        frequencies = tensor("transformer.rope.frequencies", width // 2)
        angles = torch.outer(torch.arange(_ROPE_LENGTH, dtype=torch.float32), frequencies)
        self.cosine, self.sine = angles.cos(), angles.sin()


class TokenStream:
    """Some takes' tokens, drawn in order; :meth:`advance` goes on where it stopped.

    Args:
        weights: of the language model.
        how: the same for all takes.
        seeds: one per take, at most :data:`ROWS`.
    """

    def __init__(self, weights: StepWeights, how: Drawing, seeds: Sequence[int]) -> None:
        if not 1 <= len(seeds) <= ROWS:
            raise UsageError(f"1 to {ROWS} takes are drawn at once, not {len(seeds)}")
        self.weights, self.how, self.takes = weights, how, len(seeds)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.position = 0
        width = weights.dim // weights.heads
        shape = (len(weights.layers), ROWS, weights.heads, weights.places, width)
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape)
        self._last = torch.full((ROWS, weights.codebooks), weights.bins)
        self._offsets = torch.arange(weights.codebooks) * (weights.bins + 1)
        self._waiting: list[Tensor] = []  # steps whose later codebooks are not drawn yet

    @torch.inference_mode()
    def advance(
        self,
        condition: Tensor,
        present: Tensor,
        on_step: Callable[[], None] | None = None,
    ) -> Tensor:
        """The tokens that the next conditions complete, (takes, 8, frames).

        `condition` (takes, steps, dim) goes on from the steps before; `present` (takes, 4) says
        which stems have notes: the others have no tokens and get 0. A codebook that comes a step
        later is known a step later, so the first call gives a frame less than it takes. `on_step`
        is called before every step; what it raises ends the drawing.
        """
        weights, takes = self.weights, self.takes
        rows = torch.zeros(ROWS, condition.shape[1], weights.dim)
        rows[:takes] = condition
        here = torch.zeros(ROWS, len(STEMS), dtype=torch.bool)
        here[:takes] = present
        playing = here.repeat(1, weights.codebooks // len(STEMS))  # (rows, codebooks)
        for step in range(condition.shape[1]):
            if on_step is not None:
                on_step()
            drawn = self._draw(self._step(rows[:, step]))
            begun = torch.tensor([self.position >= delay for delay in weights.delays])
            self._last = torch.where(playing & begun, drawn, weights.bins)
            self._waiting.append(self._last[:takes])
            self.position += 1
        latest = max(weights.delays)
        steps = torch.stack(self._waiting, -1)  # (takes, codebooks, steps)
        frames = max(0, steps.shape[-1] - latest)
        out = torch.stack(
            [steps[:, k, delay : delay + frames] for k, delay in enumerate(weights.delays)], 1
        )
        self._waiting = self._waiting[frames:]
        return torch.where(out == weights.bins, 0, out)

    def _step(self, condition: Tensor) -> Tensor:
        """One step of all rows, (rows, dim) -> logits (rows, codebooks, bins)."""
        weights, position = self.weights, self.position
        if position >= len(weights.cosine):
            raise UsageError("the piece is too long for one performance")
        x = F.embedding(self._last + self._offsets, weights.embeddings).sum(1) + condition
        place = position % weights.places
        known = min(position + 1, weights.places)
        cosine, sine = weights.cosine[position], weights.sine[position]
        for layer, keys, values in zip(weights.layers, self._keys, self._values, strict=True):
            projected = F.linear(_normal(x, layer.norm), layer.projection)
            query, key, value = projected.view(ROWS, 3, weights.heads, -1).unbind(1)
            keys[:, :, place] = _rotated(key, cosine, sine)
            values[:, :, place] = value
            attended = F.scaled_dot_product_attention(
                _rotated(query, cosine, sine)[:, :, None], keys[:, :, :known], values[:, :, :known]
            )
            x = x + F.linear(attended.reshape(ROWS, -1), layer.out)
            hidden = F.gelu(F.linear(_normal(x, layer.norm_hidden), layer.hidden))
            x = x + F.linear(hidden, layer.hidden_out)
        logits = F.linear(_normal(x, weights.out_norm), weights.head)
        return logits.view(ROWS, weights.codebooks, weights.bins)

    def _draw(self, logits: Tensor) -> Tensor:
        """One token per row and codebook, (rows, codebooks), each take by its own generator."""
        how = self.how
        if how.temperature == 0:
            return logits.argmax(-1)
        probs = torch.softmax(logits / how.temperature, -1)
        if 0 < how.top_k < probs.shape[-1]:
            least = torch.topk(probs, how.top_k, dim=-1).values[..., -1:]
            probs = probs * (probs >= least)
        # argmax(p / e) with e ~ Exp(1) draws from p (see studio.music.models.decoding).
        noise = torch.ones_like(probs)
        for row, generator in enumerate(self.generators):
            noise[row].exponential_(1, generator=generator)
        return (probs / noise).argmax(-1)


def _normal(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *norm)


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions as audiocraft turns them: neighbouring channels are a complex number."""
    real, imaginary = x[..., 0::2], x[..., 1::2]
    return torch.stack(
        [real * cosine - imaginary * sine, real * sine + imaginary * cosine], -1
    ).flatten(-2)
