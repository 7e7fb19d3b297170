"""Sampling temperature of each codebook, as a card states it and as the weights hold it.

Any sampler that divides all logits by one temperature can draw each codebook at its own, when the
output heads are scaled beforehand. A card's ``generation`` says two things: the temperatures that
draws are made at (``codebook_temperatures``) and those that the stored heads hold already
(``folded_temperatures``; a card without it was written when the two were always the same). Loading
scales the heads from the one to the other, so the temperatures of a shipped model can be changed
without its training run and without new weights.

>>> head_factors({"codebook_temperatures": [1.0, 1.0], "folded_temperatures": [1.0, 0.75]}, 2)
[1.0, 0.75]
>>> head_factors({"codebook_temperatures": [1.0, 0.75]}, 2)
[1.0, 1.0]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studio.core.errors import ConfigError

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel

__all__ = ["every_codebook", "head_factors", "scale_heads"]


def every_codebook(temperatures: Sequence[float], codebooks: int) -> list[float]:
    """One temperature per codebook; the last one given holds for those not named.

    An empty list means 1 for all. Raises :class:`ConfigError` for a temperature that is not
    positive, or for more temperatures than codebooks.
    """
    given = [float(value) for value in temperatures] or [1.0]
    if len(given) > codebooks or not all(0 < value < float("inf") for value in given):
        raise ConfigError(f"temperatures are positive, and {codebooks} at the most")
    return given + given[-1:] * (codebooks - len(given))


def head_factors(generation: Mapping[str, Any], codebooks: int) -> list[float]:
    """By what the stored heads' logits are multiplied so that draws are made as the card says."""
    wanted = every_codebook(generation.get("codebook_temperatures", ()), codebooks)
    stored = generation.get("folded_temperatures")
    folded = wanted if stored is None else every_codebook(stored, codebooks)
    return [have / want for have, want in zip(folded, wanted, strict=True)]


def scale_heads(lm: LMModel, factors: Sequence[float]) -> None:
    """Multiply the logits of each codebook, in place; the heads have no bias."""
    import torch

    with torch.no_grad():
        for head, factor in zip(lm.linears, factors, strict=True):
            for weight in head.parameters():
                weight.mul_(factor)
