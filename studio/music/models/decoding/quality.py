"""How far a precision's predictions are from fp32, on the same tokens.

Both read the same tokens (teacher forcing), so that one differing token does not make all that
follow it differ. What is compared is what the sampler sees: guided logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from studio.music.models.decoding.network import Network
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling, sample

__all__ = ["LIMIT_KL", "LIMIT_SAME", "Quality", "measure_quality"]

LIMIT_KL = 0.02
"""Most divergence a lossy precision may have, nats per token on average."""

LIMIT_SAME = 0.85
"""Least share of tokens drawn alike, given the same random numbers."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Over `steps` steps and all codebooks, fp32 being what it is compared with.

    `kl` is the Kullback-Leibler divergence from fp32, nats per token, `kl_worst` that of the worst
    token; `same_likeliest` and `same_drawn` are the shares of tokens that are the likeliest under
    both, and that both draw with the same random numbers; `loss` and `reference_loss` are the
    mean surprise at the tokens read, in nats, with conditions and unguided.
    """

    steps: int
    kl: float
    kl_worst: float
    same_likeliest: float
    same_drawn: float
    loss: float
    reference_loss: float

    @property
    def holds(self) -> bool:
        """Whether the precision may be used where nobody asked for it by name."""
        return self.kl <= LIMIT_KL and self.same_drawn >= LIMIT_SAME

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the tokens read, in ratio to that under fp32."""
        return float(torch.tensor(self.loss - self.reference_loss).exp())


@torch.inference_mode()
def measure_quality(
    network: Network,
    reference: Network,
    condition: Any,
    tokens: Tensor,
    how: Sampling,
) -> Quality:
    """Compare `network` with `reference` on a sequence of `tokens` (codebooks, steps).

    `tokens` are as the model reads them: delayed by codebook, special tokens in their places.
    `condition` is the request they were made for (audiocraft's `ConditioningAttributes`).
    """
    steps = tokens.shape[1] - 1
    special: int = network.lm.special_token_id
    of_both: list[tuple[Tensor, Tensor]] = []
    for one in (network, reference):
        run = Run(one, [condition], guided=True, steps=steps)
        (logits,) = one.step([run], [tokens[None, :, :-1]], every=True)
        conditional, unconditional = logits.float()
        of_both.append((how.guided(conditional, unconditional), conditional))
    (ours, ours_plain), (theirs, theirs_plain) = of_both
    read = tokens[:, 1:].t()  # (steps, codebooks)
    counted = read != special
    log_ours, log_theirs = (torch.log_softmax(one, dim=-1) for one in (ours, theirs))
    kl = (log_theirs.exp() * (log_theirs - log_ours)).sum(-1)[counted]
    drawn = [
        sample(one[None], [torch.Generator().manual_seed(0)], how)[0] for one in (ours, theirs)
    ]
    known = read.clamp(max=ours.shape[-1] - 1)[..., None]
    losses = [
        float(-torch.log_softmax(one, dim=-1).gather(-1, known)[..., 0][counted].mean())
        for one in (ours_plain, theirs_plain)
    ]
    return Quality(
        steps=steps,
        kl=float(kl.mean()),
        kl_worst=float(kl.max()),
        same_likeliest=_share(ours.argmax(-1) == theirs.argmax(-1), counted),
        same_drawn=_share(drawn[0] == drawn[1], counted),
        loss=losses[0],
        reference_loss=losses[1],
    )


def _share(same: Tensor, counted: Tensor) -> float:
    return float(same[counted].float().mean())
