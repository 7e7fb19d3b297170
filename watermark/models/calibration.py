"""Calibration on unmarked music: thresholds, p-values, false-positive rates.

The numbers come from running the whole detector (all channel views, all alignments) on real music
that carries no seal, cut into clips of fixed durations, and are stored in the JSON beside the
weights. Nothing here is a model of the score: a p-value is a rank among the measured clips and
never smaller than ``1 / (n + 1)``, a false-positive rate is a count with its exact
(Clopper-Pearson) 95 % interval.

Between the calibrated durations one rule holds, monotone and without a jump: see
:meth:`Calibration.at`.

>>> clips = [0.01 * k for k in range(999)]
>>> row = DurationCalibration.from_scores(10.0, clips, margin=0.1)
>>> row.p_value(20.0), round(row.false_positive_rate.upper, 4)
(0.001, 0.003)
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from watermark.util.stats import clopper_pearson

__all__ = [
    "SPEED_TAIL",
    "Calibration",
    "DurationCalibration",
    "FalsePositiveRate",
    "OperatingPoint",
]

#: Mean excess of the largest scores of unmarked music read at many speeds: among them is one that
#: brings a steady beat onto the seal's own period. Counted in docs/seal-model-card.md.
SPEED_TAIL = 0.95
_TOP = 100  # largest scores kept one by one
_CONFIDENCE = 0.95
_SHORTEST_S = 0.1


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
        """The rate from a count of independent clips."""
        tail = (1 - _CONFIDENCE) / (2 if alarms else 1)
        lower, upper = clopper_pearson(alarms, clips, tail=tail)
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
    def stated_rate(self) -> FalsePositiveRate:
        """The rate on clips that did not choose the threshold, where that was counted."""
        return self.held_out or self.false_positive_rate

    @property
    def tail(self) -> float:
        """How fast scores become rare: the mean excess of the top hundredth over the next score.

        Were the tail exponential, e times as many clips would be expected to reach this much less.
        """
        count = min(len(self.top) - 1, max(1, self.clips // 100))
        if count < 1:
            return 0.0
        return sum(self.top[:count]) / count - self.top[count]

    def p_value(self, score: float) -> float:
        """Share of unmarked clips that score at least this; never below 1 / (clips + 1)."""
        if self.top and score > self.top[-1]:
            above = sum(1 for other in self.top if other >= score)
        else:
            below = bisect_left(self.quantiles, score) / len(self.quantiles)
            above = round((1 - below) * self.clips)
        return (above + 1) / (self.clips + 1)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What holds for stretches of one duration, calibrated or between calibrated ones.

    Attributes:
        duration_s: of the stretch.
        threshold: one stretch is called sealed above it.
        tail: see :attr:`DurationCalibration.tail`.
        shorter: the calibrated row at or below the duration.
        longer: the row above it; the same row at a calibrated duration and outside of them.
        share: how far the duration lies from one to the other, 0 to 1, in its logarithm.
    """

    duration_s: float
    threshold: float
    tail: float
    shorter: DurationCalibration
    longer: DurationCalibration
    share: float

    def threshold_over(self, looks: int, speeds: int = 1) -> float:
        """The threshold for the best of many tries, so that together they alarm as one does.

        By exponential tails: an extrapolation, and on few clips a rough one. Speeds have a heavier
        tail of their own: see :data:`SPEED_TAIL`.

        Args:
            looks: stretches of this duration that are looked at.
            speeds: speeds and tempos each of them is read at.
        """
        raised = self.tail * math.log(max(1, looks)) + SPEED_TAIL * math.log(max(1, speeds))
        return self.threshold + raised

    def p_value(self, score: float) -> float:
        """Share of unmarked stretches of this duration that score at least this.

        Below the shortest row, as if scores there were higher by as much as the threshold is.
        """
        score -= max(0.0, self.threshold - self.shorter.threshold)
        logs = [math.log(row.p_value(score)) for row in (self.shorter, self.longer)]
        return math.exp(logs[0] + self.share * (logs[1] - logs[0]))

    @property
    def counted(self) -> DurationCalibration:
        """The row whose false-positive rate is stated: of the two neighbours the worse."""
        return max(self.shorter, self.longer, key=lambda row: row.stated_rate.upper)


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

    def at(self, duration_s: float) -> OperatingPoint:
        """The operating point for a stretch of any duration.

        The threshold falls with duration and never jumps. A longer stretch only averages more, so a
        row that asks for more than a shorter one gives way to that one. Between two rows the
        threshold lies on the line in log duration; the measured thresholds are convex there, so
        the line is on the careful side. Below the shortest row the first line goes on upwards;
        above the longest, its threshold holds.
        """
        rows = self._falling()
        if len(rows) == 1 or duration_s >= rows[-1].duration_s:
            row = rows[-1]
            return OperatingPoint(duration_s, row.threshold, self._tail(row), row, row, 0.0)
        above = bisect_right([row.duration_s for row in rows], duration_s)
        low, high = rows[max(0, above - 1)], rows[max(1, above)]
        # Below 0.1 s there is nothing to average, and the logarithm has no end.
        part = math.log(max(duration_s, _SHORTEST_S) / low.duration_s)
        share = part / math.log(high.duration_s / low.duration_s)
        threshold = low.threshold + share * (high.threshold - low.threshold)
        tail = self._tail(low) + share * (self._tail(high) - self._tail(low))
        if share < 0:
            high = low
        return OperatingPoint(duration_s, threshold, tail, low, high, max(0.0, share))

    def _falling(self) -> list[DurationCalibration]:
        """The rows, without those whose threshold is not below all shorter ones'."""
        kept = [self.rows[0]]
        for row in self.rows[1:]:
            if row.threshold < kept[-1].threshold:
                kept.append(row)
        return kept

    def _tail(self, row: DurationCalibration) -> float:
        """A row's tail, or a longer row's if that is heavier: tails do not grow with duration."""
        return max(other.tail for other in self._falling() if other.duration_s >= row.duration_s)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the JSON beside the weights; KeyError or TypeError where it is not one."""
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
