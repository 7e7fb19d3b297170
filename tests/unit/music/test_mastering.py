"""Mastering: a stream equals the whole, stems add up to the mix, level and peak are kept."""

from __future__ import annotations

import numpy as np
import pytest

from studio.core.errors import ConfigError
from studio.music.models.house.mastering import (
    PEAK_DBFS,
    RMS_DBFS,
    Look,
    Master,
    gated_rms,
    loudness_gain,
    master,
    room,
)
from studio.music.models.house.notes import RATE


def dry(seconds: float = 1.5, peak: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(5)
    sound = rng.normal(0, 0.02, (4, 2, round(seconds * RATE))).astype(np.float32)
    sound[0, :, 30_000:30_040] += peak
    return sound


LOOK = Look(brightness_db=3.0, reverb=0.3)


@pytest.mark.parametrize("sizes", [[1], [960, 7, 48_000], [72_000]])
@pytest.mark.parametrize("apart", [False, True])
def test_a_stream_equals_the_whole_sample_by_sample(sizes, apart):
    sound = dry()
    whole = master(sound, LOOK, 3.0, apart=apart)
    assert whole.shape == ((4, 2, sound.shape[2]) if apart else (2, sound.shape[2]))
    chain = Master(LOOK, 3.0, sound.shape[2], sources=4 if apart else 0)
    pieces, at = [], 0
    while at < sound.shape[2]:
        size = max(sizes[len(pieces) % len(sizes)], 500 if sizes == [1] else 1)
        pieces.append(chain.push(sound[:, :, at : at + size]))
        at += size
    pieces.append(chain.finish())
    assert np.array_equal(np.concatenate(pieces, -1), whole)


def test_finished_stems_add_up_to_the_mix_through_the_limiter():
    sound = dry(peak=2.0)
    mix, stems = master(sound, LOOK, 2.0), master(sound, LOOK, 2.0, apart=True)
    assert np.allclose(stems.sum(0), mix, atol=1e-5)
    ceiling = 10 ** (PEAK_DBFS / 20)
    assert np.abs(mix).max() <= ceiling + 1e-6
    linear = master(sound * 0.01, LOOK, 2.0) * 100  # too soft to be limited
    assert np.abs(linear).max() > 1.5 * ceiling
    far = slice(0, 20_000)  # the limiter works near the peak only
    assert np.allclose(linear[:, far], mix[:, far], atol=1e-4)


def test_an_impulse_keeps_its_place_and_rings_differently_on_both_sides():
    sound = np.zeros((1, 2, 2 * RATE), np.float32)
    sound[0, :, 12_345] = 0.5
    out = master(sound, Look(0.0, 0.4), 1.0)
    assert np.argmax(np.abs(out[0])) == 12_345
    assert not out[:, :12_345].any() or np.abs(out[:, :12_345]).max() < 1e-6
    tail = out[:, 12_345 + 600 :]
    assert np.abs(np.corrcoef(tail)[0, 1]) < 0.3
    assert np.allclose(np.sum(room() ** 2, axis=1), 1, atol=1e-4)
    without = master(sound, Look(0.0, 0.0), 1.0)
    assert np.abs(without[:, 12_345 + 600 :]).max() < 1e-6


def test_the_shelf_lifts_what_is_high_and_leaves_what_is_low():
    time = np.arange(RATE) / RATE
    for frequency, expected in ((60, 0.0), (15_000, 6.0)):
        tone = np.tile(0.1 * np.sin(2 * np.pi * frequency * time), (1, 2, 1)).astype(np.float32)
        out = master(tone, Look(6.0, 0.0), 1.0)[:, 5000:30_000]
        gain = 20 * np.log10(np.std(out) / np.std(tone[0]))
        assert gain == pytest.approx(expected, abs=0.8)


def test_the_level_is_reached_and_silence_is_refused():
    out = master(dry(4.0), Look(0.0, 0.0))
    assert 20 * np.log10(gated_rms(out)) == pytest.approx(RMS_DBFS, abs=0.5)
    with pytest.raises(ConfigError):
        master(np.zeros((4, 2, RATE), np.float32), LOOK)
    with pytest.raises(ConfigError):
        loudness_gain(float("nan"))


def test_the_end_fades_and_missing_audio_is_refused():
    out = master(np.full((1, 2, RATE), 0.1, np.float32), Look(0.0, 0.0), 1.0)
    assert np.abs(out[:, -1]).max() < 1e-4
    assert out[0, RATE - 13_000] == pytest.approx(0.1, abs=1e-3)
    chain = Master(LOOK, 1.0, 1000)
    chain.push(np.zeros((4, 2, 400), np.float32))
    with pytest.raises(ConfigError):
        chain.finish()
    with pytest.raises(ConfigError):
        chain.push(np.zeros((4, 2, 601), np.float32))


def test_no_input_makes_it_leave_its_bounds():
    wild = np.full((4, 2, RATE), 50.0, np.float32)
    wild[:, :, ::2] *= -1
    out = master(wild, LOOK, 1.0)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 10 ** (PEAK_DBFS / 20) + 1e-6
