"""The benchmark compares like with like."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from studio.cli.models import benchmark as command
from studio.core.errors import ModelError, UsageError
from studio.music.models import benchmark
from studio.music.models import config as config_module
from studio.music.models.benchmark import compare_decoders, memory, steps, time_steps
from studio.music.models.benchmark.variants import Audiocraft, Transformers
from studio.music.models.checkpoints import load_checkpoint
from studio.music.models.decoding.network import Network
from studio.music.models.decoding.run import Run
from studio.music.models.decoding.sampling import Sampling
from tests.support.models import tiny_house_model, tiny_hub_model

TINY = {"layers": 2, "dim": 64, "heads": 4, "card": 64}


@pytest.fixture(scope="module")
def lm():
    return benchmark.musicgen_shape(**TINY).lm


@pytest.mark.slow
def test_both_decoders_are_timed_on_the_same_tokens(tmp_path):
    checkpoint = load_checkpoint(tiny_hub_model(tmp_path), offline=True)
    times = compare_decoders(checkpoint, "a waltz", model="tiny", music_s=1.0, runs=2)
    assert times.same_tokens
    assert times.audiocraft_s > 0
    assert times.ratio == times.audiocraft_s / times.ours_s
    assert times.real_time_factor == times.ours_s + times.codec_s
    data = json.loads(json.dumps(times.to_json()))
    assert data["runs"] == 2
    assert data["model"] == "tiny"


@pytest.mark.slow
def test_a_shape_is_the_same_for_a_seed_and_of_full_rank():
    first, again = (benchmark.musicgen_shape(**TINY).lm for _ in range(2))
    other = benchmark.musicgen_shape(**TINY, seed=1).lm
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.dim() == 1 or not torch.equal(a, c)


@torch.inference_mode()
def test_the_rivals_compute_the_same_logits(lm):
    """Five steps from nothing by ours and by transformers; audiocraft's are held to elsewhere."""
    condition = steps.text_condition(lm)
    how = Sampling(top_k=16)
    run = Run(Network(lm), [condition], guided=True, steps=5)
    rival = Transformers(lm, run.cross[0], how)
    tokens = torch.randint(64, (1, 4, 5), generator=torch.Generator().manual_seed(0))
    for step in range(5):
        one = tokens[..., step : step + 1]
        (logits,) = run.network.step([run], [one])
        expected = how.guided(*torch.split(logits, 1))
        found = rival.logits(one)
        assert expected.std() > 0.5
        assert torch.allclose(found, expected, atol=2e-3 * float(expected.std()))


@torch.inference_mode()
def test_audiocraft_is_put_at_a_length_of_context(lm):
    variant = Audiocraft(lm, steps.text_condition(lm), Sampling(top_k=16))
    try:
        for context in (0, 7, 3):
            variant.at(context)
            assert variant.step(torch.zeros(1, 4, 1, dtype=torch.int64)).shape == (1, 4)
            kept = lm.transformer.layers[-1].self_attn._streaming_state["past_keys"]
            assert context + 1 in kept.shape
            assert int(lm.transformer._streaming_state["offsets"][0]) == context + 1
    finally:
        variant.close()


@pytest.mark.slow
def test_every_variant_is_timed_and_lossy_ones_are_compared(lm):
    report = time_steps(lm, model="tiny", contexts=(0, 9), repeats=1, gate_steps=20)
    assert [row.name for row in report.variants] == list(steps.VARIANTS)
    for row in report.variants:
        assert set(row.step_ms) == set(row.bandwidth_share) == {0, 9}
        assert row.step_ms[0] > 0
        assert (row.quality is not None) == (row.name in ("bf16", "int8"))
    first = report.variants[0]
    for row in report.variants:
        assert row.ratio == first.ten_seconds_s / row.ten_seconds_s
    data = json.loads(json.dumps(report.to_json()))
    assert data["variants"][-1]["quality"]["steps"] == 20


def test_ten_seconds_follow_from_the_steps_timed(lm):
    assert steps._over_ten_seconds({0: 10.0}, lm) == pytest.approx(5.03)  # 503 steps of 10 ms
    assert steps._over_ten_seconds({0: 0.0, 502: 10.0}, lm) == pytest.approx(5.03 / 2)
    assert steps._over_ten_seconds({0: 0.0, 251: 10.0, 502: 0.0}, lm) == pytest.approx(2.51)


def test_an_unknown_variant_is_refused(lm):
    with pytest.raises(UsageError, match="no variant 'fp64'"):
        time_steps(lm, model="tiny", names=["fp64"])


def test_memory_is_that_of_another_process(monkeypatch):
    monkeypatch.setattr(memory, "__name__", "no.such.module")
    with pytest.raises(ModelError, match=r"measuring the memory of int8 failed: .*no"):
        memory.measure_memory("musicgen-small", "int8", 10)
    found = memory._status()
    assert found["peak_mb"] >= found["resident_mb"] > 50


@pytest.mark.slow
def test_the_command_prints_tables_and_json(monkeypatch, lm):
    monkeypatch.setattr(benchmark, "SHAPES", {"musicgen-small": TINY})
    options = ["--no-memory", "--repeats", "1", "--context", "4", "--gate-steps", "8"]
    options += ["--variant", "audiocraft", "--variant", "int8", "--whole", "0.2"]
    shown = CliRunner().invoke(command.models_bench, options, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "audiocraft" in shown.stdout
    assert "int8 against fp32 over 8 steps: KL 0.0" in shown.stdout
    assert "the same tokens" in shown.stdout
    told = CliRunner().invoke(command.models_bench, [*options, "--json"], catch_exceptions=False)
    body = json.loads(told.stdout)
    assert [row["name"] for row in body["variants"]] == ["audiocraft", "int8"]
    assert set(body["variants"][1]["step_ms"]) == {"4"}


def test_a_configured_hub_model_is_timed_and_the_house_model_is_refused(monkeypatch, tmp_path):
    models = {"house": tiny_house_model(tmp_path / "a"), "hub": tiny_hub_model(tmp_path / "b")}
    monkeypatch.setattr(config_module, "load_model_configs", lambda _: models)
    options = ["--variant", "exact", "--repeats", "1", "--context", "4", "--whole", "0.2"]
    shown = CliRunner().invoke(
        command.models_bench, ["--model", "hub", *options], catch_exceptions=False
    )
    assert "0.2 s of music: audiocraft" in shown.stdout
    assert "the same tokens" in shown.stdout
    with pytest.raises(UsageError, match="performs a score"):
        CliRunner().invoke(command.models_bench, ["--model", "house"], catch_exceptions=False)


def test_a_model_that_is_not_configured_is_named():
    with pytest.raises(UsageError, match="none-such"):
        CliRunner().invoke(command.models_bench, ["--model", "none-such"], catch_exceptions=False)
