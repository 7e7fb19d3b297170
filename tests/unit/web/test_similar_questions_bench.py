"""The bench of the public detector's count of nearly the same sound."""

from __future__ import annotations

import numpy as np
import pytest

from studio.web.public.limits import SimilarQuestions
from tests.bench.similar_questions import compared, expected, measure, share, text_of
from watermark.evaluation.clips import synthetic_clips


@pytest.mark.slow
def test_changed_pieces_are_counted_and_different_ones_are_not():
    pieces = [clip.waveform for clip in synthetic_clips(count=2, seconds=8.0)]
    result = measure(pieces, seconds=4.0, stretches=2, seed=0)
    changed = result["changed"]
    assert changed["MP3, 192 kbit/s"]["counted"] == 2
    noisy = [changed[f"white noise, {db} dB below"]["median"] for db in (30, 20, 10)]
    assert noisy == sorted(noisy, reverse=True)
    assert changed["first half"]["least"] == pytest.approx(0.5, abs=0.1)
    assert changed["start moved by 12 ms"]["least"] < 0.5  # it was moved
    different = result["different pieces"]
    assert (different["pairs"], different["counted"]) == (4, 0)
    assert result["the same piece"]["pairs"] == 2
    assert "| MP3, 192 kbit/s |" in text_of(result)


def test_the_same_stretch_in_two_pieces_is_counted():
    """The positive control of the comparison of different pieces."""
    rng = np.random.default_rng(1)
    one, two = (np.unique(rng.integers(1, 2**32, 400, dtype=np.uint32)) for _ in range(2))
    mixed = np.union1d(one[:100], two[:300])
    found = compared([[one], [one, two], [mixed]], SimilarQuestions(1), same=False)
    assert found["pairs"] == 5
    assert found["no_word"] == 1
    assert found["largest"] == 1.0
    assert found["counted"] == 4
    assert compared([[one, two]], SimilarQuestions(1), same=False) == {"pairs": 0}


def test_the_expected_rate_is_that_of_the_random_functions():
    rng = np.random.default_rng(2)
    words = np.unique(rng.integers(1, 2**32, 620, dtype=np.uint32))
    rng.shuffle(words)
    one, two = np.sort(words[:310]), np.sort(words[300:])  # ten in both
    shared = share(one, two)
    assert shared == pytest.approx(10 / len(words))
    draws = [SimilarQuestions(per_hour=1) for _ in range(150)]
    counted = sum(not draw.ask(one) and draw.ask(two) > 0 for draw in draws)
    rate = float(expected(np.array([shared]), 256)[0])
    assert 0.1 < rate < 0.5
    assert counted / 150 == pytest.approx(rate, abs=0.16)  # four standard deviations
