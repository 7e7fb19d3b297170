"""Draw the performer's tokens frame by frame: cached and cancellable.

audiocraft's own streaming grows its cache by copying and draws from the process's random numbers.
Here the keys and values of each layer lie in a ring of ``context + 1`` places (attention does not
mind their order; positions are in the keys), the random numbers come from one `torch.Generator` per
take, and the number of rows is always :data:`ROWS`: a matrix product of another height rounds
otherwise, and one token drawn differently is another performance. So a take is the same alone and
beside others, wherever they have got to. Rows cost nothing that is worth saving, as a step only
waits for the weights.

>>> import torch
>>> from studio.music.models.house.language_model import build_language_model
>>> config = PerformerConfig(tags=("genre/jazz",), dim=32, layers=1, heads=2, context=4)
>>> state = build_language_model(config).state_dict()
>>> rows = TokenRows(StepWeights(state, config))
>>> with rows.take(Drawing(), seed=7) as stream:
...     stream.advance(torch.zeros(3, 32), torch.ones(4, dtype=torch.bool)).shape
torch.Size([8, 2])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from studio.core.errors import ModelError, UsageError
from studio.music.models.batching import Batch
from studio.music.models.house.language_model import CODEBOOKS, PerformerConfig
from studio.music.models.house.notes import STEMS

__all__ = ["DRAWN", "ROWS", "Drawing", "StepWeights", "TokenRows", "TokenStream"]

ROWS = 4
"""Rows of every step, and so the most takes that are drawn at once."""

DRAWN = -1
"""Stands among given tokens where a token is to be drawn."""

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
        self.turns = torch.polar(torch.ones_like(angles), angles)


class TokenRows:
    """The places in which takes are drawn together. Safe to share between threads."""

    def __init__(self, weights: StepWeights) -> None:
        self.weights = weights
        self._batch: Batch[TokenStream] = Batch(self._step, ROWS)
        width = weights.dim // weights.heads
        shape = (len(weights.layers), ROWS, weights.heads, weights.places, width)
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape)
        self._last = torch.full((ROWS, weights.codebooks), weights.bins)
        self._offsets = torch.arange(weights.codebooks) * (weights.bins + 1)

    @contextmanager
    def take(
        self,
        how: Drawing,
        seed: int,
        waiting: Callable[[], None] = lambda: None,
        given: Tensor | None = None,
    ) -> Iterator[TokenStream]:
        """A new take in one of the places; `waiting` is called, and may raise, until one is free.

        `given` (codebooks, frames) are tokens that are played instead of drawn, :data:`DRAWN`
        where there is none. The place is given back with the block.
        """
        with self._batch.place(waiting) as place:
            yield TokenStream(self.weights, self._batch, place, how, seed, given)

    @torch.inference_mode()
    def _step(self, takes: Sequence[TokenStream]) -> None:
        """One step of these takes; the other rows are computed with and thrown away."""
        weights = self.weights
        condition = torch.zeros(ROWS, weights.dim)
        positions = [0] * ROWS
        for take in takes:
            condition[take.place] = take.condition()
            positions[take.place] = take.position
            if take.position == 0:
                self._last[take.place] = weights.bins
        if max(positions) >= len(weights.turns):
            raise UsageError("the piece is too long for one performance")
        drawn = self._draw(self._logits(takes, condition, torch.tensor(positions)), takes)
        for take in takes:
            self._last[take.place] = take.keep(drawn[take.place])

    def _logits(self, takes: Sequence[TokenStream], condition: Tensor, positions: Tensor) -> Tensor:
        """Logits of all rows, (rows, codebooks, bins); keys and values of the takes are kept."""
        weights = self.weights
        x = F.embedding(self._last + self._offsets, weights.embeddings).sum(1) + condition
        turns = weights.turns[positions][:, None, None]
        for layer, keys, values in zip(weights.layers, self._keys, self._values, strict=True):
            projected = _product(_normal(x, layer.norm), layer.projection)
            projected = projected.view(ROWS, 3, weights.heads, -1)
            turned, value = _rotated(projected[:, :2], turns), projected[:, 2]
            for take in takes:
                row, slot = take.place, take.position % weights.places
                keys[row, :, slot] = turned[row, 1]
                values[row, :, slot] = value[row]
            attended = self._attend(takes, turned[:, 0, :, None], keys, values)
            x = x + _product(attended.reshape(ROWS, -1), layer.out)
            hidden = F.gelu(_product(_normal(x, layer.norm_hidden), layer.hidden))
            x = x + _product(hidden, layer.hidden_out)
        logits = _product(_normal(x, weights.out_norm), weights.head)
        return logits.view(ROWS, weights.codebooks, weights.bins)

    def _attend(
        self, takes: Sequence[TokenStream], query: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """All rows at once where the takes know equally many frames, else each by itself."""
        known = {min(take.position + 1, self.weights.places) for take in takes}
        if len(known) == 1:
            (count,) = known
            return F.scaled_dot_product_attention(query, keys[:, :, :count], values[:, :, :count])
        out = torch.zeros_like(query)
        for take in takes:
            row, count = take.place, min(take.position + 1, self.weights.places)
            out[row : row + 1] = F.scaled_dot_product_attention(
                query[row : row + 1],
                keys[row : row + 1, :, :count],
                values[row : row + 1, :, :count],
            )
        return out

    def _draw(self, logits: Tensor, takes: Sequence[TokenStream]) -> Tensor:
        """One token per row and codebook, (rows, codebooks), each take by its own generator."""
        if len({take.how for take in takes}) == 1:
            return _drawn(logits, takes[0].how, {take.place: take.generator for take in takes})
        out = torch.zeros(logits.shape[:2], dtype=torch.long)
        for take in takes:
            row = slice(take.place, take.place + 1)
            out[row] = _drawn(logits[row], take.how, {0: take.generator})
        return out


class TokenStream:
    """One take's tokens, drawn in order; :meth:`advance` goes on where it stopped.

    Made by :meth:`TokenRows.take`.
    """

    def __init__(
        self,
        weights: StepWeights,
        batch: Batch[TokenStream],
        place: int,
        how: Drawing,
        seed: int,
        given: Tensor | None = None,
    ) -> None:
        self.place, self.how = place, how
        self.generator = torch.Generator().manual_seed(seed)
        self.position = 0
        self._weights, self._batch = weights, batch
        self._delays = torch.tensor(weights.delays)
        self._given = None if given is None else _shifted(given, weights.delays)
        self._begin = 0  # position at which the conditions begin
        self._conditions = self._playing = torch.zeros(0)
        self._waiting: list[Tensor] = []  # steps whose later codebooks are not drawn yet

    def advance(
        self,
        condition: Tensor,
        present: Tensor,
        on_step: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """The tokens that the next conditions complete, (8, frames).

        `condition` (steps, dim) goes on from the steps before; `present` (4,) says which stems
        have notes: the others have no tokens and get 0. A codebook that comes a step later is known
        a step later, so the first call gives a frame less than it takes. `on_step` is called about
        once a step; what it raises ends the drawing.
        """
        weights = self._weights
        self._begin, self._conditions = self.position, condition
        self._playing = present.repeat(weights.codebooks // len(STEMS))
        self._batch.advance(self, len(condition), on_step)
        latest = max(weights.delays)
        steps = torch.stack(self._waiting, -1)  # (codebooks, steps)
        frames = max(0, steps.shape[-1] - latest)
        out = torch.stack(
            [steps[k, delay : delay + frames] for k, delay in enumerate(weights.delays)]
        )
        self._waiting = self._waiting[frames:]
        return torch.where(out == weights.bins, 0, out)

    def condition(self) -> Tensor:
        """The condition of the next step, (dim,)."""
        return self._conditions[self.position - self._begin]

    def keep(self, drawn: Tensor) -> Tensor:
        """Take a step's tokens (codebooks,) in; what the next step is to read of them."""
        if self._given is not None and self.position < self._given.shape[-1]:
            given = self._given[:, self.position]
            drawn = torch.where(given == DRAWN, drawn, given)
        last = torch.where(
            self._playing & (self._delays <= self.position), drawn, self._weights.bins
        )
        self._waiting.append(last)
        self.position += 1
        return last


def _drawn(logits: Tensor, how: Drawing, generators: Mapping[int, torch.Generator]) -> Tensor:
    """One token per row and codebook; `generators` by row, the other rows mean nothing."""
    if how.temperature == 0:
        return logits.argmax(-1)
    probs = torch.softmax(logits / how.temperature, -1)
    if 0 < how.top_k < probs.shape[-1]:
        least = torch.topk(probs, how.top_k, dim=-1).values[..., -1:]
        probs = probs * (probs >= least)
    # argmax(p / e) with e ~ Exp(1) draws from p (see studio.music.models.decoding).
    noise = torch.ones_like(probs)
    for row, generator in generators.items():
        noise[row].exponential_(1, generator=generator)
    return (probs / noise).argmax(-1)


def _shifted(tokens: Tensor, delays: Sequence[int]) -> Tensor:
    """Tokens (codebooks, frames) as steps read them, (codebooks, frames + latest delay)."""
    out = torch.full((len(delays), tokens.shape[-1] + max(delays)), DRAWN)
    for k, delay in enumerate(delays):
        out[k, delay : delay + tokens.shape[-1]] = tokens[k]
    return out


def _normal(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *norm)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x` (rows, inputs) times a weight (outputs, inputs), without a bias.

    Written the other way round than `F.linear`: for so few rows MKL then reads the weights faster,
    in two thirds of the time (2-core AMD EPYC, torch 2.13). A row's result depends neither on its
    place nor on the other rows.
    """
    return torch.mm(weight, x.t()).t().contiguous()


def _rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions as audiocraft turns them: neighbouring channels are a complex number."""
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)
