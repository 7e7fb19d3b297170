"""The recipe runs, resumes, and its parts do what they say (seconds, not a training)."""

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from tests.unit.seal_carriers import music
from watermark.models.base import SealModelConfig
from watermark.models.loading import load_seal_model
from watermark.models.networks import CELL_FRAMES
from watermark.train.augment import attack, codec_round_trip, shift, speed
from watermark.train.data import HostSampler, build_shard, build_speech
from watermark.train.export import export, update_record
from watermark.train.recipe import Profile, Stage, _common_power, load_profile, run

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[3] / "configs" / "train" / "seal.yaml"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("audio")
    soundfile.write(folder / "a.wav", music(8.0, 32_000, 2).samples.T, 32_000)
    np.save(folder / "b.npy", (music(8.0, 32_000).samples[0] * 32767).astype(np.int16))
    out = folder / "music-0.npy.out.npy"
    seconds = build_shard(folder, out, max_hours=1, npy_rate=32_000)
    assert seconds == pytest.approx(16.0, abs=0.01)
    return [out]


def test_hosts_are_never_silent_nor_too_loud(shards):
    batch = HostSampler(shards, [], seed=0).batch(12, 16_000)
    assert batch.shape == (12, 16_000)
    assert batch.abs().amax(1).min() > 0.01
    assert batch.abs().max() <= 1.0


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_both_profiles_are_complete(name):
    profile = load_profile(CONFIG, name)
    assert [s.name for s in profile.stages] == ["C0", "C1", "D1", "E1", "F1"]
    assert profile.stages[-1].misaligned_share > 0


def test_the_finetune_profile_goes_on_from_exported_weights(shards, tmp_path):
    profile = load_profile(CONFIG, "finetune")
    [stage] = profile.stages
    assert stage.overwrite_share > 0
    assert stage.common_weight > 0
    assert not stage.spread_only
    short = replace(stage, minutes=0.001, batch=2, codec_share=0.0, lr=0.0)
    weights = Path(CONFIG).parents[2] / "watermark" / "models" / "weights" / "house.safetensors"
    state = run(
        replace(profile, stages=(short,)), music=shards, speech=[], work=tmp_path, init=weights
    )
    tensors = safetensors.torch.load_file(weights)
    assert state.keys() == tensors.keys()
    for key, value in tensors.items():  # at a learning rate of 0 nothing moves
        torch.testing.assert_close(state[key], value.float(), rtol=0, atol=1e-6)


def test_common_power_counts_what_all_rows_share_and_not_what_each_adds():
    torch.manual_seed(0)
    shared = torch.randn(1, 88, CELL_FRAMES).repeat(64, 1, 25)
    own = torch.randn(64, 88, CELL_FRAMES).repeat(1, 1, 25)  # a message: constant within a row
    assert _common_power(shared).item() == pytest.approx(1.0, abs=0.1)
    assert abs(_common_power(own).item()) < 0.02
    mixed = (0.3**0.5) * shared + (0.7**0.5) * own
    assert _common_power(mixed).item() == pytest.approx(0.3, abs=0.05)


def _tiny() -> Profile:
    profile = load_profile(CONFIG, "cpu")
    first, *_, last = profile.stages
    stages: tuple[Stage, ...] = (
        replace(first, minutes=0.012),
        replace(last, minutes=0.02, batch=2, codec_share=0.0),
    )
    return replace(profile, stages=stages)


def test_a_run_trains_resumes_and_exports_a_loadable_model(shards, tmp_path):
    profile = _tiny()
    work = tmp_path / "work"
    run(replace(profile, stages=profile.stages[:1]), music=shards, speech=[], work=work)
    after_first = torch.load(work / "state.pt", weights_only=True)["progress"]
    assert after_first["stage"] == 1
    run(profile, music=shards, speech=[], work=work)
    progress = torch.load(work / "state.pt", weights_only=True)["progress"]
    assert progress["stage"] == 2
    assert progress["step"] > after_first["step"]

    out = tmp_path / "tiny.safetensors"
    digest = export(
        work / "state.pt", out, name="tiny", strength_db=18.0, max_strength=1.2, facts={"note": "x"}
    )
    model = load_seal_model(SealModelConfig("house", path=str(out)))
    assert (model.digest, model.strength_db, model.max_strength) == (digest, 18.0, 1.2)
    assert model.record["training"]["note"] == "x"
    update_record(out, measured={"si_snr_db": 20.0})
    assert json.loads(out.with_suffix(".json").read_text())["measured"] == {"si_snr_db": 20.0}


def test_spreading_separates_the_bits(shards, tmp_path):
    """A few steps of C0 bring the log-determinant of the bits' effects well down."""
    from watermark.train.recipe import _Trainer

    trainer = _Trainer(_tiny(), HostSampler(shards, [], 0), tmp_path)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 2e-3
    losses = [trainer.spread_step()["spread_loss"] for _ in range(12)]
    assert losses[-1] < losses[0] - 0.5


def test_attacks_keep_shape_stay_finite_and_pass_gradients():
    x = torch.from_numpy(np.repeat(music(1.0, 16_000).samples, 10, axis=0)).requires_grad_()
    y = attack(x, np.random.default_rng(0), share=1.0, codec_share=0.0)
    assert y.shape == x.shape
    assert bool(torch.isfinite(y).all())
    y.square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum(1) > 0).all())


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libopus")]
)
def test_a_codec_comes_back_in_time(container, codec):
    x = music(2.0, 16_000).samples[0]
    y = codec_round_trip(x, container, codec, 48_000)
    assert y.shape == x.shape
    middle = slice(4_000, 28_000)
    correlation = [
        float(np.corrcoef(x[middle], np.roll(y, lag)[middle])[0, 1]) for lag in range(-40, 41)
    ]
    assert int(np.argmax(correlation)) - 40 == pytest.approx(0, abs=1)
    assert max(correlation) > 0.8


def test_shift_and_speed():
    x = torch.arange(100.0)[None].repeat(2, 1)
    assert shift(x, torch.tensor([3, 10]), 5).tolist() == [[3, 4, 5, 6, 7], [10, 11, 12, 13, 14]]
    same = speed(x, torch.ones(2))
    torch.testing.assert_close(same[:, 2:-3], x[:, 2:-3])
    faster = speed(x, torch.tensor([1.1, 1.0]))
    assert faster[0, 59] - faster[0, 40] == pytest.approx(1.1 * 19, rel=1e-3)


def test_speech_is_made_by_espeak(tmp_path, monkeypatch):
    """A recorded call in espeak-ng's place: its header has no lengths, its rate is 22,050 Hz."""
    spoken = io.BytesIO()
    soundfile.write(spoken, music(1.0, 22_050).samples[0], 22_050, format="WAV", subtype="PCM_16")
    raw = spoken.getvalue()
    endless = raw[:4] + b"\xff\xff\xff\x7f" + raw[8:40] + b"\xff\xff\xff\x7f" + raw[44:]
    commands = []

    def speak(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=endless)

    monkeypatch.setattr(subprocess, "run", speak)
    seconds = build_speech(tmp_path / "speech.npy", minutes=0.5)
    speech = np.load(tmp_path / "speech.npy")
    assert speech.dtype == np.int16
    assert seconds == pytest.approx(3.0, abs=0.01)
    assert np.abs(speech).max() > 2_000
    assert {c[0] for c in commands} == {"espeak-ng"}
    assert len({tuple(c) for c in commands}) == 3


def test_bench_reports_are_kept_beside_the_weights():
    from watermark.train.export import bench_record

    row = {"attack": "clean", "clips": 4, "detected": 4, "identified": 3, "identified_million": 2}
    row |= {"false_alarms": 0, "score": 5.0}
    reports = [
        {"seconds": 10.0, "setting": {"model": "house-x", "audio": "4 files"}, "results": [row]},
        {"seconds": 5.0, "setting": {}, "results": [row | {"attack": "clean, short"}]},
    ]
    kept = bench_record(reports, "watermark bench")
    assert (kept["seconds"], kept["model"]) == (10.0, "house-x")
    assert [(r["attack"], r["seconds"]) for r in kept["results"]] == [
        ("clean", 10.0),
        ("clean, short", 5.0),
    ]
    assert "score" not in kept["results"][0]


def test_pulsed_rows_carry_the_pulse_and_stay_finite():
    from watermark.train.augment import pulsed

    x = 0.1 * torch.randn(8, 32_000, generator=torch.Generator().manual_seed(0))
    y = pulsed(x, np.random.default_rng(0))
    assert torch.isfinite(y).all()
    assert (y != x).any(1).all()
