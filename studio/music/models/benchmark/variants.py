"""What a step is timed of: audiocraft, transformers, and our decoder in each precision.

A variant is put at a length of context by filling its caches with random values, and then steps:
the transformer, guidance, the draw of the next tokens.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor

from studio.core.errors import ModelError
from studio.music.models.decoding.network import Network
from studio.music.models.decoding.precision import Decoding
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling, sample

__all__ = ["Audiocraft", "Ours", "Transformers", "Variant"]


class Variant(Protocol):
    """One decoder over the weights being timed."""

    def at(self, context: int) -> None:
        """Go to where `context` steps are behind."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Feed `tokens` (1, codebooks, 1), two rows for guidance; the next (1, codebooks)."""
        ...

    def close(self) -> None: ...


class Ours:
    """The decoder of this package."""

    def __init__(self, decoding: Decoding, condition: Any, how: Sampling, longest: int) -> None:
        self.decoding = decoding
        self.network: Network = decoding.network
        self.how = how
        self.run = Run(self.network, [condition], guided=True, steps=longest)
        self.generators = [torch.Generator().manual_seed(0)]
        for cache in (*self.run.keys, *self.run.values):
            cache.normal_()

    def at(self, context: int) -> None:
        self.run.position = context

    def step(self, tokens: Tensor) -> Tensor:
        (logits,) = self.network.step([self.run], [tokens])
        return sample(self.how.guided(*torch.split(logits, 1)), self.generators, self.how)

    def close(self) -> None:
        pass


class Audiocraft:
    """audiocraft's `LMModel._sample_next_token` in its streaming mode."""

    def __init__(self, lm: Any, condition: Any, how: Sampling) -> None:
        from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout

        self.lm, self.how = lm, how
        provider = lm.condition_provider
        pair = [condition, *ClassifierFreeGuidanceDropout(p=1.0)([condition])]
        self.conditions = provider(provider.tokenize(pair))
        self.stack = ExitStack()
        self.stack.enter_context(lm.streaming())
        self.step(torch.full((1, lm.n_q, 1), lm.special_token_id))

    def at(self, context: int) -> None:
        for layer in self.lm.transformer.layers:
            attention = layer.self_attn
            state = attention._streaming_state
            # (rows, heads, positions, channels) or (rows, positions, heads, channels), by backend
            axis = 2 if state["past_keys"].shape[1] == attention.num_heads else 1
            for name in ("past_keys", "past_values"):
                shape = list(state[name].shape)
                shape[axis] = context
                state[name] = torch.randn(shape)
        self.lm.transformer._streaming_state["offsets"] = torch.full((2,), context)

    def step(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.lm._sample_next_token(
            tokens,
            self.conditions,
            {},
            use_sampling=True,
            temp=self.how.temperature,
            top_k=self.how.top_k,
            cfg_coef=self.how.guidance,
            two_step_cfg=False,
        )
        return out[..., 0]

    def close(self) -> None:
        self.stack.close()


class Transformers:
    """`MusicgenForCausalLM` of transformers over the same tensors, stepping as its `generate`."""

    def __init__(self, lm: Any, source: Tensor, how: Sampling) -> None:
        """`source` (2, tokens, dim): the embedded text, with and without conditions."""
        from transformers import MusicgenDecoderConfig, MusicgenForCausalLM
        from transformers.models.musicgen.modeling_musicgen import (
            MusicgenSinusoidalPositionalEmbedding,
        )

        first = lm.transformer.layers[0]
        config = MusicgenDecoderConfig(
            vocab_size=lm.card,
            hidden_size=lm.dim,
            num_hidden_layers=len(lm.transformer.layers),
            num_attention_heads=first.self_attn.num_heads,
            ffn_dim=first.linear1.weight.shape[0],
            num_codebooks=lm.n_q,
            pad_token_id=lm.special_token_id,
            bos_token_id=lm.special_token_id,
        )
        with torch.device("meta"):
            config._attn_implementation = "sdpa"
            model: Any = MusicgenForCausalLM(config)
        missing, unexpected = model.load_state_dict(_renamed(lm), strict=False, assign=True)
        if missing or unexpected:
            raise ModelError(f"transformers has another layout: {[*missing, *unexpected][:3]}")
        model.model.decoder.embed_positions = MusicgenSinusoidalPositionalEmbedding(2048, lm.dim)
        self.model, self.source, self.how = model.eval(), source, how
        self.codebooks: int = lm.n_q
        self.heads = first.self_attn.num_heads
        self.at(0)

    def at(self, context: int) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        kept = DynamicCache(config=self.model.config)
        if context:
            width = self.model.config.hidden_size // self.heads
            for index in range(self.model.config.num_hidden_layers):
                shape = (2, self.heads, context, width)
                kept.update(torch.randn(shape), torch.randn(shape), index)
        self.cache = EncoderDecoderCache(kept, DynamicCache(config=self.model.config))

    def logits(self, tokens: Tensor) -> Tensor:
        """Guided logits (1, codebooks, card) of what follows `tokens`."""
        out = self.model(
            tokens.repeat(2, 1, 1).flatten(0, 1),
            encoder_hidden_states=self.source,
            past_key_values=self.cache,
            use_cache=True,
        )
        logits = out.logits.view(2, self.codebooks, *out.logits.shape[-2:])[:, :, -1]
        return self.how.guided(*torch.split(logits, 1))

    def step(self, tokens: Tensor) -> Tensor:
        return sample(self.logits(tokens), [torch.Generator().manual_seed(0)], self.how)

    def close(self) -> None:
        pass


def _renamed(lm: Any) -> dict[str, Tensor]:
    """audiocraft's weights under the names transformers gives them, nothing copied."""
    state: dict[str, Tensor] = {}
    for index, (embedding, head) in enumerate(zip(lm.emb, lm.linears, strict=True)):
        state[f"model.decoder.embed_tokens.{index}.weight"] = embedding.weight
        state[f"lm_heads.{index}.weight"] = head.weight
    names = {
        "norm1": "self_attn_layer_norm",
        "norm_cross": "encoder_attn_layer_norm",
        "norm2": "final_layer_norm",
    }
    for index, layer in enumerate(lm.transformer.layers):
        prefix = f"model.decoder.layers.{index}"
        for theirs, ours in (("self_attn", "self_attn"), ("encoder_attn", "cross_attention")):
            attention = getattr(layer, ours)
            for letter, part in zip("qkv", attention.in_proj_weight.chunk(3), strict=True):
                state[f"{prefix}.{theirs}.{letter}_proj.weight"] = part
            state[f"{prefix}.{theirs}.out_proj.weight"] = attention.out_proj.weight
        state[f"{prefix}.fc1.weight"] = layer.linear1.weight
        state[f"{prefix}.fc2.weight"] = layer.linear2.weight
        for ours, theirs in names.items():
            for what in ("weight", "bias"):
                state[f"{prefix}.{theirs}.{what}"] = getattr(getattr(layer, ours), what)
    for what in ("weight", "bias"):
        state[f"model.decoder.layer_norm.{what}"] = getattr(lm.out_norm, what)
    return {
        name: torch.nn.Parameter(value.detach(), requires_grad=False)
        for name, value in state.items()
    }
