"""The bench of how near house renders with the same tags come to each other."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.house_twins import compared, rendered, text_of
from watermark.audio.waveform import Waveform
from watermark.evaluation.clips import synthetic_clips


@pytest.mark.slow
def test_only_pieces_of_a_group_are_compared_and_copies_are_found():
    one, other = (clip.waveform for clip in synthetic_clips(count=2, seconds=10.5))
    noise = 0.001 * np.random.default_rng(0).standard_normal(one.samples.shape)
    copy = Waveform((one.samples + noise).astype(np.float32), one.rate)
    found = compared([[one, copy], [other]])
    assert found["placed"]["n"] == found["whole"]["n"] == found["stretches"] == 1
    assert (found["placed_overlaid"], found["whole_matching"], found["counted"]) == (1, 1, 1)
    different = compared([[one, other]])
    assert (different["placed_overlaid"], different["whole_matching"]) == (0, 0)
    assert (different["counted"], different["largest_share"]) == (0, 0.0)
    assert "| wholes, best place | 1 | 0 at most 25% |" in text_of(different)


@pytest.mark.needs("fluidsynth", "soundfont")
def test_pieces_of_a_group_are_different_ones():
    ((one, other),) = rendered(groups=1, pieces=2, seed=3)
    assert one.duration_s > 20
    assert one.length != other.length or not np.array_equal(one.samples, other.samples)
