"""Decodes tokens from audiocraft's `LMModel` weights: cached, cancellable, one noise per request.

audiocraft's own `LMModel.generate` recomputes the keys and values of cross-attention at every step
(modules/transformer.py:355), grows its self-attention cache by copying it (:276), samples from the
process's random numbers (utils/utils.py:104), and lets the padding of a batch mate's text join the
softmax (modules/conditioners.py:1386). :class:`CachedLM` stands where MusicGen expects an `LMModel`
and runs the same weights without these: a static key and value cache, cross-attention computed
once, a `torch.Generator` and a text length per request. For one request it gives audiocraft's own
tokens (tests/unit/music/test_decoding.py holds both to it).

The exponential trick: ``argmax(p / e)`` with e ~ Exp(1) draws from p (Gumbel-max with another
noise); `torch.multinomial` does just that, so equal noise gives equal tokens.

>>> import torch
>>> sample(torch.tensor([[0.0, 9.0, 0.0]]), [torch.Generator().manual_seed(7)], Sampling(top_k=1))
tensor([1])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import ModelError

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.conditioners import ConditioningAttributes

__all__ = ["CachedLM", "Sampling", "sample"]

_UNKNOWN = -1
"""Marks a token not generated yet; no codebook holds it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn. `top_k` 0 draws from all; `temperature` 0 takes the likeliest."""

    temperature: float = 1.0
    top_k: int = 250
    guidance: float = 3.0


def sample(logits: Tensor, generators: Sequence[torch.Generator], how: Sampling) -> Tensor:
    """Draw one token per row of `logits` (..., card), the first axis being the requests.

    The noise comes from each request's own generator, so neither batch mates nor anything else in
    the process changes a draw.
    """
    if how.temperature <= 0:
        return logits.argmax(dim=-1)
    probs = torch.softmax(logits.float() / how.temperature, dim=-1)
    if 0 < how.top_k < probs.shape[-1]:
        least = torch.topk(probs, how.top_k, dim=-1).values[..., -1:]
        probs = probs * (probs >= least)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    # On the CPU whatever the device: a seed then means the same music everywhere.
    noise = torch.stack(
        [torch.empty(probs.shape[1:]).exponential_(1, generator=one) for one in generators]
    )
    return (probs / noise.to(probs.device)).argmax(dim=-1)


class CachedLM(nn.Module):
    """An `LMModel`'s weights behind MusicGen's interface, decoded by the loop of this module.

    Call :meth:`begin` before each of MusicGen's generations: its windows beyond the model's
    duration go on drawing from the same random generators, and on along the lead sheet.

    Raises :class:`ModelError` for an architecture the loop does not cover (post-norm, a limited
    past context, shared key heads, conditions other than sum, cross and prepend).
    """

    def __init__(self, lm: LMModel) -> None:
        super().__init__()
        _check_supported(lm)
        self.lm = lm
        self.generators: Sequence[torch.Generator] = ()
        self._stride = self._elapsed = 0
        if hasattr(lm, "cfg"):
            self.cfg = lm.cfg  # MusicGen reads max_duration and the stereo layout from it
        parts: Any = lm  # typed as bare modules
        # One gather and one product per step instead of one per codebook.
        self._embeddings = torch.cat([emb.weight for emb in parts.emb]).detach()
        self._heads = torch.cat([linear.weight for linear in parts.linears]).detach()
        biases = [linear.bias for linear in parts.linears]
        self._head_bias = None if biases[0] is None else torch.cat(biases).detach()

    @property
    def condition_provider(self) -> nn.Module:
        provider: nn.Module = self.lm.condition_provider
        return provider

    def begin(self, generators: Sequence[torch.Generator], *, stride: int = 0) -> None:
        """Random generators, one per request; frames from one of MusicGen's windows to the next."""
        self.generators = generators
        self._stride, self._elapsed = stride, 0

    @torch.inference_mode()
    def generate(
        self,
        prompt: Tensor | None = None,
        conditions: Sequence[ConditioningAttributes] = (),
        *,
        max_gen_len: int,
        use_sampling: bool = True,
        temp: float = 1.0,
        top_k: int = 250,
        cfg_coef: float | None = None,
        callback: Callable[[int, int], None] | None = None,
        **ignored: Any,
    ) -> Tensor:
        """Tokens (requests, codebooks, max_gen_len), those of `prompt` first.

        `callback` gets the steps done and the steps to do after each; what it raises ends the
        generation at once. MusicGen's `top_p` and `two_step_cfg` must be off.
        """
        if any(ignored.values()):
            raise ModelError(f"not supported by this decoder: {ignored}")
        how = Sampling(
            temperature=temp if use_sampling else 0.0,
            top_k=top_k,
            guidance=self.lm.cfg_coef if cfg_coef is None else cfg_coef,
        )
        device = self._embeddings.device
        count = len(conditions)
        generators = list(self.generators) or [torch.Generator().manual_seed(0)] * count
        if count == 0 or len(generators) != count:
            raise ModelError(f"{count} conditions for {len(generators)} random generators")

        later = getattr(self.condition_provider, "later", None)
        if later is not None:  # conditions that change with the frame
            conditions = later(conditions, self._elapsed)
            self._elapsed += self._stride
        pattern = self.lm.pattern_provider.get_pattern(max_gen_len)
        codes = torch.full((count, self.lm.n_q, max_gen_len), _UNKNOWN, device=device)
        start = 0
        if prompt is not None:
            start = prompt.shape[-1]
            codes[..., :start] = prompt
        # The delay pattern: sequence (requests, codebooks, steps), mask (codebooks, steps).
        sequence, _, mask = pattern.build_pattern_sequence(codes, self.lm.special_token_id)
        first = pattern.get_first_step_with_timesteps(start)
        if first is None:
            raise ModelError(f"the prompt ({start} frames) leaves nothing to generate")
        steps = sequence.shape[-1]

        run = _Run(self, conditions, guided=how.guidance != 1.0, steps=steps)
        done = 0
        for offset in range(first, steps):
            logits = run.step(sequence[..., done:offset])  # (rows, codebooks, card)
            if run.guided:
                conditional, unconditional = torch.split(logits, count)
                logits = unconditional + (conditional - unconditional) * how.guidance
            token = sample(logits, generators, how)
            token = torch.where(mask[:, offset], token, self.lm.special_token_id)
            known = sequence[..., offset]
            sequence[..., offset] = torch.where(known == _UNKNOWN, token, known)
            done = offset
            if callback is not None:
                callback(1 + offset - first, steps - first)
        out, _, _ = pattern.revert_pattern_sequence(sequence, special_token=_UNKNOWN)
        tokens: Tensor = out[..., :max_gen_len]
        return tokens


class _Run:
    """The state of one generation: caches, conditions, position. Dropped when it ends or raises.

    Rows are the conditional requests, followed by the same without their conditions (`guided`).
    """

    def __init__(
        self,
        model: CachedLM,
        conditions: Sequence[ConditioningAttributes],
        *,
        guided: bool,
        steps: int,
    ) -> None:
        self.model = model
        self.lm: Any = model.lm
        self.guided = guided
        self.position = 0
        self.rows = len(conditions) * (2 if guided else 1)
        self.offsets = torch.arange(self.lm.n_q, device=model._embeddings.device) * (
            self.lm.card + 1
        )
        self._prepare_conditions(conditions)
        transformer = self.lm.transformer
        self.layers = [_Layer(layer) for layer in transformer.layers]
        prefix = 0 if self.prefix is None else self.prefix.shape[1]
        self.capacity = steps + prefix
        self.positions: Tensor | None = None
        if transformer.positional_embedding in ("sin", "sin_rope"):
            from audiocraft.modules.transformer import create_sin_embedding

            self.positions = transformer.positional_scale * create_sin_embedding(
                torch.arange(self.capacity, device=self.offsets.device).view(1, -1, 1),
                self.lm.dim,
                max_period=transformer.max_period,
                dtype=model._embeddings.dtype,
            )
        for layer in self.layers:
            layer.start(self.cross, self.rows, self.capacity)

    def _prepare_conditions(self, conditions: Sequence[ConditioningAttributes]) -> None:
        """Fill `added` (rows, 1 or frames, dim), `prefix` (rows, frames, dim) and `cross`.

        Each request is conditioned alone, so that its text is padded to its own length only; the
        keys a longer batch mate adds are masked out.
        """
        from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout

        provider, fuser = self.lm.condition_provider, self.lm.fuser
        # A provider may say itself what guidance compares with; audiocraft's way is: with nothing.
        without = getattr(provider, "unguided", ClassifierFreeGuidanceDropout(p=1.0))
        added: list[Tensor] = []
        prefix: list[Tensor] = []
        cross: list[Tensor] = []
        for one in conditions:
            # Both even when unguided: the pair is padded alike, as in audiocraft.
            pair = [one, *without([one])]
            tensors = provider(provider.tokenize(pair))
            by_method: dict[str, list[Tensor]] = {"sum": [], "prepend": [], "cross": []}
            for name, (embedding, _) in tensors.items():
                by_method[fuser.cond2fuse[name]].append(embedding)
            if by_method["sum"]:
                # (2, 1, dim) holds for every frame, (2, frames, dim) says what holds for each.
                added.append(sum(by_method["sum"][1:], start=by_method["sum"][0]))
            if by_method["prepend"]:  # the fuser puts each one before what is there
                prefix.append(torch.cat(by_method["prepend"][::-1], dim=1))
            if by_method["cross"]:
                cross.append(self._with_positions(torch.cat(by_method["cross"], dim=1)))
        self.added = self._rows(added)
        self.prefix = self._rows(prefix)
        self.cross: tuple[Tensor, Tensor | None] | None = None
        if cross:
            lengths = [keys.shape[1] for keys in cross]
            longest = max(lengths)
            keys = self._rows([F.pad(keys, (0, 0, 0, longest - keys.shape[1])) for keys in cross])
            assert keys is not None
            mask = None
            if min(lengths) < longest:
                per_row = torch.tensor(lengths * (2 if self.guided else 1), device=keys.device)
                mask = torch.arange(longest, device=keys.device) < per_row[:, None]
                mask = mask[:, None, None]  # (rows, heads, queries, keys)
            self.cross = keys, mask

    def _with_positions(self, keys: Tensor) -> Tensor:
        fuser = self.lm.fuser
        if not fuser.cross_attention_pos_emb:
            return keys
        from audiocraft.modules.transformer import create_sin_embedding

        positions = torch.arange(keys.shape[1], device=keys.device).view(1, -1, 1)
        embedding = create_sin_embedding(positions, keys.shape[-1])
        placed: Tensor = keys + fuser.cross_attention_pos_emb_scale * embedding
        return placed

    def _rows(self, pairs: list[Tensor]) -> Tensor | None:
        """[(conditional, null), ...] -> all conditional rows, then all null rows."""
        if not pairs:
            return None
        if len({pair.shape[1:] for pair in pairs}) > 1:
            raise ModelError("requests whose prepended conditions differ in length: one at a time")
        conditional = [pair[:1] for pair in pairs]
        null = [pair[1:] for pair in pairs] if self.guided else []
        return torch.cat(conditional + null)

    def _added_to(self, count: int) -> Tensor:
        """The summed conditions of the next `count` frames (no prefix goes with them)."""
        assert self.added is not None
        if self.added.shape[1] == 1:
            return self.added
        return self.added[:, self.position : self.position + count]

    def step(self, tokens: Tensor) -> Tensor:
        """Feed `tokens` (requests, codebooks, new steps); logits of the next, (rows, K, card)."""
        if self.guided:
            tokens = torch.cat([tokens, tokens])
        rows, codebooks, _ = tokens.shape
        x = F.embedding(tokens + self.offsets[:, None], self.model._embeddings).sum(1)
        if self.added is not None:
            x = x + self._added_to(x.shape[1])
        if self.position == 0 and self.prefix is not None:
            x = torch.cat([self.prefix.to(x), x], dim=1)
        end = self.position + x.shape[1]
        if self.positions is not None:
            x = x + self.positions[:, self.position : end]
        for layer in self.layers:
            x = layer.step(x, self.position)
        self.position = end
        x = x[:, -1]
        if self.lm.out_norm is not None:
            x = self.lm.out_norm(x)
        logits = F.linear(x, self.model._heads, self.model._head_bias)
        return logits.view(rows, codebooks, -1)


class _Layer:
    """One transformer layer with its caches: (rows, heads, positions, channels of a head)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.attention = layer.self_attn
        self.heads: int = layer.self_attn.num_heads
        self.cross_attention = layer.cross_attention

    def start(self, cross: tuple[Tensor, Tensor | None] | None, rows: int, capacity: int) -> None:
        weight = self.attention.in_proj_weight
        width = weight.shape[1] // self.heads
        shape = (rows, self.heads, capacity, width)
        self.keys = torch.empty(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.empty_like(self.keys)
        if self.cross_attention is None:
            return
        if cross is None:
            raise ModelError("this model attends to a text condition, and none was given")
        source, self.cross_mask = cross
        _, key, value = _projections(self.cross_attention)
        self.cross_keys = self._heads(F.linear(source, *key))
        self.cross_values = self._heads(F.linear(source, *value))

    def step(self, x: Tensor, position: int) -> Tensor:
        """`x` (rows, new steps, dim) through the layer, its keys and values kept."""
        layer, attention = self.layer, self.attention
        projected = F.linear(layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (self._heads(part) for part in projected.chunk(3, dim=-1))
        if attention.rope is not None:
            query, key = attention.rope.rotate_qk(query, key, start=position, time_dim=2)
        end = position + x.shape[1]
        self.keys[:, :, position:end] = key
        self.values[:, :, position:end] = value
        attended = F.scaled_dot_product_attention(
            query.to(self.keys),
            self.keys[:, :, :end],
            self.values[:, :, :end],
            is_causal=x.shape[1] > 1,  # more than one step comes only at position 0
        )
        x = x + layer.layer_scale_1(attention.out_proj(self._merge(attended)))
        if self.cross_attention is not None:
            query_weight, _, _ = _projections(self.cross_attention)
            query = self._heads(F.linear(layer.norm_cross(x), *query_weight))
            attended = F.scaled_dot_product_attention(
                query, self.cross_keys, self.cross_values, attn_mask=self.cross_mask
            )
            merged = self.cross_attention.out_proj(self._merge(attended))
            x = x + layer.layer_scale_cross(merged)
        hidden = layer.activation(layer.linear1(layer.norm2(x)))
        out: Tensor = x + layer.layer_scale_2(layer.linear2(hidden))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


def _projections(attention: Any) -> tuple[tuple[Tensor, Tensor | None], ...]:
    """(weight, bias) of the query, the key and the value of a cross-attention."""
    third = attention.in_proj_weight.shape[0] // 3
    parts = [slice(start, start + third) for start in (0, third, 2 * third)]
    bias = attention.in_proj_bias
    return tuple(
        (attention.in_proj_weight[part], None if bias is None else bias[part]) for part in parts
    )


def _check_supported(lm: Any) -> None:
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
    if lm.fuser.fuse2cond.get("input_interpolate"):
        raise ModelError("conditions interpolated onto the input are not supported")
