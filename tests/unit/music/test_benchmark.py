"""The benchmark compares like with like."""

from __future__ import annotations

import json

from click.testing import CliRunner

from studio.music.models.benchmark import compare_decoders, main
from studio.music.models.checkpoints import load_checkpoint
from tests.support.models import tiny_house_model


def test_both_decoders_are_timed_on_the_same_tokens(tmp_path):
    checkpoint = load_checkpoint(tiny_house_model(tmp_path), offline=True)
    times = compare_decoders(checkpoint, "genre/waltz", model="tiny", music_s=1.0, runs=2)
    assert times.same_tokens
    assert times.audiocraft_s > 0
    assert times.ratio == times.audiocraft_s / times.ours_s
    assert times.real_time_factor == times.ours_s + times.codec_s
    data = json.loads(json.dumps(times.to_json()))
    assert data["runs"] == 2
    assert data["model"] == "tiny"


def test_a_model_that_is_not_configured_is_a_usage_error():
    result = CliRunner().invoke(main, ["--model", "none-such"])
    assert result.exit_code == 2
    assert "none-such" in result.output
