"""Paths on a command line: an unreadable one stops no other; outputs are looked at first."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.rights import run_bound
from watermark.cli.paths import why_not_a_file, why_not_a_folder

pytestmark = pytest.mark.slow


def test_what_can_be_written_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "there.wav").touch()
    (tmp_path / "link.wav").symlink_to("there.wav")
    (tmp_path / "dangling.wav").symlink_to("new.wav")
    os.mkfifo(tmp_path / "fifo")
    for name in ("new.wav", "there.wav", "link.wav", "dangling.wav", "fifo"):
        assert why_not_a_file(tmp_path / name) is None
    assert why_not_a_file(Path("/dev/null")) is None
    assert why_not_a_folder(tmp_path) is None
    assert why_not_a_folder(tmp_path / "new" / "below") is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("folder", "it is a folder"),
        ("missing/new.wav", "there is no folder 'missing'"),
        ("file/new.wav", "'file' is no folder"),
        ("n" * 256, "file name too long"),
        ("a\0b.wav", "its name holds a NUL character"),
        ("loop", "too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert why_not_a_file(tmp_path / name) == why


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert why_not_a_folder(tmp_path / "file" / "new") == "'file' is no folder"
    assert "NUL" in str(why_not_a_folder(tmp_path / "a\0b"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A file that can be read and is no audio, and a file and a folder that cannot be read."""
    (tmp_path / "open.wav").write_text("no audio")
    (tmp_path / "shut.wav").write_text("no audio")
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "in.wav").write_text("no audio")
    (tmp_path / "shut.wav").chmod(0)
    (tmp_path / "shut").chmod(0)
    return tmp_path


NAMED = ("open.wav", "shut.wav", "shut", "open.wav")


@pytest.mark.parametrize("program", ["watermark", "studio"])
def test_an_unreadable_file_costs_only_its_own_answer(files: Path, program: str) -> None:
    home = {"STUDIO_HOME": str(files / "home")}
    command = "detect" if program == "watermark" else "verify"
    done = run_bound(program, command, "--json", *NAMED, cwd=files, env=home)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(record["file"]).name for record in records] == list(NAMED)
    for record, denied in zip(records, (False, True, True, False), strict=True):
        assert ("ermission denied" in record["error"]) == denied
    assert done.returncode == 3


def test_a_scan_holds_them_too(files: Path) -> None:
    done = run_bound("watermark", "scan", "--out", "r.jsonl", *NAMED[:3], cwd=files)
    records = [json.loads(line) for line in (files / "r.jsonl").read_text().splitlines()]
    assert [record["error"].split(": ")[0] for record in records] == list(NAMED[:3])
    assert done.returncode == 3


def test_consent_in_other_files_is_recorded(files: Path) -> None:
    home = {"STUDIO_HOME": str(files / "home")}
    done = run_bound("studio", "consent", "import", *NAMED[:3], cwd=files, env=home)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == list(NAMED[:3])
    assert "ermission denied" in lines[1]
    assert "not" in lines[0]
    assert "denied" not in lines[0]


@pytest.mark.parametrize(
    "command",
    [
        ("watermark", "bench", "--out", "shut/report"),
        ("watermark", "bench", "--out", "open.wav"),
        ("watermark", "embed", "open.wav", "shut/out.wav", "--key-file", "none"),
        ("watermark", "embed", "open.wav", "missing/out.wav", "--key-file", "none"),
        ("watermark", "scan", "open.wav", "--out", "shut/r.csv"),
        ("watermark", "key", "create", "missing/k.key"),
        ("studio", "verify", "open.wav", "--report", "missing/r.html"),
        ("studio", "generate", "--tags", "genre/jazz", "--seconds", "5", "--out", "shut/a.wav"),
        ("studio", "backup", "open.wav"),
        ("studio", "receipt", "x", "--out", "missing/r.pdf"),
        ("studio", "house", "compose", "--out", "open.wav"),
    ],
)
def test_outputs_are_checked_before_the_work(files: Path, command: tuple[str, ...]) -> None:
    done = run_bound(*command, cwd=files, env={"STUDIO_HOME": str(files / "home")})
    assert done.returncode == 2
    assert "cannot be written: " in done.stderr
    assert not done.stdout
    assert not (files / "home").exists()  # nothing was begun
