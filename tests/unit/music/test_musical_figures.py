"""Figures of what a listener notices, held against sounds made for the purpose."""

from __future__ import annotations

import numpy as np
import pytest

from studio.music.composer.arrange import compose_score
from studio.music.training.evaluation.beside import (
    Pair,
    compare,
    expected_of_score,
    fresh_requests,
)
from studio.music.training.evaluation.musical import (
    Expected,
    ExpectedChord,
    ExpectedNote,
    describe_sound,
    distinct_token_rate,
    log_mel_error_db,
    summarise,
)
from watermark.audio.waveform import Waveform

RATE = 32000


def test_a_held_partial_is_a_drone_and_a_melody_is_none():
    held = _tone(69, 8.0)
    assert describe_sound(_wave(held), Expected()).drones
    strokes = held + _clicks(8.0, every_s=0.5)
    assert describe_sound(_wave(strokes), Expected()).drones  # drums do not hide it
    melody = np.concatenate([_tone(60 + p, 0.5) for p in (0, 4, 7, 5, 2, 9, 7, 4) * 2])
    figures = describe_sound(_wave(melody), Expected())
    assert not figures.drones
    assert figures.held_partial_s < 0.7


def test_a_picture_that_stands_still_is_a_drone_and_one_that_moves_is_none():
    cluster = sum(_tone(p, 8.0, level=0.02) for p in range(40, 90, 3))
    still = describe_sound(_wave(cluster), Expected())
    assert still.held_partial_s < 3
    assert still.still_s > 6
    assert still.drones
    moving = np.concatenate(
        [sum(_tone(p + k, 1.0, level=0.02) for p in range(40, 90, 9)) for k in (0, 4, 2, 5) * 2]
    )
    assert not describe_sound(_wave(moving), Expected()).drones


def test_chords_agree_with_their_own_score_and_not_with_a_transposed_one():
    tones = ((0, 4, 7), (5, 9, 0), (7, 11, 2), (9, 0, 4))
    sound = np.concatenate([sum(_note(48 + t, 2.0) for t in chord) for chord in tones])
    score = Expected(tuple(ExpectedChord(2.0 * i, 2.0 * i + 2, c) for i, c in enumerate(tones)))
    other = Expected(
        tuple(
            ExpectedChord(2.0 * i, 2.0 * i + 2, tuple((t + 1) % 12 for t in c))
            for i, c in enumerate(tones)
        )
    )
    assert describe_sound(_wave(sound), score).chords == (4, 4)
    assert describe_sound(_wave(sound), other).chords == (0, 4)
    assert describe_sound(_wave(sound), Expected()).chords == (0, 0)


def test_lead_notes_are_found_over_an_accompaniment_and_wrong_ones_are_not():
    pitches = (72, 76, 74, 79, 77, 74, 72, 69, 71, 74, 76, 72)
    lead = np.concatenate([_note(p, 0.5) for p in pitches])
    pad = sum(_note(p, 6.0, level=0.1) for p in (48, 52, 55))
    notes = tuple(ExpectedNote(0.5 * i, 0.5, p) for i, p in enumerate(pitches))
    hits, trials = describe_sound(_wave(lead + pad), Expected(lead=notes)).lead
    assert trials == 11  # nothing sounds before the first
    assert hits >= 10
    wrong = tuple(ExpectedNote(n.start_s, n.length_s, n.pitch + 1) for n in notes)
    assert describe_sound(_wave(lead + pad), Expected(lead=wrong)).lead[0] <= 1


def test_strokes_and_notes_are_counted_over_time():
    early = np.concatenate([_clicks(4.0, every_s=0.25), np.zeros(4 * RATE)])
    strokes = describe_sound(_wave(early), Expected()).strokes
    assert strokes[0] in (7, 8)
    assert strokes[1] in (7, 8)
    assert strokes[2:] == (0, 0)
    melody = np.concatenate([_note(p, 0.5) for p in (60, 64, 67, 72)] + [np.zeros(2 * RATE)])
    notes = describe_sound(_wave(melody), Expected()).notes
    assert min(notes[:2]) >= 2
    assert notes[3] == 0


def test_noise_between_partials_is_heard():
    rng = np.random.default_rng(0)
    sound = sum(_note(p, 3.0) for p in (45, 52, 57))
    clean = describe_sound(_wave(sound), Expected()).valley_to_peak_db
    noisy = sound + 0.02 * rng.normal(size=len(sound))
    assert describe_sound(_wave(noisy), Expected()).valley_to_peak_db > clean + 6


def test_a_sound_that_moves_is_told_from_one_that_is_smooth():
    rng = np.random.default_rng(0)
    smooth = sum(_note(p, 3.0) for p in (45, 52, 57))
    wobble = 10 ** (np.repeat(rng.normal(size=150), 640)[: len(smooth)] * 3 / 20)
    calm, lively = (describe_sound(_wave(s), Expected()) for s in (smooth, smooth * wobble))
    assert lively.movement_db > calm.movement_db + 1


@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (44100, 1), (16000, 1)])
def test_the_figures_hold_for_any_rate_and_for_stereo(rate: int, channels: int):
    tones = ((0, 4, 7), (5, 9, 0), (7, 11, 2))
    score = Expected(tuple(ExpectedChord(2.0 * i, 2.0 * i + 2, c) for i, c in enumerate(tones)))
    sound = np.concatenate([sum(_note(48 + t, 2.0, rate=rate) for t in c) for c in tones])
    wave = Waveform(np.stack([sound] * channels).astype(np.float32), rate)
    figures = describe_sound(wave, score)
    assert figures.chords == (3, 3)
    assert not figures.drones


def test_log_mel_error_of_a_clip_with_itself_and_with_half_its_level():
    sound = _wave(0.1 * np.random.default_rng(1).normal(size=2 * RATE))
    assert log_mel_error_db(sound, sound) == 0
    half = Waveform(sound.samples / 2, RATE)
    assert log_mel_error_db(half, sound) == pytest.approx(6.02, abs=0.5)


def test_a_model_that_repeats_itself_has_few_distinct_tokens():
    rng = np.random.default_rng(2)
    lively = rng.integers(512, size=(500, 4))
    stuck = np.tile(rng.permutation(512)[:20].reshape(5, 4), (100, 1))
    assert distinct_token_rate(stuck) == pytest.approx(0.01)
    assert distinct_token_rate(lively) > 0.5


def test_summary_counts_drones_and_pools_agreements():
    rest = {"strokes": (1, 1, 1, 1), "notes": (2, 2, 2, 2), "valley_to_peak_db": -20.0,
            "movement_db": 1.0}  # fmt: skip
    figures = describe_sound(_wave(_tone(69, 5.0)), Expected())
    still = type(figures)(4.0, 0.0, (1, 4), (0, 0), level_db=-18.0, **rest)
    fine = type(figures)(1.0, 0.0, (3, 4), (0, 0), level_db=-20.0, **rest)
    summary = summarise([still, fine])
    assert summary["drone_rate"] == 0.5
    assert summary["chord_agreement"] == 0.5
    assert summary["lead_note_agreement"] is None
    assert summary["notes_per_quarter"] == [2.0] * 4


def test_fresh_requests_are_balanced_and_follow_the_seed_alone():
    tags = [f"genre/{g}" for g in "abc"] + ["mood/x", "mood/y", "lead/z", "tempo/slow"]
    requests = fresh_requests(tags, per_genre=4, seed=9)
    assert requests == fresh_requests(tags, per_genre=4, seed=9)
    assert requests != fresh_requests(tags, per_genre=4, seed=10)
    assert [sum(f"genre/{g}" in r.tags for r in requests) for g in "abc"] == [4, 4, 4]
    assert sum("mood/x" in r.tags for r in requests) == 6


def test_clips_are_compared_with_their_own_score_and_with_chance():
    pairs = []
    for seed, key in ((1, 0), (2, 3)):
        expected = expected_of_score(compose_score(["genre/rock", "mood/happy"], seed, 12.0), 6.0)
        assert all(chord.end_s <= 6 for chord in expected.chords)
        sound = np.zeros(6 * RATE)
        for chord in expected.chords:  # the sheet's chords, plainly played
            first, last = round(chord.start_s * RATE), round(chord.end_s * RATE)
            part = sum(_note(48 + t, (last - first) / RATE) for t in chord.tones)
            sound[first:last] = part[: last - first]
        wave = _wave(sound)
        pairs.append(Pair(wave, wave, expected, np.arange(20).reshape(10, 2) + key))
    report = compare(pairs)
    assert report["generated"]["chord_agreement"] >= 0.9
    assert report["log_mel_error_db"] == 0
    assert report["distinct_token_rate"] == 1
    chance = report["generated against another request's score"]["chord_agreement"]
    assert chance < report["generated"]["chord_agreement"]


def _tone(pitch: float, seconds: float, *, level: float = 0.3, rate: int = RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return level * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * t)


def _note(pitch: int, seconds: float, *, level: float = 0.2, rate: int = RATE) -> np.ndarray:
    """A plucked note of six partials."""
    t = np.arange(round(seconds * rate)) / rate
    f = 440 * 2 ** ((pitch - 69) / 12)
    partials = sum(np.sin(2 * np.pi * f * h * t) / h for h in range(1, 7))
    return level * partials * np.exp(-t / seconds) * np.minimum(1, t / 0.005)


def _clicks(seconds: float, *, every_s: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    out = np.zeros(round(seconds * RATE))
    for start in np.arange(0, seconds, every_s):
        first = round(start * RATE)
        size = min(round(0.05 * RATE), len(out) - first)
        decay = np.exp(-np.arange(size) / (0.01 * RATE))
        out[first : first + size] += 0.5 * rng.normal(size=size) * decay
    return out


def _wave(samples: np.ndarray) -> Waveform:
    return Waveform(samples[None].astype(np.float32), RATE)
