"""Calibration: counts, exact intervals, and honest p-values."""

from itertools import pairwise

import numpy as np
import pytest

from watermark.models.calibration import Calibration, DurationCalibration, FalsePositiveRate
from watermark.models.loading import load_seal_model


def test_the_rule_of_three():
    rate = FalsePositiveRate.of(0, 3000)
    assert rate.lower == 0
    assert rate.upper == pytest.approx(1e-3, rel=0.01)


def test_the_interval_covers():
    """Clopper-Pearson holds the true rate in at least 95 % of experiments."""
    rng = np.random.default_rng(0)
    truth, covered = 0.05, 0
    for _ in range(400):
        rate = FalsePositiveRate.of(int(rng.binomial(100, truth)), 100)
        covered += rate.lower <= truth <= rate.upper
    assert covered >= 0.95 * 400


def test_p_values_are_ranks_and_never_zero():
    scores = np.random.default_rng(1).standard_normal(500).tolist()
    row = DurationCalibration.from_scores(10.0, scores, margin=0.5)
    assert row.p_value(99.0) == pytest.approx(1 / 501)
    assert row.p_value(max(scores)) == pytest.approx(2 / 501)
    assert row.p_value(float(np.median(scores))) == pytest.approx(0.5, abs=0.02)
    assert row.p_value(-99.0) == pytest.approx(1.0)
    assert row.threshold == pytest.approx(max(scores) + 0.5)
    values = [row.p_value(x) for x in np.linspace(-4, 4, 81)]
    assert values == sorted(values, reverse=True)


def test_the_threshold_lets_the_stated_share_alarm_and_no_more():
    scores = [float(n) for n in range(3000)]
    row = DurationCalibration.from_scores(10.0, scores, margin=0.5, rate=1e-3)
    assert row.threshold == 2996.5  # 2997, 2998 and 2999 are above
    assert row.false_positive_rate.alarms == 3
    assert row.false_positive_rate.lower < 1e-3 < row.false_positive_rate.upper
    few = DurationCalibration.from_scores(10.0, scores[:900], margin=0.5, rate=1e-3)
    assert few.false_positive_rate.alarms == 0


def test_the_best_of_many_looks_alarms_as_rarely_as_one():
    rng = np.random.default_rng(4)
    row = DurationCalibration.from_scores(
        10.0, rng.exponential(0.4, 5000).tolist(), margin=0.0, rate=1e-2
    )
    assert row.tail == pytest.approx(0.4, rel=0.35)
    point = Calibration(("a",), "2026-01-01", (row,)).at(10.0)
    assert point.threshold_over(1) == row.threshold
    single = np.mean(rng.exponential(0.4, 20_000) > row.threshold)
    best = rng.exponential(0.4, (20_000, 100)).max(1)
    assert np.mean(best > row.threshold) > 0.5  # what happens without
    assert np.mean(best > point.threshold_over(100)) < 4 * single


def rows_of(thresholds: dict[float, float]) -> Calibration:
    """Exponential scores of each duration, the largest at the threshold."""
    rng = np.random.default_rng(7)
    rows = []
    for duration, threshold in thresholds.items():
        scores = rng.exponential(0.1 * threshold, 2000)
        scores = (scores - scores.max() + threshold).tolist()
        rows.append(DurationCalibration.from_scores(duration, scores, margin=0.0))
    return Calibration(("a",), "2026-01-01", tuple(rows))


EVERY_DURATION = np.geomspace(0.02, 4 * 3600.0, 3000)


@pytest.mark.parametrize("kind", ["house", "one row above a shorter one", "a single row"])
def test_the_threshold_falls_with_duration_and_never_jumps(kind):
    calibration = {
        "house": lambda: load_seal_model("house").calibration,
        "one row above a shorter one": lambda: rows_of({2.0: 4.0, 5.0: 2.8, 10.0: 3.1, 30.0: 2.0}),
        "a single row": lambda: rows_of({10.0: 3.0}),
    }[kind]()
    for looks in (1, 23, 500):
        thresholds = [calibration.at(float(d)).threshold_over(looks) for d in EVERY_DURATION]
        searched = [calibration.at(float(d)).threshold_over(looks, 23) for d in EVERY_DURATION]
        assert np.subtract(searched, thresholds).min() > 2.5  # over tries at other speeds
        steps = np.diff(thresholds)
        assert steps.max() <= 1e-9
        assert steps.min() > -0.05  # durations here are 0.45 % apart
    for row in calibration._falling():
        assert calibration.at(row.duration_s).threshold == pytest.approx(row.threshold)
    # The negative control: the rule of the last row that is not longer does jump.
    last = [[r for r in calibration.rows if r.duration_s <= d][-1:] for d in EVERY_DURATION]
    jumps = np.diff([r[0].threshold for r in last if r])
    assert kind == "a single row" or jumps.min() < -0.4


@pytest.mark.parametrize("score", [0.5, 1.5, 2.5, 3.5, 4.5, 9.0])
def test_p_values_do_not_jump_either(score):
    calibration = load_seal_model("house").calibration
    assert calibration is not None
    rows = calibration.rows[:3]
    for row in rows:
        assert calibration.at(row.duration_s).p_value(score) == pytest.approx(row.p_value(score))
        just_below = calibration.at(0.9999 * row.duration_s).p_value(score)
        assert just_below == pytest.approx(row.p_value(score), rel=0.1)
    for low, high in pairwise(rows):
        between = calibration.at((low.duration_s * high.duration_s) ** 0.5).p_value(score)
        first, last = sorted((low.p_value(score), high.p_value(score)))
        assert first <= between <= last
    assert calibration.at(1.0).p_value(score) >= rows[0].p_value(score)


def test_the_rate_stated_between_two_rows_is_the_worse_of_theirs():
    calibration = load_seal_model("house").calibration
    assert calibration is not None
    two, five, ten = calibration.rows[:3]
    for duration, rows in ((1.0, [two]), (3.0, [two, five]), (9.7, [five, ten]), (3600.0, [ten])):
        stated = calibration.at(duration).counted.stated_rate.upper
        assert stated == max(row.stated_rate.upper for row in rows)


def test_leaving_files_out_finds_the_file_that_differs():
    from watermark.train.calibrate import MARGIN, Score, calibrate

    rng = np.random.default_rng(2)
    scores = [Score("s", f"f{n % 10}", 10.0, float(rng.normal(-3, 0.3))) for n in range(200)]
    assert calibrate(scores)["rows"][0]["held_out"]["alarms"] == 0
    odd = [*scores, Score("s", "odd", 10.0, MARGIN + 1.0)]
    row = calibrate(odd)["rows"][0]
    assert row["held_out"]["alarms"] == 1
    assert row["false_positive_rate"]["alarms"] == 0  # it chose the threshold
    assert Calibration.from_dict(calibrate(odd)).rows[0].threshold == pytest.approx(2 * MARGIN + 1)
