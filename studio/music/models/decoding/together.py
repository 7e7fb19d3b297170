"""Decode several requests of a hub model in the same steps.

What a request's step computes is the same alone and beside others where the network's kernel
multiplies each row alike whatever stands beside it (:func:`studio.music.models.decoding.kernels.
keeps_rows_apart`); with another kernel the requests take turns, step by step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from studio.music.models.batching import Batch
from studio.music.models.decoding.fixed_step import FixedStep
from studio.music.models.decoding.network import Network
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling, sample

__all__ = ["UNKNOWN", "Decoder", "Generation", "places_for"]

UNKNOWN = -1
"""Marks a token not generated yet; no codebook holds it."""

_MOST_PLACES = 8
_SHARE_OF_MEMORY = 0.5


class Generation:
    """The state of one request: what it has of its tokens, and how the next ones are drawn.

    Args:
        run: its conditions, keys and values.
        sequence: tokens delayed by codebook (requests, codebooks, steps), :data:`UNKNOWN` where
            they are to be drawn; filled in place.
        mask: (codebooks, steps), false where the special token stands.
        first: the first step to draw.
        generators: one per request.
        how: tokens are drawn.
    """

    def __init__(
        self,
        run: Run,
        sequence: Tensor,
        mask: Tensor,
        first: int,
        generators: Sequence[torch.Generator],
        how: Sampling,
    ) -> None:
        self.run, self.sequence = run, sequence
        self.steps = sequence.shape[-1] - first
        self._mask, self._generators, self._how = mask, generators, how
        self._read, self._first, self._next = 0, first, first
        self._fixed: FixedStep | None = None

    @property
    def done(self) -> int:
        """Steps drawn."""
        return self._next - self._first

    def frames(self, delays: Sequence[int]) -> int:
        """Frames of which every codebook is drawn, the k-th `delays[k]` steps later."""
        return max(0, self._next - 1 - max(delays))

    def codes(self, delays: Sequence[int], first: int, last: int) -> Tensor:
        """The tokens of frames `first` to `last`, (requests, codebooks, frames)."""
        parts = [
            self.sequence[:, k, 1 + delay + first : 1 + delay + last]
            for k, delay in enumerate(delays)
        ]
        return torch.stack(parts, 1)

    def enter(self) -> Tensor:
        """The tokens that the network has not read yet."""
        return self.sequence[..., self._read : self._next]

    def take(self, logits: Tensor) -> None:
        """Draw the next tokens from `logits` (rows, codebooks, card)."""
        if self.run.guided:
            logits = self._how.guided(*torch.split(logits, len(self._generators)))
        self._keep(sample(logits, self._generators, self._how))

    def take_fixed(self) -> bool:
        """Draw the next tokens by a :class:`FixedStep`; false where more than one is to be read."""
        entering = self.enter()
        if entering.shape[-1] != 1 or (self.run.position == 0 and self.run.prefix is not None):
            return False
        if self._fixed is None:
            self._fixed = FixedStep(self.run, self._how)
        self._keep(self._fixed.draw(entering, self._generators))
        return True

    def _keep(self, token: Tensor) -> None:
        token = torch.where(self._mask[:, self._next], token, self.run.lm.special_token_id)
        known = self.sequence[..., self._next]
        self.sequence[..., self._next] = torch.where(known == UNKNOWN, token, known)
        self._read = self._next
        self._next += 1


class Decoder:
    """A network that threads share: their requests go through it together.

    Args:
        network: of the model.
        places: requests at a time; the others wait.
        fixed: take each request's steps over buffers that stay in place, as graphs on a GPU; by
            default on a GPU only.
    """

    def __init__(
        self, network: Network, places: int = _MOST_PLACES, *, fixed: bool | None = None
    ) -> None:
        self.network = network
        self._fixed = network.embeddings.is_cuda if fixed is None else fixed
        if any(layer.rope is not None for layer in network.layers):
            self._fixed = False
        self._batch: Batch[Generation] = Batch(self.step, places)

    @contextmanager
    def place(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Wait for one of the places, and hold it; what `waiting` raises ends the waiting."""
        with self._batch.place(waiting):
            yield

    def decode(self, generation: Generation, on_step: Callable[[], None]) -> None:
        """Draw all tokens of `generation`; what `on_step` raises ends it within a step."""
        self._batch.advance(generation, generation.steps, on_step)

    @torch.inference_mode()
    def step(self, generations: Sequence[Generation]) -> None:
        """Draw the next tokens of each."""
        if self._fixed:
            generations = [one for one in generations if not one.take_fixed()]
            if not generations:
                return
        groups = [generations] if self.network.keeps_rows_apart else [[one] for one in generations]
        for group in groups:
            logits = self.network.step([one.run for one in group], [one.enter() for one in group])
            for one, of_it in zip(group, logits, strict=True):
                one.take(of_it)


def places_for(network: Network, steps: int) -> int:
    """How many requests of so many steps may be decoded at a time, by the memory there is free.

    Their keys and values get half of it; one request always may.
    """
    lm: Any = network.lm
    size = torch.empty(0, dtype=network.cache_dtype).element_size()
    each = 2 * 2 * len(network.layers) * lm.dim * steps * size  # both CFG rows; keys and values
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not told on this system
        return 1
    return max(1, min(_MOST_PLACES, int(_SHARE_OF_MEMORY * free / each)))
