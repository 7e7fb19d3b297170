"""Calibration: counts, exact intervals, and honest p-values."""

import numpy as np
import pytest

from watermark.calibration import Calibration, DurationCalibration, FalsePositiveRate


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
    assert row.threshold_over(1) == row.threshold
    single = np.mean(rng.exponential(0.4, 20_000) > row.threshold)
    best = rng.exponential(0.4, (20_000, 100)).max(1)
    assert np.mean(best > row.threshold) > 0.5  # what happens without
    assert np.mean(best > row.threshold_over(100)) < 4 * single


def test_a_file_uses_the_longest_row_that_is_not_longer():
    rows = tuple(
        DurationCalibration.from_scores(d, [0.0, 1.0], margin=0.1) for d in (2.0, 5.0, 10.0, 30.0)
    )
    calibration = Calibration(("a",), "2026-01-01", rows)
    used = {d: calibration.at(d).duration_s for d in (0.5, 2.0, 4.9, 5.0, 29.0, 3600.0)}
    assert used == {0.5: 2.0, 2.0: 2.0, 4.9: 2.0, 5.0: 5.0, 29.0: 10.0, 3600.0: 30.0}


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
