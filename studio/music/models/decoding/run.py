"""The state of one generation: its conditions, its keys and values, its position.

A run may hold several requests that go on in step. Its rows are the conditional requests,
followed by the same without their conditions where the generation is guided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from studio.core.errors import ModelError
from studio.music.models.decoding.attention import attend
from studio.music.models.decoding.network import Network

if TYPE_CHECKING:
    from audiocraft.modules.conditioners import ConditioningAttributes

__all__ = ["Run"]


class Run:
    """Dropped when its generation ends or raises.

    Args:
        network: what it will step through.
        conditions: one per request.
        guided: whether rows without conditions go along.
        steps: tokens that will be fed at most. Caches are allocated once, for so many.
    """

    def __init__(
        self,
        network: Network,
        conditions: Sequence[ConditioningAttributes],
        *,
        guided: bool,
        steps: int,
    ) -> None:
        self.network = network
        self.lm: Any = network.lm
        self.guided = guided
        self.position = 0
        self.rows = len(conditions) * (2 if guided else 1)
        self._prepare_conditions(conditions)
        prefix = 0 if self.prefix is None else self.prefix.shape[1]
        self.capacity = steps + prefix
        self.positions = network.positions(self.capacity)
        self.heads = network.layers[0].heads
        self.rope = network.layers[0].rope
        self._allocate()
        self._project_text()

    def _allocate(self) -> None:
        """Keys and values: per layer (rows, heads, positions, channels of a head)."""
        shape = (self.rows, self.heads, self.capacity, self.network.dim // self.heads)
        like = self.network.embeddings
        dtype = self.network.cache_dtype
        self.keys, self.values = (
            [torch.empty(shape, dtype=dtype, device=like.device) for _ in self.network.layers]
            for _ in range(2)
        )

    def _project_text(self) -> None:
        """The keys and values of the text, which no step changes."""
        self.cross_keys: list[Tensor] = []
        self.cross_values: list[Tensor] = []
        self.cross_mask: Tensor | None = None
        for layer in self.network.layers:
            if layer.cross_query is None:
                continue
            if self.cross is None:
                raise ModelError("this model attends to a text condition, and none was given")
            source, self.cross_mask = self.cross
            both = layer.cross_source(source.flatten(0, 1)).view(*source.shape[:2], -1)
            keys, values = (self._by_head(part) for part in both.chunk(2, dim=-1))
            self.cross_keys.append(keys.to(self.network.cache_dtype).contiguous())
            self.cross_values.append(values.to(self.network.cache_dtype).contiguous())

    def _prepare_conditions(self, conditions: Sequence[ConditioningAttributes]) -> None:
        """Fill `prefix` (rows, frames, dim) and `cross`.

        Each request is conditioned alone, so that its text is padded to its own length only; the
        keys a longer batch mate adds are masked out.
        """
        from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout

        provider, fuser = self.lm.condition_provider, self.lm.fuser
        without = ClassifierFreeGuidanceDropout(p=1.0)
        prefix: list[Tensor] = []
        cross: list[Tensor] = []
        for one in conditions:
            # Both even when unguided: the pair is padded alike, as in audiocraft.
            pair = [one, *without([one])]
            with self.network.conditioning:
                tensors = provider(provider.tokenize(pair))
            by_method: dict[str, list[Tensor]] = {"prepend": [], "cross": []}
            for name, (embedding, _) in tensors.items():
                by_method[fuser.cond2fuse[name]].append(embedding)
            if by_method["prepend"]:  # the fuser puts each one before what is there
                prefix.append(torch.cat(by_method["prepend"][::-1], dim=1))
            if by_method["cross"]:
                cross.append(self._with_positions(torch.cat(by_method["cross"], dim=1)))
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

    def enter(self, tokens: Tensor) -> Tensor:
        """What `tokens` (requests, codebooks, new steps) are to the first layer.

        Returns (rows, steps, dim); before the first step the prefix is put before it.
        """
        network = self.network
        x = torch.nn.functional.embedding(
            tokens + network.offsets[:, None], network.embeddings
        ).sum(1)
        if self.guided:
            x = torch.cat([x, x])
        if self.position == 0 and self.prefix is not None:
            x = torch.cat([self.prefix.to(x), x], dim=1)
        if self.positions is not None:
            x = x + self.positions[:, self.position : self.position + x.shape[1]]
        return x

    def attend(self, index: int, projected: Tensor) -> Tensor:
        """Self-attention of layer `index`: (rows * steps, 3 dim) to (rows * steps, dim).

        Keeps the keys and values of these steps at the run's position.
        """
        steps = projected.shape[0] // self.rows
        query, key, value = (
            self._by_head(part) for part in projected.view(self.rows, steps, -1).chunk(3, dim=-1)
        )
        start, end = self.position, self.position + steps
        if self.rope is not None:
            query, key = self.rope.rotate_qk(query, key, start=start, time_dim=2)
        keys, values = self.keys[index], self.values[index]
        keys[:, :, start:end] = key
        values[:, :, start:end] = value
        return self._merge(
            attend(
                query,
                keys[:, :, :end],
                values[:, :, :end],
                is_causal=steps > 1,  # more than one step comes only at position 0
            )
        )

    def attend_to_text(self, index: int, query: Tensor) -> Tensor:
        """Cross-attention of layer `index`: (rows * steps, dim) to the same."""
        by_head = self._by_head(query.view(self.rows, query.shape[0] // self.rows, -1))
        keys = self.cross_keys[index]
        return self._merge(attend(by_head, keys, self.cross_values[index], mask=self.cross_mask))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        merged = x.transpose(1, 2).flatten(2).flatten(0, 1)
        return merged.to(self.network.embeddings.dtype)
