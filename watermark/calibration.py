"""What the detection score does on unmarked music: thresholds, p-values, false-positive rates.

The numbers come from running the whole detector (all channel views, all alignments) on real music
that carries no seal, cut into clips of fixed durations, and are stored in the JSON beside the
weights. Nothing here is a model of the score: a p-value is a rank among the measured clips and
never smaller than ``1 / (n + 1)``, a false-positive rate is a count with its exact
(Clopper-Pearson) 95 % interval.

>>> clips = [0.01 * k for k in range(999)]
>>> row = DurationCalibration.from_scores(10.0, clips, margin=0.1)
>>> row.p_value(20.0), round(row.false_positive_rate.upper, 4)
(0.001, 0.003)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Calibration", "DurationCalibration", "FalsePositiveRate"]

_TOP = 100  # largest scores kept one by one
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class FalsePositiveRate:
    """Alarms on unmarked clips, and the interval that holds the true rate at 95 %.

    Attributes:
        alarms, clips: the count.
        lower, upper: Clopper-Pearson; one-sided where there was no alarm (the "rule of three").
    """

    alarms: int
    clips: int
    lower: float
    upper: float

    @classmethod
    def of(cls, alarms: int, clips: int) -> Self:
        """From a count of independent clips."""
        from scipy.stats import beta

        tail = (1 - _CONFIDENCE) / (2 if alarms else 1)
        lower = float(beta.ppf(tail, alarms, clips - alarms + 1)) if alarms else 0.0
        upper = float(beta.ppf(1 - tail, alarms + 1, clips - alarms)) if alarms < clips else 1.0
        return cls(alarms, clips, lower, upper)


@dataclass(frozen=True, slots=True)
class DurationCalibration:
    """Scores of unmarked clips of one duration.

    Attributes:
        duration_s: of every clip.
        clips: how many.
        threshold: a clip is called sealed above it.
        top: the largest scores, descending.
        quantiles: the scores' 0, 1, …, 100 % points.
        false_positive_rate: of the threshold, on the clips that chose it.
        held_out: the same on other clips, or None.
    """

    duration_s: float
    clips: int
    threshold: float
    top: tuple[float, ...]
    quantiles: tuple[float, ...]
    false_positive_rate: FalsePositiveRate
    held_out: FalsePositiveRate | None = None

    @classmethod
    def from_scores(
        cls, duration_s: float, scores: Sequence[float], *, margin: float, rate: float = 0.0
    ) -> Self:
        """Threshold = ``margin`` above the largest unmarked score that is not among the share
        ``rate`` of the clips that may alarm; at rate 0, none of them does."""
        ordered = sorted(scores)
        n = len(ordered)
        threshold = ordered[-1 - int(rate * n)] + margin
        quantiles = tuple(ordered[round(q * (n - 1) / 100)] for q in range(101))
        return cls(
            duration_s=duration_s,
            clips=n,
            threshold=threshold,
            top=tuple(reversed(ordered[-_TOP:])),
            quantiles=quantiles,
            false_positive_rate=FalsePositiveRate.of(sum(s > threshold for s in ordered), n),
        )

    @property
    def tail(self) -> float:
        """How fast scores become rare: the mean excess of the top hundredth over the next score.

        Were the tail exponential, e times as many clips would be expected to reach this much less.
        """
        count = min(len(self.top) - 1, max(1, self.clips // 100))
        if count < 1:
            return 0.0
        return sum(self.top[:count]) / count - self.top[count]

    def threshold_over(self, looks: int) -> float:
        """The threshold for the best of ``looks`` clips, so that together they alarm as one does.

        By the exponential tail: an extrapolation, and on few clips a rough one.
        """
        return self.threshold + self.tail * math.log(max(1, looks))

    def p_value(self, score: float) -> float:
        """Share of unmarked clips that score at least this; never below 1 / (clips + 1)."""
        if self.top and score > self.top[-1]:
            above = sum(1 for other in self.top if other >= score)
        else:
            below = bisect_left(self.quantiles, score) / len(self.quantiles)
            above = round((1 - below) * self.clips)
        return (above + 1) / (self.clips + 1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """All durations of one pair of weights.

    Attributes:
        sources: what the unmarked audio was (name, files, minutes, clips).
        date: ISO date of the measurement.
        rows: by duration, shortest first.
    """

    sources: tuple[str, ...]
    date: str
    rows: tuple[DurationCalibration, ...]

    def at(self, duration_s: float) -> DurationCalibration:
        """The row for a file: the longest calibrated duration that is not longer than it.

        A longer clip only averages more, so the shorter row's threshold is the careful one.
        """
        fitting = [row for row in self.rows if row.duration_s <= duration_s + 0.05]
        return fitting[-1] if fitting else self.rows[0]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From the JSON beside the weights; KeyError or TypeError where it is not one."""
        rows = []
        for row in data["rows"]:
            held = row.get("held_out")
            rows.append(
                DurationCalibration(
                    **{
                        **row,
                        "top": tuple(row["top"]),
                        "quantiles": tuple(row["quantiles"]),
                        "false_positive_rate": FalsePositiveRate(**row["false_positive_rate"]),
                        "held_out": FalsePositiveRate(**held) if held else None,
                    }
                )
            )
        rows.sort(key=lambda row: row.duration_s)
        return cls(tuple(data["sources"]), str(data["date"]), tuple(rows))
