"""The training recipes: codebooks placed and revived, segments, resuming, dropped tags."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from studio.core.errors import ConfigError, HouseError
from studio.music.composer import write_lead_sheet
from studio.music.composer.lead_sheet import lead_sheet_of
from studio.music.models.house.model import HouseConfig, condition_text, split_condition
from studio.music.training.catalogue import Catalogue, Track
from studio.music.training.codec.refining import RefiningConfig, drawn_tokens, refine_decoder
from studio.music.training.codec.training import (
    CodecTraining,
    CodecTrainingConfig,
    codebooks_of,
    place_codebooks,
    revive_dead_codes,
    train_codec,
)
from studio.music.training.lm import (
    LMTraining,
    LMTrainingConfig,
    catalogue_tags,
    load_codec_checkpoint,
    partly_told,
    token_losses,
    train_lm,
)
from studio.music.training.tokens import Heard, SegmentPlan, TokenStore, encode_track, tokens_digest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TAGS = (
    ("genre/waltz", "mood/calm", "lead/piano", "tempo/slow"),
    ("genre/techno", "mood/dark", "lead/synth", "tempo/fast"),
)
TINY = HouseConfig.tiny(tuple(tag for tags in TAGS for tag in tags))
CODEC = CodecTrainingConfig(
    TINY.codec,
    batch=2,
    segment_s=0.4,
    kmeans_vectors=200,
    warmup_steps=2,
    joint_steps=4,
    decoder_steps=3,
    save_every=3,
    validation_segments=2,
    revive_every=2,
)
LM = LMTrainingConfig(
    replace(TINY.lm, max_duration_s=2.0), batch=2, steps=5, save_every=3, validation_segments=2
)


@pytest.fixture(scope="module")
def catalogue_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tracks of eight seconds: two sorts of tone pulses, in the catalogue's own format."""
    root = tmp_path_factory.mktemp("catalogue")
    (root / "audio").mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number, split in enumerate(["train", "train", "train", "train", "validation", "test"]):
        t = np.arange(8 * 16000) / 16000
        tone = np.sin(2 * np.pi * (220 if number % 2 else 660) * t) * np.exp(-3 * (t % 0.5))
        samples = (8000 * tone + 300 * rng.normal(size=len(t))).astype(np.int16)
        track = Track(
            f"{split}-{number:05d}", split, number, TAGS[number % 2], 120.0, 4, 8.0, "", "g", "h",
            samples=len(samples),
        )  # fmt: skip
        np.save(root / "audio" / f"{track.id}.npy", samples)
        lines.append(track.to_json() + "\n")
    (root / "manifest.jsonl").write_text("".join(lines))
    (root / "catalogue.json").write_text(json.dumps({"format": 1, "rate": 16000}))
    return root


@pytest.fixture(scope="module")
def tracks(catalogue_dir: Path):
    catalogue = Catalogue.open(catalogue_dir)
    return [catalogue.samples(track) for track in catalogue.tracks("train")]


@pytest.fixture(scope="module")
def trained(catalogue_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train_codec(CODEC, catalogue_dir, out)
    return out


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_shipped_recipes_are_valid(profile: str):
    codec = CodecTrainingConfig.load(ROOT / "configs/train/codec.yaml", profile)
    lm = LMTrainingConfig.load(ROOT / "configs/train/lm.yaml", profile)
    RefiningConfig.load(ROOT / "configs/train/decoder.yaml", profile)
    assert codec.model.sample_rate == 32000
    assert len(lm.codebook_weights) == codec.model.codebooks
    with pytest.raises(ConfigError, match="tpu"):
        CodecTrainingConfig.load(ROOT / "configs/train/codec.yaml", "tpu")


def test_an_unknown_option_is_refused(tmp_path: Path):
    path = tmp_path / "codec.yaml"
    path.write_text("model: {}\ntraining: {speed: 9}\nprofiles: {cpu: {}}\n")
    with pytest.raises(ConfigError, match="speed"):
        CodecTrainingConfig.load(path, "cpu")


def _clusters() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(32, 24, generator=generator)  # envelope and waveform side by side
    which = torch.randint(32, (800,), generator=generator)
    return centres[which] + 0.01 * torch.randn(800, 24, generator=generator)


def test_kmeans_finds_clusters_that_random_codes_miss(tracks):
    quantizer = CodecTraining(CODEC, tracks).codec.quantizer
    points = _clusters()
    before = (quantizer.decode(quantizer.encode(points.T[None]))[0].T - points).square().mean()
    place_codebooks(quantizer, points, seed=1)
    after = (quantizer.decode(quantizer.encode(points.T[None]))[0].T - points).square().mean()
    assert after < 0.2 * before
    with pytest.raises(HouseError, match="at least 32"):
        place_codebooks(quantizer, points[:20], seed=1)


def test_a_dead_code_is_used_again_after_revival_and_stays_dead_without(tracks):
    points = _clusters()
    used: dict[bool, int] = {}
    for revive in (True, False):
        quantizer = CodecTraining(CODEC, tracks).codec.quantizer
        place_codebooks(quantizer, points, seed=1)
        first = codebooks_of(quantizer)[0]
        dead = slice(0, 20)
        first.embed[dead] = 1e4  # far from everything
        first.embed_avg[dead] = 1e4
        first.cluster_size[dead] = 0
        if revive:
            assert revive_dead_codes(quantizer, points, 0.05, (1, 2)) >= 20
        quantizer.train()
        for _ in range(3):  # audiocraft's update must not undo it
            quantizer(points.T[None], 50)
        quantizer.eval()
        used[revive] = quantizer.encode(points.T[None])[0, 0].unique().numel()
    assert used[False] <= 12
    assert used[True] >= 18


def test_training_lowers_the_error(tracks):
    config = replace(CODEC, warmup_steps=0, joint_steps=60, decoder_steps=0, learning_rate=3e-3)
    run = CodecTraining(config, tracks)
    figures = [run.step() for _ in range(60)]
    first, last = (np.mean([f["wave_db"] for f in part]) for part in (figures[:6], figures[-6:]))
    assert last > first + 0.5


def test_a_resumed_codec_run_continues_exactly(tracks, tmp_path: Path):
    whole = CodecTraining(CODEC, tracks)
    for _ in range(8):
        whole.step()
    run = CodecTraining(CODEC, tracks)
    for step in range(8):  # stopped in each phase
        run.step()
        run.save(tmp_path / "codec.pt")
        run = CodecTraining(replace(CODEC, seed=CODEC.seed), tracks)
        run.restore(tmp_path / "codec.pt")
        assert run.position == step + 1
    for name, value in whole.codec.state_dict().items():
        assert torch.equal(value, run.codec.state_dict()[name]), name


def test_the_decoder_phase_changes_no_token(catalogue_dir: Path, tracks, tmp_path: Path):
    train_codec(CODEC, catalogue_dir, tmp_path, until="joint")
    before = load_codec_checkpoint(tmp_path / "codec.pt")
    train_codec(CODEC, catalogue_dir, tmp_path)
    after = load_codec_checkpoint(tmp_path / "codec.pt")
    assert np.array_equal(encode_track(before, tracks[0]), encode_track(after, tracks[0]))
    decoders = (before.decoder.state_dict(), after.decoder.state_dict())
    assert any(not torch.equal(decoders[0][name], decoders[1][name]) for name in decoders[0])


def test_checkpoint_of_another_codec_is_refused(catalogue_dir: Path, trained: Path):
    other = replace(CODEC, model=replace(CODEC.model, bins=16))
    with pytest.raises(HouseError, match="another codec"):
        train_codec(other, catalogue_dir, trained)


def test_token_store_is_taken_up_again_and_knows_its_codec(
    catalogue_dir: Path, trained: Path, tmp_path: Path
):
    codec = load_codec_checkpoint(trained / "codec.pt")
    catalogue = Catalogue.open(catalogue_dir)
    store = TokenStore.open(tmp_path, codec)
    assert store.extend(catalogue, codec, limit=4) == 4
    again = TokenStore.open(tmp_path, codec)
    assert again.extend(catalogue, codec) == 2
    assert again.extend(catalogue, codec) == 0
    for track in TokenStore.open(tmp_path, codec).tracks:
        source = next(t for t in catalogue.tracks() if t.id == track.id)
        assert np.array_equal(again.tokens(track), encode_track(codec, catalogue.samples(source)))
        assert track.sheet == lead_sheet_of(source.compose()).text
    with torch.no_grad():
        codec.encoder.waveform.project.bias.add_(1)
    with pytest.raises(HouseError, match="another codec"):
        TokenStore.open(tmp_path, codec)


def test_segments_begin_on_bar_lines_with_their_tracks_tags(
    catalogue_dir: Path, trained: Path, tmp_path: Path
):
    codec = load_codec_checkpoint(trained / "codec.pt")
    store = TokenStore.open(tmp_path, codec)
    store.extend(Catalogue.open(catalogue_dir), codec)
    plan = SegmentPlan(store, "train", 60, 0.3)
    codes, heard = plan.batch(40, (1, 2))
    assert torch.equal(codes, plan.batch(40, (1, 2))[0])
    assert codes.shape == (40, 2, 60)
    starts = Counter()
    for row, given in zip(codes, heard, strict=True):
        places = [
            start
            for track in store.of_split("train")
            for start in range(0, track.frames - 59)
            if track.tags == given.tags
            and np.array_equal(store.tokens(track)[start : start + 60].T, row.numpy())
        ]
        assert given.start in places
        assert given.start % given.sheet.bar_frames == 0
        starts[given.start] += 1
    assert starts[0] > 5
    assert len(starts) > 2


def test_tags_and_lead_sheet_are_dropped_for_each_sample_by_itself():
    rng = np.random.default_rng(0)
    heard = Heard("t", TAGS[0], write_lead_sheet(1, TAGS[0]), 40)
    texts = [partly_told(heard, rng, 0.25, 0.2, 0.3) for _ in range(2000)]
    assert sum(text is None for text in texts) / 2000 == pytest.approx(0.25, abs=0.04)
    told = [split_condition(text) for text in texts if text is not None]
    assert np.mean([sheet is None for _, sheet in told]) == pytest.approx(0.3, abs=0.04)
    assert {sheet for _, sheet in told} == {None, (heard.sheet, 40)}
    kept = [len(tags.split()) for tags, _ in told]
    assert np.mean(kept) == pytest.approx(4 * 0.8, abs=0.1)
    assert set(kept) >= {2, 3, 4}


def test_losses_equal_audiocrafts_own(catalogue_dir: Path, trained: Path):
    from audiocraft.modules.conditioners import ConditioningAttributes

    run = _lm_run(catalogue_dir, trained)
    codes, heard = run.plan.batch(2, (5,))
    texts = [condition_text(["genre/waltz"], heard[0].sheet, heard[0].start), None]
    output = run.lm.compute_predictions(
        codes, [ConditioningAttributes(text={"description": text}) for text in texts]
    )
    for k, mine in enumerate(token_losses(run.lm, codes, texts)):
        mask = output.mask[:, k]
        theirs = torch.nn.functional.cross_entropy(output.logits[:, k][mask], codes[:, k][mask])
        assert mine.item() == pytest.approx(theirs.item(), rel=1e-4)


def test_similar_codes_start_with_similar_embeddings(catalogue_dir: Path, trained: Path):
    run = _lm_run(catalogue_dir, trained)
    codec = load_codec_checkpoint(trained / "codec.pt")
    codes = codebooks_of(codec.quantizer)[0].embed
    codes = codes - codes.mean(0)
    embedded = run.averaged["emb.0.weight"][:-1]
    ratio = torch.pdist(embedded) / torch.pdist(codes)
    assert ratio.std() / ratio.mean() < 1e-3


def test_a_resumed_language_model_run_continues_exactly(
    catalogue_dir: Path, trained: Path, tmp_path: Path
):
    whole = _lm_run(catalogue_dir, trained)
    for _ in range(4):
        whole.step()
    run = _lm_run(catalogue_dir, trained)
    run.step()
    run.step()
    run.save(tmp_path / "lm.pt")
    resumed = _lm_run(catalogue_dir, trained)
    resumed.restore(tmp_path / "lm.pt")
    resumed.step()
    resumed.step()
    for name, value in whole.lm.state_dict().items():
        assert torch.equal(value, resumed.lm.state_dict()[name]), name


def test_train_lm_learns_and_keeps_the_best(catalogue_dir: Path, trained: Path):
    config = replace(LM, steps=30, save_every=10, learning_rate=1e-2, warm_steps=3)
    best = train_lm(config, catalogue_dir, trained)
    rows = [json.loads(line) for line in (trained / "lm.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    nll = {row["step"]: row["validation_nll"] for row in rows}
    assert min(nll.values()) < 0.9 * np.log(32)  # better than knowing nothing
    # So few tracks are soon known by heart: what is kept is the best held-out figure's.
    assert torch.load(best, weights_only=True)["position"] == min(nll, key=nll.__getitem__)


REFINING = RefiningConfig(batch=2, crop_s=0.5, steps=4, save_every=2)


def test_refining_changes_the_decoder_and_no_token(catalogue_dir: Path, trained: Path):
    train_lm(replace(LM, steps=3, save_every=3), catalogue_dir, trained)
    path = refine_decoder(REFINING, catalogue_dir, trained)
    before, after = (load_codec_checkpoint(p) for p in (trained / "codec.pt", path))
    samples = Catalogue.open(catalogue_dir).samples(Catalogue.open(catalogue_dir).tracks()[0])
    tokens = encode_track(before, samples)
    assert np.array_equal(tokens, encode_track(after, samples))
    assert tokens_digest(before) == tokens_digest(after)
    codes = torch.from_numpy(tokens.T.astype(np.int64))[None]
    with torch.no_grad():
        assert not torch.equal(before.decode(codes), after.decode(codes))


def test_refining_taken_up_again_continues_exactly(
    catalogue_dir: Path, trained: Path, tmp_path: Path
):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        for file in ("codec.pt", "lm-best.pt"):
            (tmp_path / name / file).symlink_to(trained / file)
        (tmp_path / name / "tokens").symlink_to(trained / "tokens")
    whole = refine_decoder(REFINING, catalogue_dir, tmp_path / "whole")
    stopped = refine_decoder(REFINING, catalogue_dir, tmp_path / "parts", max_minutes=0)
    assert torch.load(stopped, weights_only=True)["refining"]["position"] == 1
    parts = refine_decoder(REFINING, catalogue_dir, tmp_path / "parts")
    a, b = (load_codec_checkpoint(path).state_dict() for path in (whole, parts))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_drawn_tokens_follow_the_models_own_probabilities(catalogue_dir: Path, trained: Path):
    run = _lm_run(catalogue_dir, trained)
    lm = run.averaged_lm()
    codes, heard = run.plan.batch(1, (3,))
    codes, texts = codes.repeat(64, 1, 1), [" ".join(heard[0].tags)] * 64
    drawn = drawn_tokens(lm, codes, texts, 1, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, 0], codes[:, 0])
    assert torch.equal(drawn[:, 1, -1], codes[:, 1, -1])  # beyond the window
    sure = drawn_tokens(lm, codes[:1], texts[:1], 1, 1e-4, torch.Generator().manual_seed(1))
    output = lm.compute_predictions(codes[:1], _told(texts[:1]))
    assert torch.equal(sure[0, 1, :-1], output.logits[0, 1, :-1].argmax(-1))
    probability = torch.softmax(output.logits[0, 1, 7].float(), -1)
    share = torch.bincount(drawn[:, 1, 7], minlength=32) / 64
    assert (share - probability).abs().max() < 5 * float((0.25 / 64) ** 0.5)
    assert drawn[:, 1, 7].unique().numel() > 1


def _told(texts):
    from audiocraft.modules.conditioners import ConditioningAttributes

    return [ConditioningAttributes(text={"description": text}) for text in texts]


def _lm_run(catalogue_dir: Path, trained: Path) -> LMTraining:
    codec = load_codec_checkpoint(trained / "codec.pt")
    catalogue = Catalogue.open(catalogue_dir)
    store = TokenStore.open(trained / "tokens", codec)
    store.extend(catalogue, codec)
    tags = catalogue_tags(catalogue)
    return LMTraining(LM, codec, HouseConfig(CODEC.model, LM.model, tags), store)
