"""`watermark detect` and `scan` on whole catalogues, hostile files in the mix."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import watermark.cli.common
import watermark.cli.main
from tests.integration.test_watermark_cli import SEAL, call
from tests.support.seals import TonalSeal
from tests.support.studios import music
from watermark.audio.waveform import Waveform, encode, write
from watermark.coding.message import SealId, SealKey
from watermark.embedding.embed import embed

KEY = SealKey(1, b"k" * 32)


@pytest.fixture(autouse=True)
def tonal_model(monkeypatch):
    monkeypatch.delenv("WATERMARK_KEY_FILE", raising=False)
    monkeypatch.setattr(watermark.cli.common, "load_model", lambda name, device="cpu": TonalSeal())


@pytest.fixture(scope="module")
def sealed() -> Waveform:
    return embed(music(1, 8.0), SealId.parse(SEAL), KEY, model=TonalSeal())


@pytest.fixture
def catalogue(tmp_path, sealed):
    """Two sealed files, one plain, and everything that goes wrong in a folder of strangers."""
    folder = tmp_path / "catalogue"
    (folder / "below").mkdir(parents=True)
    flac = encode(sealed, "flac")
    (folder / "01 sealed.flac").write_bytes(flac)
    (folder / "below" / "ünïcode 🎵 \x1b[31m.flac").write_bytes(flac)
    write(folder / "02 plain.wav", music(2, 8.0))
    (folder / "03 truncated.flac").write_bytes(flac[: len(flac) * 4 // 5])
    (folder / "04 header only.flac").write_bytes(flac[:40])
    (folder / "05 empty.wav").write_bytes(b"")
    (folder / "06 text.mp3").write_text("not audio at all\n" * 100)
    (folder / "07 not finite.wav").write_bytes(_not_finite())
    (folder / "08 loop").symlink_to(folder)
    (folder / "09 gone.wav").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "10 pipe.wav")
    (folder / "11 locked.wav").write_bytes(flac)
    return folder


def _not_finite() -> bytes:
    import io

    import soundfile

    buffer = io.BytesIO()
    samples = np.full(16_000, np.nan, np.float32)
    soundfile.write(buffer, samples, 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def locked(monkeypatch):
    """The file `11 locked.wav` may not be opened; a mode of 000 does not stop root."""
    real = os.open

    def guarded(path, *args, **kwargs):
        if str(path).endswith("11 locked.wav"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", guarded)


def records(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_detect_answers_every_file_of_a_folder_in_order(catalogue):
    answers = records(call("detect", catalogue, "--json", code=3))
    files = [os.path.relpath(answer["file"], catalogue) for answer in answers]
    assert files == [
        "01 sealed.flac", "02 plain.wav", "03 truncated.flac", "04 header only.flac",
        "05 empty.wav", "06 text.mp3", "07 not finite.wav", "09 gone.wav", "10 pipe.wav",
        "11 locked.wav", "below/ünïcode 🎵 \\x1b[31m.flac",
    ]  # fmt: skip
    by_name = dict(zip(files, answers, strict=True))
    assert [name for name in files if by_name[name].get("detected")] == [
        "01 sealed.flac", "03 truncated.flac", files[-1],
    ]  # fmt: skip
    assert by_name["02 plain.wav"]["detected"] is False
    unreadable = {name: answer["error"] for name, answer in by_name.items() if "error" in answer}
    assert "permission denied" in unreadable["11 locked.wav"]
    assert "not a regular file" in unreadable["10 pipe.wav"]
    assert len(unreadable) == 7
    assert not any(str(catalogue) in text for text in unreadable.values())


def test_a_terminal_is_never_handed_control_characters(catalogue):
    assert "\x1b" not in call("detect", catalogue, code=3).output


def test_a_list_of_files_on_standard_input_and_patterns(catalogue, monkeypatch, tmp_path):
    (tmp_path / "list").write_text(f"{catalogue / '02 plain.wav'}\n{catalogue / 'below'}\n")
    answers = records(call("detect", "--files-from", tmp_path / "list", "--json", code=1))
    assert [answer["detected"] for answer in answers] == [False, True]
    only = call("detect", catalogue, "--skip", "0[3-9]*", "--skip", "1*", "--json", code=1)
    assert len(records(only)) == 3
    assert "--files-from" in call("detect", code=2).stderr


# -- reports ---------------------------------------------------------------------------------------


def scan(*arguments, code=3):
    return call("scan", *arguments, code=code)


def test_a_scan_is_continued_and_answers_nothing_twice(catalogue, tmp_path, monkeypatch):
    out = tmp_path / "report.jsonl"
    first = scan(catalogue, "--out", out)
    assert "11 files examined" in first.stderr
    assert "1 no seal, 3 sealed, 7 unreadable" in first.stderr
    before = out.read_bytes()
    again = scan(catalogue, "--out", out)
    assert "0 files examined" in again.stderr
    assert "11 known from before" in again.stderr
    assert out.read_bytes() == before
    write(catalogue / "12 new.wav", music(3, 8.0))
    write(catalogue / "02 plain.wav", music(4, 9.0))
    assert "2 files examined" in scan(catalogue, "--out", out).stderr
    assert "2 no seal, 3 sealed" in scan(catalogue, "--out", out).stderr
    assert "7 files examined" in scan(catalogue, "--out", out, "--retry").stderr


def test_a_catalogue_without_a_fault_exits_0_whatever_was_found(catalogue, tmp_path):
    out = tmp_path / "report.csv"
    scan(catalogue, "--skip", "0[3-9]*", "--skip", "1*", "--out", out, code=0)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["sealed", "no seal", "sealed"]
    assert float(rows[0]["score"]) > float(rows[0]["threshold"])
    assert rows[0]["reader"] == "tonal-000000000000"
    assert (tmp_path / "report.csv.jsonl").exists(), "the journal, to go on from"


def test_a_report_in_the_catalogue_does_not_scan_itself(catalogue):
    out = catalogue / "report.csv"
    assert "11 files examined" in scan(catalogue, "--out", out).stderr
    assert "0 files examined" in scan(catalogue, "--out", out).stderr


def test_another_list_of_seals_is_another_question(catalogue, tmp_path):
    KEY.save(tmp_path / "site.key")
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{SEAL} 8\n")
    named = ["--ids", ids, "--key-file", tmp_path / "site.key", "--out", tmp_path / "r.csv"]
    scan(catalogue, *named)
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["seal_id"] == SEAL
    assert "0 files examined" in scan(catalogue, *named).stderr
    ids.write_text(f"{SEAL} 8\n{5:016x} 8\n")
    assert "11 files examined" in scan(catalogue, *named).stderr


def test_wrong_reports(catalogue, tmp_path):
    assert "one of .jsonl" in scan(catalogue, "--out", tmp_path / "report.txt", code=2).stderr
    (tmp_path / "notes.jsonl").write_text("my notes\n")
    refused = scan(catalogue, "--out", tmp_path / "notes.jsonl", code=2)
    assert "not a record of a scan" in refused.stderr
    assert (tmp_path / "notes.jsonl").read_text() == "my notes\n"


def test_a_file_that_is_named_twice_has_one_row(catalogue, tmp_path):
    out = tmp_path / "report.jsonl"
    scan(catalogue, catalogue, f"file://{catalogue}", f"{catalogue}/*", "--out", out, code=3)
    names = [json.loads(line)["file"] for line in out.read_bytes().splitlines()]
    assert len(names) == len(set(names)) > 1


INTERRUPTED = """
import signal, sys, time, watermark.cli.main, watermark.batch.pool
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
answer = watermark.batch.pool.answer
def unhurried(*arguments):  # or all files are done before the interrupt comes
    time.sleep(0.05)
    return answer(*arguments)
watermark.batch.pool.answer = unhurried
from tests.support.seals import TonalSeal
watermark.cli.common.load_model = lambda name, device="cpu": TonalSeal()
watermark.cli.main.main(sys.argv[1:])
"""


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    track = encode(music(5, 20.0), "wav")
    for n in range(200):
        (folder / f"{n:03}.wav").write_bytes(track)
    out = tmp_path / "report.jsonl"
    command = [sys.executable, "-c", INTERRUPTED, "scan", str(folder), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (out.exists() and out.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=900)
    assert process.returncode == 130
    assert "goes on where this one stopped" in said
    assert "Traceback" not in said
    done = len(out.read_bytes().splitlines())
    assert 0 < done < 200
    scan(*sorted(folder.iterdir())[: done + 1], "--out", out, code=0)
    names = [json.loads(line)["file"] for line in out.read_bytes().splitlines()]
    assert names == [str(folder / f"{n:03}.wav") for n in range(done + 1)]
