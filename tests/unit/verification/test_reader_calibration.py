"""Calibrating a reader of others' marks: chosen on one half, counted on the other."""

from __future__ import annotations

import json
import logging
import shutil
from hashlib import sha256

import pytest
from click.testing import CliRunner

import studio.app.container
from studio.cli.main import cli
from studio.core.errors import UsageError
from studio.verification.audioseal_reader import open_reader
from studio.verification.other_marks import MarkFinding
from studio.verification.reader_calibration import calibrate_reader, threshold_for
from tests.support.studios import make_studio, music
from watermark.audio.waveform import write
from watermark.models.networks import audioseal
from watermark.util.stats import clopper_pearson


class Scoring:
    """Gives scores by the clip, here a number."""

    name = "a reader"

    def read(self, recording):
        return MarkFinding(self.name, "7", recording, None)


def digests(count):
    """In the order in which they are split."""
    return sorted(sha256(bytes([number])).hexdigest() for number in range(count))


def test_alarms_are_counted_on_recordings_that_the_threshold_was_not_chosen_on():
    order = digests(40)
    scores = [0.5 if number % 2 else 0.1 for number in range(40)]  # the second half scores high
    found = calibrate_reader(Scoring(), zip(order, scores, strict=True), duration_s=5.0, target=0.0)
    known = found.calibration
    assert (known.threshold, found.chosen_on) == (0.1, 20)
    assert (known.alarms, known.clips) == (20, 20), "a wrong threshold shows"
    assert known.upper == 1.0
    even = calibrate_reader(
        Scoring(), ((digest, 0.1) for digest in order), duration_s=5.0, target=0.0
    )
    assert (even.calibration.alarms, even.calibration.clips) == (0, 20)
    assert even.calibration.upper == pytest.approx(clopper_pearson(0, 20, tail=0.05)[1])
    assert even.calibration.upper == pytest.approx(0.139, abs=0.001)


def test_a_threshold_chosen_beforehand_is_counted_on_everything():
    clips = [(digest, number / 100) for number, digest in enumerate(digests(40))]
    found = calibrate_reader(Scoring(), clips, duration_s=5.0, threshold=0.3)
    assert (found.calibration.alarms, found.calibration.clips) == (9, 40)
    assert (found.chosen_on, found.target) == (0, None)


def test_the_target_bounds_what_passes():
    scores = [number / 100 for number in range(100)]
    for target in (0.0, 0.01, 0.055, 0.5):
        threshold = threshold_for(scores, target)
        passing = sum(score > threshold for score in scores)
        assert passing == int(target * 100)


def test_the_same_recording_counts_once_and_too_few_are_refused():
    clips = [(digest, 0.1) for digest in digests(19)] * 5
    with pytest.raises(UsageError, match="19 different recordings"):
        calibrate_reader(Scoring(), clips, duration_s=5.0)
    assert calibrate_reader(
        Scoring(), [(digest, 0.1) for digest in digests(20)], duration_s=5.0
    ).calibration.clips


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A pair of AudioSeal's own layout with random weights, and its configuration."""
    import torch
    from omegaconf import OmegaConf

    folder = tmp_path_factory.mktemp("audioseal")
    builder, loader = audioseal("builder"), audioseal("loader")
    for name, card, kind, create in (
        ("generator", "audioseal_wm_16bits", builder.AudioSealWMConfig, builder.create_generator),
        (
            "detector",
            "audioseal_detector_16bits",
            builder.AudioSealDetectorConfig,
            builder.create_detector,
        ),
    ):
        data = OmegaConf.to_container(loader.load_local_model_config(card))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            model = create(loader.AudioSeal.parse_config(data, config_type=kind))
        torch.save({"model": model.state_dict()}, folder / f"{name}.pth")
    (folder / "hub.yaml").write_text(
        f"kind: hub\ngenerator: {folder}/generator.pth\ndetector: {folder}/detector.pth\n"
    )
    return folder


@pytest.mark.slow
def test_the_command_calibrates_audioseal_and_the_reader_takes_it(
    checkpoint, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("AUDIOSEAL_CONFIG", str(checkpoint / "hub.yaml"))
    monkeypatch.setattr(
        studio.app.container, "open_container", lambda: make_studio(tmp_path / "studio")
    )
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(22):
        write(folder / f"{number:02d}.flac", music(number, 1.5))
    shutil.copy(folder / "00.flac", folder / "again.flac")
    write(folder / "short.wav", music(99, 0.5))
    (folder / "text.wav").write_text("no music")
    out = checkpoint / "calibration.json"

    def run(*more):
        arguments = ["calibrate-reader", str(folder), "--out", str(out), "--seconds", "1", *more]
        return CliRunner().invoke(cli, arguments, prog_name="studio")

    before = open_reader().read(music(3, 1.0))
    assert before.detected is None
    done = run("--json")
    assert done.exit_code == 0, done.output
    assert "short.wav: it is shorter than 1 s" in done.stderr
    assert "left out: text.wav" in done.stderr
    body = json.loads(done.stdout)
    assert body == json.loads(out.read_text())
    assert (body["clips"], body["chosen_on"], body["duration_s"]) == (11, 11, 1.0)
    assert body["version"] == before.version
    assert body["false_positive_rate"] == pytest.approx(
        clopper_pearson(body["alarms"], 11, tail=0.05)[1]
    )
    after = open_reader().read(music(3, 1.0))
    assert after.detected is (after.score > body["threshold"])
    assert after.to_json()["false_positive_rate"] == body["false_positive_rate"]
    assert after.score == before.score
    words = run("--threshold", "2")
    assert "threshold 2, 0 alarms in 22 unmarked recordings, 1 s of each" in words.stdout
    out.write_text(json.dumps({**body, "version": "hub-of-others"}))
    with caplog.at_level(logging.WARNING):
        assert open_reader().read(music(3, 1.0)).detected is None  # of other weights: a hint
    assert "hub-of-others" in caplog.text
    out.unlink()
    monkeypatch.delenv("AUDIOSEAL_CONFIG")
    assert run().exit_code == 2
    assert not out.exists()
