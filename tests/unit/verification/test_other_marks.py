"""Readers of others' marks: named evidence with a calibration of its own, beside the verdict."""

from __future__ import annotations

import json

import pytest

from studio.core.errors import ConfigError
from studio.verification.audioseal_reader import AudioSealReader, open_reader
from studio.verification.other_marks import (
    MarkCalibration,
    MarkFinding,
    calibrate,
    load_readers,
)
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.models.base import SealModel

HERE = "tests.unit.verification.test_other_marks"


class AlwaysMarked:
    """Finds a mark in everything."""

    name = "Somebody's mark <1>"

    def read(self, recording):
        known = MarkCalibration(0.5, alarms=2, clips=1000, duration_s=10.0)
        return MarkFinding(self.name, "7", 0.99, known, "1" * 16)


def always() -> AlwaysMarked:
    return AlwaysMarked()


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        verify = studio.config.verify.model_copy(update={"other_readers": (f"{HERE}:always",)})
        studio.config = studio.config.model_copy(update={"verify": verify})
        as_owner(studio).generation.recover()
        yield studio


def test_a_finding_stands_beside_the_verdict_and_changes_nothing(studio, tmp_path):
    from studio.reports.verification.page import report_page
    from watermark.audio.waveform import write

    write(tmp_path / "other.wav", music(50, 8.0))
    report = as_owner(studio).verification.verify(tmp_path / "other.wav")
    assert str(report.verdict) == "not-detected"
    assert "mark <1>" not in report.explanation
    (told,) = report.to_json()["other_marks"]
    assert (told["reader"], told["detected"], told["message"]) == (
        AlwaysMarked.name,
        True,
        "1" * 16,
    )
    assert 0.002 < told["false_positive_rate"] < 0.01
    assert "Somebody&#39;s mark &lt;1&gt;" in report_page([report])
    assert "other_marks" not in studio.ledger().entries(kind="verification")[-1].body


def test_without_readers_nothing_is_said(tmp_path):
    from watermark.audio.waveform import write

    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        write(tmp_path / "other.wav", music(50, 8.0))
        assert as_owner(studio).verification.verify(tmp_path / "other.wav").other_marks == ()


@pytest.mark.parametrize("name", ["nowhere:x", f"{HERE}:nothing", "json", f"{HERE}:HERE"])
def test_a_reader_that_is_none_is_a_fault_of_the_configuration(name):
    with pytest.raises(ConfigError, match="other_readers"):
        load_readers([name])


def test_a_score_without_calibration_is_no_detection():
    finding = MarkFinding("x", "1", 1.0, None)
    assert finding.detected is None
    assert "hint" in finding.text()


def test_a_calibration_counts_alarms_above_a_threshold_chosen_before():
    known = calibrate(
        AlwaysMarked(), [music(n, 1.0) for n in range(3)], threshold=0.9, duration_s=1
    )
    assert (known.alarms, known.clips) == (3, 3)
    assert known.upper == 1.0
    below = MarkFinding("x", "1", 0.8, known, "0" * 16)
    assert below.detected is False
    assert "message" not in below.text()


def test_the_reader_of_a_public_pair_gives_share_and_message():
    finding = AudioSealReader(SealModel.random(1)).read(music(3, 4.0, rate=44_100, channels=2))
    assert 0.0 <= finding.score <= 1.0
    assert finding.message is None or len(finding.message) == 16
    assert finding.detected is None


def test_absent_weights_are_said(tmp_path, monkeypatch):
    monkeypatch.delenv("AUDIOSEAL_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="AUDIOSEAL_CONFIG"):
        open_reader()
    (tmp_path / "hub.yaml").write_text("kind: hub\ngenerator: /no/file\ndetector: /no/file\n")
    monkeypatch.setenv("AUDIOSEAL_CONFIG", str(tmp_path / "hub.yaml"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_reader()


def test_a_manifest_of_anybody_is_shown_with_what_it_says(studio):
    from pathlib import Path

    golden = Path(__file__).parents[2] / "golden" / "credentials-v1.mp3"
    body = json.loads(json.dumps(as_owner(studio).verification.verify(golden).to_json()))
    assert body["c2pa"]["state"] == "untrusted"
    assert any(
        "c2pa.created" in line and "trainedAlgorithmicMedia" in line
        for line in body["c2pa"]["says"]
    )
