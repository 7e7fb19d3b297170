"""The bench of how near unrelated music comes at one place."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.content_distances import at_best, best_text_of, distances, measure, text_of
from watermark.audio.waveform import Waveform
from watermark.evaluation.clips import synthetic_clips
from watermark.fingerprint.haitsma_kalker import fingerprint


@pytest.mark.slow
def test_unrelated_music_is_far_and_a_copy_is_near():
    one, other = (clip.waveform for clip in synthetic_clips(count=2, seconds=21.0))
    rows = measure([one, other], stretches=2)
    assert [row["n"] for row in rows] == [4] * 6
    assert all(0.3 < row["smallest"] <= row["p01"] <= row["median"] < 0.6 for row in rows)
    assert rows[0]["smallest"] >= rows[1]["smallest"]  # looked at further to either side
    assert "| 3 s | 0.07 s | 4 |" in text_of(rows)

    noise = 0.001 * np.random.default_rng(0).standard_normal(one.samples.shape)
    copy = Waveform((one.samples + noise).astype(np.float32), one.rate)
    prints = [fingerprint(one), fingerprint(copy)]
    near = distances(prints, length_s=6.0, either_side_s=0.07, stretches=2)
    assert sum(distance < 0.2 for distance in near) == 2  # at the same place, not at the other


@pytest.mark.slow
def test_codecs_leave_a_recording_near_and_others_far():
    pieces = [clip.waveform for clip in synthetic_clips(count=2, seconds=21.0)]
    rows = {row["what"]: row for row in at_best(pieces)}
    assert rows["the same, unchanged"]["matching"] == 2
    assert rows["the same, unchanged"]["largest"] < rows["the same, MP3 32k"]["largest"]
    assert [rows[f"others, {seconds} s"]["matching"] for seconds in (3, 10)] == [0, 0]
    assert "| others, 10 s | 2 | 0 |" in best_text_of(list(rows.values()))
