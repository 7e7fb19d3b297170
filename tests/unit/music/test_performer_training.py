"""Training of the performer: what a step sees, that it learns, that it resumes exactly."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from studio.core.errors import ConfigError, HouseError
from studio.music.models.house.language_model import performable
from studio.music.models.house.performer import HousePerformer
from studio.music.training.performer.data import (
    PerformanceDataConfig,
    PerformanceTrack,
    PerformanceTracks,
    composer_tags,
    draw_request,
)
from studio.music.training.performer.export import export_performer
from studio.music.training.performer.training import (
    PerformerTraining,
    PerformerTrainingConfig,
    Segments,
    load_performer,
    partly_told,
    token_losses,
    train_performer,
)
from tests.support.performers import small_score, tiny_config, tiny_lm
from tests.unit.music.test_stem_codec import small_codec

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "train"
TINY = PerformerTrainingConfig(
    model={"dim": 32, "layers": 1, "heads": 2, "hidden_scale": 2, "context": 20},
    bf16=False,
    batch=2,
    frames=60,
    steps=6,
    warm_steps=2,
    learning_rate=3e-3,
    validation_segments=8,
)


def write_tracks(folder: Path, count: int = 3) -> Path:
    """Encoded tracks whose tokens follow from the lead's pitch; no drums."""
    folder.mkdir()
    rows = []
    for split in ("train", "validation"):
        for k in range(count):
            score = small_score(2.0 + 0.1 * k, tags=("genre/rock", "mood/calm", "tempo/medium"))
            told = performable(score)
            pitch = told.pitches.reshape(told.frames, 4, 256)[:, 2, :128].argmax(1)
            tokens = np.stack([pitch * 2 + q for q in range(8)]).astype(np.uint16)
            tokens[:2] = 0  # by stem: the drums come first
            name = f"{split}-{k:05d}"
            text = np.frombuffer(score.to_json().encode("ascii"), np.uint8)
            np.savez(folder / f"{name}.npz", tokens=tokens, score=text)
            rows.append(
                PerformanceTrack(
                    name, split, score.tags, k, score.duration_s, score.digest(),
                    tokens.shape[1], "house-catalogue-2026", "house",
                )
            )  # fmt: skip
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines)
    return folder


def test_requests_follow_from_seed_split_and_number_and_are_balanced():
    config = PerformanceDataConfig()
    requests = [draw_request(config, "train", k) for k in range(124)]
    assert requests[5] == draw_request(config, "train", 5)
    assert requests[5] != draw_request(config, "test", 5)
    tags = composer_tags()
    genres = [tag for tag in tags if tag.startswith("genre/")]
    assert len(genres) >= 24
    counts = {genre: sum(genre in t for t, _, _ in requests) for genre in genres}
    assert set(counts.values()) == {4}
    assert all(set(t) <= set(tags) and len(t) == 4 for t, _, _ in requests)
    assert all(config.shortest_s <= s <= config.longest_s for _, _, s in requests)


def test_recipes_are_read_and_unknown_options_refused(tmp_path):
    for profile in ("cpu", "gpu"):
        config = PerformerTrainingConfig.load(CONFIGS / "performer.yaml", profile)
        assert 0.1 <= config.wrong_tokens <= 0.3
    assert PerformanceDataConfig.load(CONFIGS / "performer.yaml").train > 100
    text = (CONFIGS / "performer.yaml").read_text()
    (tmp_path / "x.yaml").write_text(text.replace("  clip: 1.0", "  clap: 1.0"))
    with pytest.raises(ConfigError, match="clap"):
        PerformerTrainingConfig.load(tmp_path / "x.yaml", "cpu")
    with pytest.raises(ConfigError, match="tpu"):
        PerformerTrainingConfig.load(CONFIGS / "performer.yaml", "tpu")


def test_segments_are_what_the_score_says_and_absent_stems_are_nothing(tmp_path):
    tracks = PerformanceTracks(write_tracks(tmp_path / "tracks"), "train")
    segments = Segments(tracks, 60, 512)
    lm = tiny_lm(tiny_config())
    sequence, told = segments.batch(4, (1, 2), lm)
    again, _ = segments.batch(4, (1, 2), lm)
    assert torch.equal(sequence, again)
    assert sequence.shape == (4, 8, 61)
    assert (sequence[:, [0, 4]] == 512).all()  # drums
    lead = told.pitches.view(4, 76, 4, 256)[:, 8:-8, 2, :128].argmax(-1)
    # Step s + 1 holds the first codebook of the frame that the condition of step s is about; the
    # token of the lead's first codebook is made from its pitch.
    assert torch.equal(sequence[:, 2, 1:], 2 * lead + 4)


def test_conditions_are_withheld_per_sample(tmp_path):
    segments = Segments(PerformanceTracks(write_tracks(tmp_path / "t"), "train"), 60, 512)
    _, told = segments.batch(64, (1,), tiny_lm(tiny_config()))
    config = replace(TINY, drop_tags=0.5, drop_clock=0.5, drop_stem=0.5)
    some = partly_told(told, config, np.random.default_rng(0))
    assert 10 < some.timed.sum() < 54
    assert 80 < some.stems.sum() < 176
    assert len(set(map(tuple, some.tags.tolist()))) > 4
    nothing = told.nothing + np.arange(4)
    withheld = np.isin(some.tags.numpy(), nothing)
    kept = some.tags.numpy() == told.tags.numpy()
    assert (withheld | kept).all()
    all_of_it = partly_told(told, replace(TINY, drop_tags=0, drop_clock=0, drop_stem=0),
                            np.random.default_rng(0))  # fmt: skip
    assert torch.equal(all_of_it.tags, told.tags)
    assert all_of_it.stems.all()


def test_a_stem_that_is_not_told_cannot_be_known(tmp_path):
    segments = Segments(PerformanceTracks(write_tracks(tmp_path / "t"), "train"), 60, 512)
    lm = tiny_lm(tiny_config())
    _, told = segments.batch(2, (1,), lm)
    other = replace(told, pitches=told.pitches.flip(1), numbers=told.numbers.flip(1))
    condition = lm.condition_provider
    assert not torch.allclose(condition(told), condition(other))
    nothing = torch.zeros_like(told.stems)
    assert torch.allclose(
        condition(replace(told, stems=nothing)), condition(replace(other, stems=nothing))
    )


def test_wrong_tokens_replace_tokens_and_never_what_is_nothing(tmp_path):
    tracks = PerformanceTracks(write_tracks(tmp_path / "t"), "train")
    run = PerformerTraining(replace(TINY, wrong_tokens=0.5), small_codec(), tracks)
    sequence, _ = run.segments.batch(8, (1,), run.lm)
    wrong = run._with_wrong(sequence, np.random.default_rng(0))
    changed = wrong != sequence
    assert not changed[sequence == 512].any()
    assert 0.4 < changed[sequence != 512].float().mean() < 0.6
    untouched = PerformerTraining(replace(TINY, wrong_tokens=0.0), small_codec(), tracks)
    assert torch.equal(untouched._with_wrong(sequence, np.random.default_rng(0)), sequence)


def test_the_loss_is_audiocrafts_own(tmp_path):
    segments = Segments(PerformanceTracks(write_tracks(tmp_path / "t"), "train"), 60, 512)
    lm = tiny_lm(tiny_config())
    sequence, told = segments.batch(2, (1,), lm)
    with torch.no_grad():
        losses = token_losses(lm, sequence, sequence[:, :, :-1], told)
        condition = lm.condition_provider(told)[:, 8:-8]
        inputs = sequence[:, :, :-1]
        logits = lm(inputs, [], condition_tensors={"score": (condition, torch.ones(2, 60))})
    expected = torch.nn.functional.cross_entropy(
        logits[:, 2].flatten(0, 1), sequence[:, 2, 1:].flatten()
    )
    assert losses[2] == pytest.approx(expected.item(), rel=1e-5)
    assert losses[0] == 0  # no drums


def test_it_learns_resumes_exactly_and_is_exported(tmp_path):
    tracks = write_tracks(tmp_path / "tracks")
    codec = tmp_path / "codec.safetensors"
    small_codec().save(codec)
    (tracks / "codec.txt").write_text("x\n")
    config = replace(TINY, steps=60, save_minutes=60)
    best = train_performer(config, codec, tracks, tmp_path / "whole")
    rows = [
        json.loads(x) for x in (tmp_path / "whole" / "performer.jsonl").read_text().splitlines()
    ]
    assert rows[-1]["step"] == 60
    assert rows[-1]["validation_nll_per_codebook"][2] < 4.5  # 6.2 is knowing nothing

    part = tmp_path / "parts"
    tokens = PerformanceTracks(tracks, "train")
    straight = PerformerTraining(TINY, small_codec(), tokens)
    for _ in range(6):
        straight.step()
    first = PerformerTraining(TINY, small_codec(), tokens)
    for _ in range(3):
        first.step()
    part.mkdir()
    first.save(part / "x.pt")
    second = PerformerTraining(replace(TINY, seed=TINY.seed), small_codec(), tokens)
    second.restore(part / "x.pt")
    for _ in range(3):
        second.step()
    for name, value in straight.lm.named_parameters():
        assert torch.equal(value, dict(second.lm.named_parameters())[name]), name
    wider = replace(TINY, model={**TINY.model, "dim": 48})
    with pytest.raises(HouseError, match="another performer"):
        PerformerTraining(wider, small_codec(), tokens).restore(part / "x.pt")

    lm, shape = load_performer(best)
    assert shape.dim == 32
    assert not lm.training
    digest = export_performer(
        tmp_path / "whole", codec, tracks, tmp_path / "weights", temperature=0.8, top_k=0
    )
    model = HousePerformer.load(tmp_path / "weights")
    assert model.digest == digest
    assert model.drawing.temperature == 0.8
    assert model.card["data"]["grants"] == ["house-catalogue-2026"]
    assert model.card["data"]["tracks"]["train"] == 3
    assert model.card["training"]["performer"]["steps"] == 60


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(HouseError, match="encode them first"):
        PerformanceTracks(tmp_path, "train")
    with pytest.raises(HouseError, match="train it first"):
        load_performer(tmp_path / "performer-best.pt")
    (tmp_path / "manifest.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(HouseError, match="damaged"):
        PerformanceTracks(tmp_path, "train")
