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

__all__ = ["Sampling", "noise_of", "pick", "sample"]


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
    return pick(logits, noise_of(logits.shape[1:], generators).to(logits.device), how)


def noise_of(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Random numbers for one draw, (requests, `shape`).

    On the CPU whatever the device of the logits: a seed then means the same music everywhere.
    """
    return torch.stack([torch.empty(*shape).exponential_(1, generator=one) for one in generators])


def pick(logits: Tensor, noise: Tensor, how: Sampling) -> Tensor:
    """The tokens that `noise` (of the shape of `logits`) draws; takes no random numbers itself."""
    if how.temperature <= 0:
        return logits.argmax(dim=-1)
    probs = torch.softmax(logits.float() / how.temperature, dim=-1)
    if 0 < how.top_k < probs.shape[-1]:
        least = torch.topk(probs, how.top_k, dim=-1).values[..., -1:]
        probs = probs * (probs >= least)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return (probs / noise).argmax(dim=-1)
