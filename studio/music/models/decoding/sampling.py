"""Draws tokens from logits, each request with its own random numbers.

The exponential trick: ``argmax(p / e)`` with e ~ Exp(1) draws from p (Gumbel-max with another
noise); `torch.multinomial` does just that, so equal noise gives equal tokens.

>>> import torch
>>> sample(torch.tensor([[0.0, 9.0, 0.0]]), [torch.Generator().manual_seed(7)], Sampling(top_k=1))
tensor([1])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Sampling", "sample"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn. `top_k` 0 draws from all; `temperature` 0 takes the likeliest."""

    temperature: float = 1.0
    top_k: int = 250
    guidance: float = 3.0

    def guided(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """Logits moved away from those without conditions, by the weight of the guidance."""
        return unconditional + (conditional - unconditional) * self.guidance


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
