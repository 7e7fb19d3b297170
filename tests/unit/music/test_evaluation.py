"""What the evaluation reports, held against values known in advance."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from studio.core.errors import CheckpointError, HouseError
from studio.music.training.codec.network import mel_filters
from studio.music.training.evaluation.classifier import JUDGE_WEIGHTS, TagClassifier, heard
from studio.music.training.evaluation.metrics import CopyingIndex, frechet_distance
from studio.music.training.evaluation.report import Check, Report
from watermark.audio.waveform import Waveform

RATE = 16000


def test_mel_filters_cover_every_band_once():
    filters = mel_filters(32000, 512, 64)
    assert filters.shape == (257, 64)
    assert filters.sum(0).numpy() == pytest.approx(np.ones(64), abs=1e-5)
    centres = filters.argmax(0)
    assert (centres[1:] >= centres[:-1]).all()


def test_frechet_distance_against_closed_forms():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 5))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, a + 3) == pytest.approx(45, rel=1e-6)
    # Two Gaussians of one mean: sum over axes of (sigma_a - sigma_b) ** 2.
    assert frechet_distance(a, 2 * rng.normal(size=(4000, 5))) == pytest.approx(5, rel=0.1)


def test_a_planted_copy_is_found_and_fresh_music_is_not():
    rng = np.random.default_rng(3)
    train = [rng.integers(512, size=(800, 4)) for _ in range(6)]
    index = CopyingIndex(train, codebooks=2)
    fresh = rng.integers(512, size=(500, 4))
    copy = fresh.copy()
    copy[100:220] = train[4][333:453]
    assert index.shared([fresh], 25) == 0
    assert index.longest(fresh, 500) <= 2
    assert index.longest(copy, 500) == 120
    assert index.shared([copy], 25) == pytest.approx((120 - 24) / (500 - 24))
    # Only the first codebooks are compared: the same notes in other detail are still a copy.
    copy[:, 2:] = 0
    assert index.longest(copy, 500) == 120
    copy[160, 1] += 1
    assert index.longest(copy, 500) == 60


@pytest.mark.slow
def test_classifier_hears_what_was_trained_and_chance_is_chance():
    rng = np.random.default_rng(0)
    clips, tags = [], []
    for number in range(96):
        genre, tempo = number % 2, (number // 2) % 2
        t = np.arange(5 * RATE) / RATE
        period = (0.3, 0.5)[tempo]
        tone = np.sin(2 * np.pi * (300 * rng.uniform(0.8, 1.2) * (1, 6)[genre]) * t)
        pulse = np.exp(-12 * ((t + rng.uniform(0, period)) % period))
        sound = 0.3 * tone * pulse + 0.01 * rng.normal(size=len(t))
        clips.append(Waveform(sound.astype(np.float32)[None], RATE))
        tags.append(
            (f"genre/{'ab'[genre]}", "mood/x", "lead/y", f"tempo/{('fast', 'slow')[tempo]}")
        )
    judge = TagClassifier(_tags())
    features = heard(clips)
    with pytest.raises(HouseError, match="not been trained"):
        judge.predict(features)
    judge.fit((features[:64], tags[:64]), epochs=30, seed=1)
    predicted = judge.predict(features[64:])
    for kind in ("genre", "tempo"):
        share = np.mean([p[kind] in t for p, t in zip(predicted, tags[64:], strict=True)])
        assert share > 0.9
    # Negative control: with the labels shuffled there is nothing to learn.
    judge.fit((features[:64], [tags[i] for i in rng.permutation(64)]), epochs=30, seed=1)
    blind = judge.predict(features[64:])
    share = np.mean([p["genre"] in t for p, t in zip(blind, tags[64:], strict=True)])
    assert 0.2 < share < 0.8
    assert judge.embed(features).shape == (96, 64)
    with pytest.raises(HouseError, match="four seconds"):
        heard([Waveform(clips[0].samples[:, : 2 * RATE], RATE)])


def test_drawn_pictures_are_learnt_from_beside_sounds():
    """They differ from sounds by an offset in every feature, which must not matter."""
    rng = np.random.default_rng(3)
    kinds = rng.integers(2, size=400)
    rows = rng.normal(size=(400, 20)).astype(np.float32) + 2 * kinds[:, None] * np.eye(20)[3]
    tags = [(f"genre/{'ab'[k]}", "mood/x", "lead/y", "tempo/slow") for k in kinds]
    judge = TagClassifier(_tags())
    drawn = (rows[:300] * 3 + 50).astype(np.float32), tags[:300]
    judge.fit((rows[300:340].astype(np.float32), tags[300:340]), drawn, epochs=20)
    right = judge.right(rows[340:].astype(np.float32), tags[340:])
    assert right["genre"] > 0.75
    assert right["mood"] == 1


def test_the_judge_that_ships_comes_back_and_damage_is_found(tmp_path):
    judge = TagClassifier.load()
    assert {len(judge.names[kind]) for kind in ("genre", "mood", "lead", "tempo")} == {
        31, 10, 20, 3,
    }  # fmt: skip
    copy = tmp_path / "judge.safetensors"
    judge.save(copy)
    assert copy.read_bytes() == JUDGE_WEIGHTS.read_bytes()
    copy.write_bytes(copy.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="judge"):
        TagClassifier.load(copy)
    card = json.loads(JUDGE_WEIGHTS.with_suffix(".json").read_text(encoding="ascii"))
    assert card["sha256"] == hashlib.sha256(JUDGE_WEIGHTS.read_bytes()).hexdigest()


def test_a_check_says_plainly_whether_its_target_is_reached():
    assert Check("x", 4.0, 5.0, "s", at_least=False).reached
    missed = Check("codec SI-SDR", 8.4, 9.0, "dB")
    assert missed.line().endswith("NOT reached")
    report = Report({"codec": {"house": {"si_sdr_db": 8.4}}}, [missed])
    assert report.to_dict()["checks"][0]["reached"] is False
    assert "si_sdr_db 8.4" in report.text()


def _tags() -> tuple[str, ...]:
    return (
        "genre/a", "genre/b", "mood/x", "lead/y", "tempo/fast", "tempo/medium", "tempo/slow",
    )  # fmt: skip
