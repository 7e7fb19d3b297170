"""The embedded seal weights, through the command: sealed, encoded, cropped, named again."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from watermark.audio import read, write
from watermark.bench import synthetic_clips
from watermark.cli import main

SEAL = "00112233aabbccdd"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path / "song.flac", synthetic_clips(count=1, seconds=14.0)[0].waveform)
    (tmp_path / "ids.txt").write_text(
        "\n".join([*(f"{n:016x} 14" for n in range(50)), f"{SEAL} 14"])
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATERMARK_KEY_FILE", "site.key")
    assert CliRunner().invoke(main, ["key", "create", "site.key"]).exit_code == 0
    return tmp_path


def test_an_mp3_excerpt_names_its_seal_and_its_place(folder):
    done = CliRunner().invoke(main, ["embed", "song.flac", "sealed.mp3", "--seal-id", SEAL])
    assert done.exit_code == 0, done.output
    write("clip.mp3", read("sealed.mp3").slice(2.6, 12.6), bitrate=128_000)
    done = CliRunner().invoke(main, ["identify", "clip.mp3", "--ids", "ids.txt", "--json"])
    assert done.exit_code == 0, done.output
    named = json.loads(done.stdout)["identification"]
    assert named["seal_id"] == SEAL
    assert named["offset_s"] == pytest.approx(2.6, abs=0.1)
    assert named["chance_bound"] <= 1e-6


def test_the_song_before_sealing_carries_nothing(folder):
    done = CliRunner().invoke(main, ["detect", "song.flac", "--ids", "ids.txt", "--json"])
    assert done.exit_code == 1, done.output
    record = json.loads(done.stdout)
    assert record["detected"] is False
    assert record["identification"] is None
    assert record["segments"] == []
