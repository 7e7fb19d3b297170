"""The bench of verdicts on seals under other music and on copied ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.copied_seals import MADE, measure, text_of, under
from tests.support.seals import TonalSeal
from tests.support.studios import music
from watermark.audio.waveform import Waveform

JUDGED = ("the output itself", "the same, twice as strong", "other music alone")


@pytest.mark.slow
def test_ours_a_copied_seal_and_other_music_are_told_apart():
    clips = [music(seed, 8.0) for seed in (1, 2)]
    result = measure(clips, TonalSeal(), {what: MADE[what] for what in JUDGED})
    counts = result["counts"]
    assert all(row["n"] == 2 for row in counts.values())
    ours, copied, other = (counts[what] for what in JUDGED)
    assert (ours["named"], ours["verdicts"]) == (2, {"sealed": 2})
    assert ours["largest"] < 0.25
    assert (copied["named"], copied["called_copied"], copied["above_46"]) == (2, 2, 2)
    assert (other["named"], other["called_copied"], other["least"]) == (0, 0, None)
    assert "| the output itself | 2 of 2 |" in text_of(counts)


@pytest.mark.parametrize("what", [what for what in MADE if what not in JUDGED])
def test_each_kind_of_file_holds_something_of_ours_and_other_music(what):
    original, other = music(1, 4.0), music(2, 4.0)
    noise = np.random.default_rng(0).standard_normal(original.samples.shape)
    louder = (1 + 0.1 * np.sign(noise)).astype(np.float32)
    sealed = Waveform(original.samples * louder, original.rate)
    made = MADE[what](original, sealed, other)
    assert made.length == other.length
    alone = MADE[what](original, original, other)  # without a seal
    assert not np.allclose(made.samples, alone.samples, atol=1e-4)
    assert np.corrcoef(made.samples[0], other.samples[0])[0, 1] > 0.4


def test_the_other_music_is_louder_by_so_much():
    one, two = music(3, 4.0), music(4, 4.0)
    quiet = Waveform(0.1 * one.samples, one.rate)
    mixed = under(6.0)(quiet, quiet, two)
    ratio = (mixed.samples - quiet.samples).std() / quiet.samples.std()
    assert abs(ratio - 10 ** (6 / 20)) < 0.05
