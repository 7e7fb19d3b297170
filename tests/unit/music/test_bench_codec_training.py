"""Training of the bench's codec with a tiny network: resuming, codes, export."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from studio.core.errors import ConfigError, HouseError
from studio.music.training.catalogue import Catalogue, Track
from studio.music.training.codec.export import export_bench_codec
from studio.music.training.codec.figures import held_out_clips, round_trip_figures
from studio.music.training.codec.losses import MultiScaleMel, si_sdr, waveform_error_db
from studio.music.training.codec.quantizer import CodebookLearner, ResidualQuantizer
from studio.music.training.codec.training import (
    BenchCodecTraining,
    BenchCodecTrainingConfig,
    SegmentSampler,
    read_log,
    train_bench_codec,
)
from studio.music.training.codec.weights_file import load_codec, load_run_codec
from studio.music.training.rendering import samples_digest
from tests.unit.music.test_bench_codec import SMALL

RECIPE = Path(__file__).parents[3] / "configs" / "train" / "bench-codec.yaml"
CONFIG = BenchCodecTrainingConfig(
    SMALL,
    batch=2,
    segment_s=0.5,
    warmup_steps=2,
    joint_steps=3,
    decoder_steps=2,
    revive_every=1,
    kmeans_vectors=100,
    validation_segments=2,
)


def write_catalogue(folder: Path, *, loudness: float = 0.3, rate: int = 16_000) -> Catalogue:
    """A folder as `studio house render` leaves it, of tones in place of music."""
    (folder / "audio").mkdir(parents=True)
    about = {"format": 1, "rate": rate, "rendering": 2, "soundfont": "", "soundfont_sha256": ""}
    (folder / "catalogue.json").write_text(json.dumps(about))
    rng = np.random.default_rng(1)
    lines = []
    for number, split in enumerate(("train", "train", "train", "validation", "test", "test")):
        time = np.arange(6 * rate) / rate
        notes = sum(np.sin(2 * np.pi * hz * time) for hz in rng.uniform(80, 900, 3))
        samples = np.round(32767 * loudness / 3 * notes).astype(np.int16)
        name = f"{split}-{number:05d}"
        np.save(folder / "audio" / f"{name}.npy", samples)
        track = Track(
            name, split, number, ("genre/rock",), 120.0, 4, 6.0, "", "grant-1", "house",
            len(samples), samples_digest(samples),
        )  # fmt: skip
        lines.append(track.to_json() + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines))
    return Catalogue.open(folder)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Catalogue:
    return write_catalogue(tmp_path_factory.mktemp("catalogue") / "c")


def new_run(catalogue: Catalogue) -> BenchCodecTraining:
    tracks = [catalogue.samples(track) for track in catalogue.tracks("train")]
    return BenchCodecTraining(CONFIG, SegmentSampler(tracks, 8000, mixed=0.3, quieter_db=12))


@pytest.fixture(scope="module")
def unbroken(catalogue) -> BenchCodecTraining:
    training = new_run(catalogue)
    for _ in range(CONFIG.steps):
        training.step()
    return training


def test_the_shipped_recipe_is_read_and_its_shape_is_that_of_the_shipped_weights():
    for profile in ("cpu", "gpu"):
        config = BenchCodecTrainingConfig.load(RECIPE, profile)
        assert config.model == load_codec(codec_weights()).config
    with pytest.raises(ConfigError, match="profile"):
        BenchCodecTrainingConfig.load(RECIPE, "tpu")


def codec_weights() -> Path:
    from studio.music.training import codec_attack

    return codec_attack._WEIGHTS


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6])  # in each phase, and where the next begins
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(catalogue, unbroken, tmp_path, stop):
    whole = unbroken
    first = new_run(catalogue)
    for _ in range(stop):
        first.step()
    first.save(tmp_path / "training.pt")
    second = new_run(catalogue)
    second.restore(tmp_path / "training.pt")
    assert second.position == stop
    for _ in range(CONFIG.steps - stop):
        second.step()
    wanted, found = whole.averaged_codec().state_dict(), second.averaged_codec().state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
    fresh = new_run(catalogue).averaged_codec().state_dict()  # training changes something
    assert not torch.equal(fresh["decoder.gain.weight"], found["decoder.gain.weight"])


def test_tokens_do_not_change_while_the_decoder_learns(catalogue):
    training = new_run(catalogue)
    for _ in range(CONFIG.settled + 1):
        training.step()
    before = {name: value.clone() for name, value in training.codec.state_dict().items()}
    training.step()
    changed = {
        name.split(".")[0]
        for name, value in training.codec.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"decoder"}
    shipped = training.averaged_codec()
    for name, value in shipped.state_dict().items():
        assert name.startswith("decoder") or torch.equal(value, value.half().float())


def test_a_checkpoint_of_another_shape_is_refused(catalogue, tmp_path):
    new_run(catalogue).save(tmp_path / "training.pt")
    config = replace(CONFIG, model=replace(SMALL, bins=16))
    with pytest.raises(HouseError, match="another codec"):
        train_bench_codec(config, catalogue, tmp_path)
    # With --fresh (resume=False) it is not looked at.
    train_bench_codec(
        replace(config, joint_steps=1, decoder_steps=0), catalogue, tmp_path, resume=False
    )


def test_a_run_is_logged_exported_and_comes_back(catalogue, tmp_path):
    run, out = tmp_path / "run", tmp_path / "weights"
    with pytest.raises(HouseError, match="no codec yet"):
        export_bench_codec(run, catalogue, out)
    path = train_bench_codec(CONFIG, catalogue, run)
    (row,) = read_log(run / "log.jsonl")
    assert row["step"] == CONFIG.steps
    card = export_bench_codec(run, catalogue, out, clips=2, notes="a test")
    exported = load_codec(out)
    for name, value in load_run_codec(path).state_dict().items():
        assert torch.equal(exported.state_dict()[name], value.half().float())
    assert card["data"]["tracks"] == {"train": 3, "validation": 1, "test": 2}
    assert (card["data"]["grants"], card["training"]["steps"]) == (["grant-1"], CONFIG.steps)
    shown = round_trip_figures(exported, held_out_clips(catalogue, 2))
    assert card["figures"] == json.loads((out / "card.json").read_text())["figures"] == shown
    # A finished run is not trained again.
    assert train_bench_codec(CONFIG, catalogue, run) == path
    assert len(read_log(run / "log.jsonl")) == 1
    # Its card can only name the tracks that it learnt from, and held-out ones that there are.
    with pytest.raises(HouseError, match="2 of 3 test tracks"):
        export_bench_codec(run, catalogue, out, clips=3)
    with pytest.raises(HouseError, match="other tracks"):
        export_bench_codec(run, write_catalogue(tmp_path / "other", loudness=0.2), out, clips=2)


def test_a_catalogue_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(HouseError, match="8000 Hz"):
        train_bench_codec(CONFIG, write_catalogue(tmp_path / "slow", rate=8000), tmp_path / "run")
    long = replace(CONFIG, segment_s=7.0)
    with pytest.raises(HouseError, match="long enough"):
        train_bench_codec(long, write_catalogue(tmp_path / "short"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_commands_train_and_export(catalogue, tmp_path, monkeypatch):
    from studio.cli.models import training as commands

    text = RECIPE.read_text()
    for name, value in {
        "sample_rate": 16000, "dim": 16, "encoder_layers": 1, "envelope_layers": 1,
        "decoder_layers": 1, "bands": 8, "latent_dim": 16, "envelope_dim": 8, "bins": 16,
        "batch": 2, "segment_s": 0.5, "kmeans_vectors": 100, "warmup_steps": 1, "joint_steps": 1,
        "decoder_steps": 1,
    }.items():  # fmt: skip
        text = re.sub(rf"^( +{name}:) *[\d.]+", rf"\1 {value}", text, flags=re.MULTILINE)
    recipe = tmp_path / "bench-codec.yaml"
    recipe.write_text(text)
    monkeypatch.setattr(commands, "_recipe", lambda _: recipe)

    def call(command: str, folder: Path, *words: str):
        options = ("--catalogue", str(folder), "--run", str(tmp_path / "run"))
        return CliRunner().invoke(commands.house, [command, *options, *words])

    done = call("train-bench-codec", tmp_path / "none")
    assert isinstance(done.exception, HouseError)
    done = call("train-bench-codec", catalogue.root, "--max-minutes", "0.000001")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "training.pt").exists()
    assert read_log(tmp_path / "run" / "log.jsonl") == []  # not past its warm-up
    done = call("train-bench-codec", catalogue.root)
    assert "bench codec 3 of 3" in done.output
    out = tmp_path / "weights"
    done = call("export-bench-codec", catalogue.root, "--out", str(out), "--clips", "2")
    assert done.exit_code == 0, done.output
    assert '"log_mel_db"' in done.output
    assert load_codec(out).config.bins == 16


def test_codes_settle_on_clusters_and_unused_ones_are_moved():
    torch.manual_seed(0)
    centres = torch.randn(8, 4) * 5
    latents = centres[torch.arange(400) % 8].view(1, 400, 4).transpose(1, 2)
    latents = latents + torch.randn_like(latents) * 0.01
    quantizer = ResidualQuantizer(4, 2, 8)
    learner = CodebookLearner(quantizer, 0.9, 0.05)
    learner.place(latents[0].T, torch.Generator().manual_seed(0))

    def error() -> float:
        return float((quantizer.decode(quantizer.encode(latents)) - latents).square().mean())

    assert error() < 1e-3
    quantizer.codebooks[0] += 100  # nothing is near them any more
    learner.sizes[0] = 0.0
    learner.sums[0] = 0.0
    before = error()
    moved = learner.learn(latents, quantizer.encode(latents), torch.Generator().manual_seed(1))
    assert moved >= 7
    assert error() < before / 10


def test_quantised_latents_are_sums_of_codes():
    torch.manual_seed(1)
    quantizer = ResidualQuantizer(3, 2, 4)
    codes = torch.tensor([[[0, 3], [2, 1]]])
    first, second = quantizer.codebooks
    wanted = torch.stack([first[0] + second[2], first[3] + second[1]], dim=1)[None]
    assert torch.allclose(quantizer.decode(codes), wanted)


def test_losses_know_what_is_worse():
    torch.manual_seed(0)
    t = torch.arange(16_000) / 16_000
    tone = (0.3 * torch.sin(2 * torch.pi * 440 * t))[None, None]
    near, far = tone + 0.003 * torch.randn_like(tone), tone + 0.1 * torch.randn_like(tone)
    mel = MultiScaleMel(16_000, (512, 1024))
    assert float(mel(tone, tone)) == 0
    assert float(mel(near, tone)) < float(mel(far, tone))
    assert float(waveform_error_db(near, tone)) < float(waveform_error_db(far, tone)) < 0
    assert float(si_sdr(3 * near, tone)) == pytest.approx(float(si_sdr(near, tone)), abs=0.01)
    # Half of it missing costs the waveform 6 dB and every band 6 dB, which is .69 nepers.
    assert float(waveform_error_db(tone / 2, tone)) == pytest.approx(-6.02, abs=0.05)


def test_the_same_key_gives_the_same_segments_and_another_key_others(catalogue):
    tracks = [catalogue.samples(track) for track in catalogue.tracks("train")]
    sampler = SegmentSampler(tracks, 4000, mixed=0.5, quieter_db=12)
    one, same, other = (sampler.batch(3, (1, key)) for key in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (3, 1, 4000)
    assert one.abs().max() <= 0.3
