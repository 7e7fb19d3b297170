"""What the evaluation reports, held against values known in advance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from studio.core.errors import ConfigError, HouseError
from studio.music.models.house.codec import mel_filters
from studio.music.models.house.model import (
    HouseConfig,
    HouseModel,
    build_house_model,
    load_house_model,
    save_house_model,
)
from studio.music.models.house.temperatures import every_codebook, scale_heads
from studio.music.training.codec.losses import MultiScaleMel, si_sdr, waveform_error_db
from studio.music.training.codec.training import codebook_perplexity
from studio.music.training.evaluation.classifier import TagClassifier, clip_features
from studio.music.training.evaluation.evaluate import (
    EvaluationConfig,
    balanced_requests,
    generate_clips,
    measure_codec,
)
from studio.music.training.evaluation.metrics import (
    CopyingIndex,
    align,
    frechet_distance,
)
from studio.music.training.evaluation.report import Check, Report
from studio.music.training.export import change_sampling, record_metrics
from watermark.util.stats import wilson

RATE = 16000


def test_si_sdr_has_its_defining_properties():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(16000, generator=rng)
    noise = torch.randn(16000, generator=rng)
    noise = noise - (noise @ x) / (x @ x) * x  # orthogonal: the ratio is exact
    assert si_sdr(x + 0.1 * noise, x).item() == pytest.approx(20, abs=0.1)
    assert si_sdr(5 * (x + 0.1 * noise), x).item() == pytest.approx(20, abs=0.1)
    assert si_sdr(-x, x) > 60  # a scale may be negative
    assert abs(si_sdr(noise, x).item()) > 20


def test_waveform_error_is_not_scale_invariant_and_zero_for_silence_out():
    x = torch.randn(2, 1, 16000) / 5
    assert waveform_error_db(torch.zeros_like(x), x).tolist() == pytest.approx([0, 0], abs=0.01)
    assert waveform_error_db(0.9 * x, x).tolist() == pytest.approx([-20, -20], abs=0.1)


def test_mel_filters_cover_every_band_once():
    filters = mel_filters(32000, 512, 64)
    assert filters.shape == (257, 64)
    assert filters.sum(0).numpy() == pytest.approx(np.ones(64), abs=1e-5)
    centres = filters.argmax(0)
    assert (centres[1:] >= centres[:-1]).all()


def test_log_mel_distance_of_half_the_level_is_its_logarithm():
    x = torch.randn(1, 1, 16000)
    distance = MultiScaleMel(RATE, (512, 1024))(x / 2, x)
    assert distance.item() == pytest.approx(np.log(2), rel=1e-3)


def test_frechet_distance_against_closed_forms():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 5))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, a + 3) == pytest.approx(45, rel=1e-6)
    # Two Gaussians of one mean: sum over axes of (sigma_a - sigma_b) ** 2.
    assert frechet_distance(a, 2 * rng.normal(size=(4000, 5))) == pytest.approx(5, rel=0.1)


def test_perplexity_of_even_and_of_constant_use():
    even = np.tile(np.arange(16), 10)
    assert codebook_perplexity(np.stack([even, np.zeros(160, int)])) == pytest.approx([16, 1])


def test_wilson_holds_the_share_and_shrinks():
    low, high = wilson(170, 200)
    assert low < 0.85 < high
    assert wilson(1700, 2000)[0] > low
    assert wilson(0, 0) == (0, 1)


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


def test_alignment_undoes_a_coders_delay_either_way():
    rng = np.random.default_rng(0)
    x = rng.normal(size=8000).astype(np.float32)
    for lag in (-300, 0, 417):
        delayed = np.concatenate([np.zeros(lag), x]) if lag >= 0 else x[-lag:]
        out = align(delayed.astype(np.float32), x, 500)
        assert np.allclose(out[500:7000], x[500:7000])


def test_requests_name_every_tag_equally_often():
    tags = HouseConfig.tiny(_tags()).tags
    requests = balanced_requests(tags, 24, seed=1)
    counts = {tag: sum(tag in request for request in requests) for tag in tags}
    assert all(len(request) == 4 for request in requests)
    assert {counts["genre/a"], counts["genre/b"]} == {12}
    assert {counts[f"tempo/{x}"] for x in ("slow", "fast", "medium")} == {8}
    assert len(set(requests)) == 6  # kinds are combined at random, all of 2 x 3 here


def test_classifier_hears_what_was_trained_and_chance_is_chance():
    rng = np.random.default_rng(0)
    clips, tags = [], []
    for number in range(96):
        genre, tempo = number % 2, (number // 2) % 2
        t = np.arange(5 * RATE) / RATE
        period = (0.3, 0.5)[tempo]
        tone = np.sin(2 * np.pi * (300 * rng.uniform(0.8, 1.2) * (1, 6)[genre]) * t)
        pulse = np.exp(-12 * ((t + rng.uniform(0, period)) % period))
        clips.append((0.3 * tone * pulse + 0.01 * rng.normal(size=len(t))).astype(np.float32))
        tags.append(
            (f"genre/{'ab'[genre]}", "mood/x", "lead/y", f"tempo/{('fast', 'slow')[tempo]}")
        )
    judge = TagClassifier(_tags(), RATE)
    with pytest.raises(HouseError, match="not been trained"):
        judge.predict(judge.features(clips[:1]))
    features = judge.features(clips)
    judge.fit(features[:64], tags[:64], seed=1)
    predicted = judge.predict(features[64:])
    for kind in ("genre", "tempo"):
        share = np.mean([p[kind] in t for p, t in zip(predicted, tags[64:], strict=True)])
        assert share > 0.9
    # Negative control: with the labels shuffled there is nothing to learn.
    judge.fit(features[:64], [tags[i] for i in rng.permutation(64)], seed=1)
    blind = judge.predict(features[64:])
    share = np.mean([p["genre"] in t for p, t in zip(blind, tags[64:], strict=True)])
    assert 0.2 < share < 0.8
    assert judge.embed(features).shape == (96, 48)
    with pytest.raises(HouseError, match="four seconds"):
        clip_features(clips[0][: 2 * RATE], RATE)


def test_generated_clips_depend_on_seed_and_tags_alone():
    model = _model()
    options = EvaluationConfig(batch=2, top_k=16, seed=5)
    requests = [("genre/a", "tempo/slow"), ("genre/b",), ("genre/a",)]
    tokens, clips = generate_clips(model, requests, options)
    assert [clip.shape for clip in clips] == [(10 * RATE,)] * 3
    again, _ = generate_clips(model, requests[:1], options)
    assert np.array_equal(again[0], tokens[0])
    assert not np.array_equal(tokens[0], tokens[1])


def test_codec_figures_stand_beside_lossy_coders():
    t = np.arange(2 * RATE) / RATE
    clip = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    rows = measure_codec(_model(), [clip], [("mp3", 32000), ("opus", 24000)])
    assert list(rows) == ["house 0.5 kbit/s", "mp3 32 kbit/s", "opus 24 kbit/s"]
    assert rows["mp3 32 kbit/s"]["si_sdr_db"] > 20
    assert rows["mp3 32 kbit/s"]["measured_kbit_s"] == pytest.approx(32, rel=0.2)
    assert len(rows["house 0.5 kbit/s"]["perplexity"]) == 2


def test_a_check_says_plainly_whether_its_target_is_reached():
    assert Check("x", 4.0, 5.0, "s", at_least=False).reached
    missed = Check("codec SI-SDR", 8.4, 9.0, "dB")
    assert missed.line().endswith("NOT reached")
    report = Report({"codec": {"house": {"si_sdr_db": 8.4}}}, [missed])
    assert report.to_dict()["checks"][0]["reached"] is False
    assert "si_sdr_db 8.4" in report.text()


def test_folded_temperatures_are_what_a_sampler_would_have_done():
    lm = _model().lm
    logits = [head(torch.ones(lm.dim)) for head in lm.linears]
    scale_heads(lm, [1 / 0.5, 1 / 2.0])
    folded = [head(torch.ones(lm.dim)) for head in lm.linears]
    assert torch.allclose(folded[0], logits[0] / 0.5)
    assert torch.allclose(folded[1], logits[1] / 2.0)


def test_sampling_of_finished_weights_is_changed_by_the_card_alone(tmp_path: Path):
    model = _model()
    scale_heads(model.lm, [1.0, 1 / 0.5])  # as an export folds temperatures in
    card = {"generation": {"guidance": 2.0, "top_k": 250, "codebook_temperatures": [1.0, 0.5]}}
    digest = save_house_model(tmp_path, model.config, model.codec, model.lm, card)
    weights = (tmp_path / "house.safetensors").read_bytes()
    before = load_house_model(tmp_path)
    out = tmp_path / "other"
    asked = {"guidance": 1.0}
    assert change_sampling(tmp_path, out, generation=asked, codebook_temperatures=[1.0]) == digest
    after = load_house_model(out)
    for k, factor in enumerate((1.0, 0.5)):
        assert torch.allclose(after.lm.linears[k].weight, factor * before.lm.linears[k].weight)
    assert after.card["generation"]["guidance"] == 1.0
    assert after.card["generation"]["top_k"] == 250
    assert (out / "house.safetensors").read_bytes() == weights
    # In place, and back again: nothing is scaled twice.
    change_sampling(out, out, generation={"guidance": 2.0}, codebook_temperatures=[1.0, 0.5])
    again = load_house_model(out)
    assert torch.equal(again.lm.linears[1].weight, before.lm.linears[1].weight)


def test_temperatures_that_cannot_be_are_refused():
    assert every_codebook([], 3) == [1.0, 1.0, 1.0]
    assert every_codebook([1.0, 0.5], 3) == [1.0, 0.5, 0.5]
    for wrong in ([0.0], [-1.0], [float("nan")], [1.0] * 4):
        with pytest.raises(ConfigError, match="positive"):
            every_codebook(wrong, 3)


def test_figures_of_other_weights_are_not_put_on_a_card(tmp_path: Path):
    model = _model()
    digest = save_house_model(tmp_path, model.config, model.codec, model.lm, {"title": "t"})
    with pytest.raises(HouseError, match="other weights"):
        record_metrics(tmp_path, {"data": {"weights": "0" * 64}})
    record_metrics(tmp_path, {"data": {"weights": digest}, "checks": []})
    assert load_house_model(tmp_path).card["metrics"]["checks"] == []


def _tags() -> tuple[str, ...]:
    return (
        "genre/a", "genre/b", "mood/x", "lead/y", "tempo/fast", "tempo/medium", "tempo/slow",
    )  # fmt: skip


def _model() -> HouseModel:
    config = HouseConfig.tiny(_tags())
    torch.manual_seed(0)
    codec, lm = build_house_model(config)
    return HouseModel(codec, lm, config, {}, "0" * 64)
