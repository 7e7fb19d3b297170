"""The embedded seal weights, through the command: sealed, encoded, cropped, named again."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from watermark.audio.waveform import read, write
from watermark.cli.main import main
from watermark.detection.retiming import Retiming
from watermark.evaluation.bench import synthetic_clips
from watermark.evaluation.identify_bench import main as identify_bench

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


def test_a_sped_up_copy_is_found_where_speeds_are_searched(folder):
    done = CliRunner().invoke(main, ["embed", "song.flac", "sealed.wav", "--seal-id", SEAL])
    assert done.exit_code == 0, done.output
    write("fast.wav", Retiming("speed", 1 / 1.045).undo(read("sealed.wav")))
    asked = ["fast.wav", "--ids", "ids.txt", "--speed-search"]
    assert CliRunner().invoke(main, ["identify", *asked[:-1]]).exit_code == 1
    done = CliRunner().invoke(main, ["identify", *asked, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["identification"]["seal_id"] == SEAL
    done = CliRunner().invoke(main, ["detect", *asked])
    assert done.exit_code == 0, done.output
    said = re.search(r"played at (1\.\d+) times its speed", done.stdout)
    assert said is not None
    # The reader follows what is left of a change, so factors 1.5 % off may show as much contrast.
    assert float(said[1]) == pytest.approx(1.045, abs=0.016)


def test_the_bench_of_naming_finds_every_seal_it_registered(folder):
    for n in range(2):
        clip = synthetic_clips(count=1, seconds=16.0, seed=n)[0].waveform
        write(f"music-{n}.flac", clip)
    arguments = ["--audio", ".", "--seals", "300", "--clips", "2", "--seconds", "6"]
    done = CliRunner().invoke(identify_bench, arguments)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split(";")[0].split(",")[0].split()[-4:] for line in lines if "ms of" in line] == [
        ["named", "2", "of", "2"],
        ["named", "0", "of", "2"],
    ]
    assert done.stdout.count("wrong 0") == 2
