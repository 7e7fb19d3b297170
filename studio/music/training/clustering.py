"""Codebooks by k-means: where codes are placed before training moves them."""

from __future__ import annotations

import torch
from torch import Tensor

from studio.core.errors import HouseError

__all__ = ["k_means", "nearest"]

_POINTS = 20_000
_ITERATIONS = 10


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index of the centre nearest to each point, (points, dim) and (centres, dim) -> (points,).

    >>> nearest(torch.tensor([[0.9], [-3.0]]), torch.tensor([[-1.0], [1.0]])).tolist()
    [1, 0]
    """
    return (points @ centres.T - 0.5 * centres.square().sum(1)).argmax(1)


def k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres of `count` clusters, (points, dim) -> (count, dim), of at most 20,000 points.

    A centre that no point chose moves to a random point. Raises :class:`HouseError` where there
    are fewer points than centres.
    """
    order = torch.randperm(len(points), generator=generator)[:_POINTS]
    points = points[order.to(points.device)]
    if len(points) < count:
        raise HouseError(f"k-means needs at least {count} latents, got {len(points)}")
    centres = points[:count].clone()
    for _ in range(_ITERATIONS):
        chosen = nearest(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, chosen, points)
        sizes = torch.bincount(chosen, minlength=count).to(sums)
        occupied = sizes > 0
        centres[occupied] = sums[occupied] / sizes[occupied, None]
        if not bool(occupied.all()):
            spare = torch.randperm(len(points), generator=generator)[: int((~occupied).sum())]
            centres[~occupied] = points[spare.to(points.device)]
    return centres
