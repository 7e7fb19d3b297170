"""Confidence intervals of a counted rate, 95 % by default.

>>> [round(bound, 3) for bound in wilson(8, 8)], wilson(0, 0)
([0.676, 1.0], (0.0, 1.0))
>>> [round(bound, 3) for bound in clopper_pearson(0, 3000, tail=0.05)]
[0.0, 0.001]
"""

from __future__ import annotations

import math

__all__ = ["clopper_pearson", "wilson"]


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval; right on average. ``z`` = 1.96 for 95 %."""
    if trials == 0:
        return 0.0, 1.0
    share, weight = hits / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return low, high


def clopper_pearson(hits: int, trials: int, *, tail: float = 0.025) -> tuple[float, float]:
    """The exact interval: never narrower than its confidence. ``tail`` is the error of each side.

    With no hit and a tail of 0.05 its upper bound is the "rule of three".
    """
    from scipy.stats import beta

    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high
