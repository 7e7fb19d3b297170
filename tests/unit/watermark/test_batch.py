"""Catalogues of hostile files, and reports that survive being broken off."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from watermark.batch.files import Journal, files_in, listed, write_table
from watermark.cli.batch import apart_from
from watermark.errors import ScanError


@pytest.fixture
def catalogue(tmp_path):
    folder = tmp_path / "catalogue"
    (folder / "b" / "deep").mkdir(parents=True)
    for name in ("z.wav", "a.mp3", "b/deep/c.ogg", "cover.jpg", ".hidden.wav"):
        (folder / name).write_bytes(b"x")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.wav").symlink_to(folder / "nowhere")
    (folder / "linked.wav").symlink_to(folder / "z.wav")
    os.mkfifo(folder / "pipe")
    return folder


def names(paths, folder):
    return [os.path.relpath(path, folder) for path in paths]


def test_a_folder_is_all_files_below_it_by_name_and_loops_do_not_trap(catalogue):
    assert names(files_in([catalogue]), catalogue) == [
        ".hidden.wav", "a.mp3", "b/deep/c.ogg", "cover.jpg", "gone.wav", "linked.wav", "pipe",
        "z.wav",
    ]  # fmt: skip


def test_names_that_are_left_out(catalogue):
    found = names(files_in([catalogue], skip=["*.jpg", ".*", "b"]), catalogue)
    assert found == ["a.mp3", "gone.wav", "linked.wav", "pipe", "z.wav"]


def test_what_is_named_outright_comes_whatever_it_is(tmp_path):
    named = ["no such file", "nul\0byte", str(tmp_path / "x.jpg")]
    assert list(files_in(named, skip=["*.jpg"])) == named


def test_a_list_of_files_keeps_odd_names(tmp_path):
    (tmp_path / "list").write_bytes(b"a b.wav\n\n\xff.wav\r\n  lead.wav\n")
    found = list(listed(tmp_path / "list"))
    assert found[0] == "a b.wav"
    assert os.fsencode(found[1]) == b"\xff.wav"
    assert found[2] == "  lead.wav"
    with pytest.raises(ScanError, match="missing"):
        list(listed(tmp_path / "missing"))


# -- the journal -----------------------------------------------------------------------------------


@pytest.fixture
def track(tmp_path):
    path = tmp_path / "töne \U0001f3b5.wav"
    path.write_bytes(b"sound")
    return path


def opened(tmp_path, reader="house-1", **kwargs):
    return Journal(tmp_path / "report.jsonl", reader=reader, **kwargs)


def test_an_answered_file_is_known_until_it_changes(tmp_path, track):
    with opened(tmp_path) as journal:
        assert not journal.answered(str(track))
        journal.add({"file": str(track), "score": 1.0})
    with opened(tmp_path) as journal:
        assert journal.answered(str(track))
        assert not journal.answered(str(track) + "x")
        track.write_bytes(b"other sound")
        assert not journal.answered(str(track))


def test_another_reader_answers_again_and_the_newest_answer_counts(tmp_path, track):
    with opened(tmp_path) as journal:
        journal.add({"file": str(track), "score": 1.0})
    with opened(tmp_path, reader="house-2") as journal:
        assert not journal.answered(str(track))
        journal.add({"file": str(track), "score": 2.0})
        assert [record["score"] for record in journal.records()] == [2.0]


def test_a_torn_last_line_is_cut_off_and_the_run_goes_on(tmp_path, track):
    with opened(tmp_path) as journal:
        journal.add({"file": str(track), "score": 1.0})
    report = tmp_path / "report.jsonl"
    whole = report.read_bytes()
    report.write_bytes(whole + b'{"file": "b.wav", "sco')
    with opened(tmp_path) as journal:
        assert journal.answered(str(track))
        journal.add({"file": "b.wav", "score": 3.0})
    assert [json.loads(line)["file"] for line in report.read_bytes().splitlines()] == [
        str(track), "b.wav",
    ]  # fmt: skip


def test_what_could_not_be_read_is_retried_only_when_asked(tmp_path, track):
    with opened(tmp_path) as journal:
        journal.add({"file": str(track), "error": "permission denied"})
    with opened(tmp_path) as journal:
        assert journal.answered(str(track))
    with opened(tmp_path, again=lambda record: "error" in record) as journal:
        assert not journal.answered(str(track))


@pytest.mark.parametrize("content", [b"not json\n", b"[1]\n", b'{"other": 1}\n'])
def test_a_file_that_is_no_report_is_not_written_into(tmp_path, content):
    report = tmp_path / "report.jsonl"
    report.write_bytes(content)
    with pytest.raises(ScanError, match="line 1"):
        opened(tmp_path)
    assert report.read_bytes() == content


def test_names_that_are_no_text_are_kept_apart(tmp_path):
    odd, other = os.fsdecode(b"\xff.wav"), os.fsdecode(b"\xfe.wav")
    with opened(tmp_path) as journal:
        journal.add({"file": odd, "error": "x"})
    with opened(tmp_path) as journal:
        assert journal.answered(odd)
        assert not journal.answered(other)


def test_a_table_runs_no_formula_and_holds_json_for_lists(tmp_path):
    rows = [
        {"file": "=HYPERLINK(1)", "score": -1.5, "segments": [{"start_s": 1}]},
        {"file": 'a "b", c\nd.wav', "score": None},
    ]
    write_table(rows, {"file": "text", "score": "number", "segments": "text"}, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.reader(file))
    assert read[0] == ["file", "score", "segments"]
    assert read[1] == ["'=HYPERLINK(1)", "-1.5", '[{"start_s": 1}]']
    assert read[2] == ['a "b", c\nd.wav', "", ""]


def test_parquet_without_pyarrow_is_told(tmp_path, monkeypatch):
    import watermark.batch.files

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(watermark.batch.files, "import_module", absent)
    with pytest.raises(ScanError, match="needs pyarrow"):
        write_table([], {"file": "text"}, tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_a_list_may_begin_with_a_byte_order_mark_and_is_no_utf_16(tmp_path):
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa.wav\nb.wav\n")
    assert list(listed(tmp_path / "bom")) == ["a.wav", "b.wav"]
    (tmp_path / "wide").write_bytes("a.wav\n".encode("utf-16"))
    with pytest.raises(ScanError, match="save it as UTF-8"):
        list(listed(tmp_path / "wide"))


def test_a_report_in_the_folder_is_no_file_of_it(tmp_path, monkeypatch):
    """Also where folder and report are named by different paths."""
    music = tmp_path / "music"
    music.mkdir()
    (tmp_path / "link").symlink_to(music)
    for name in ("a.wav", "r.csv", "deep"):
        (music / name).touch()
    monkeypatch.chdir(music)
    for folder, report in ((".", "../music/r.csv"), (tmp_path / "link", "r.csv"), ("..", "r.csv")):
        found = list(apart_from(files_in([folder]), Path(report)))
        assert "r.csv" not in [Path(path).name for path in found]
        assert [Path(path).name for path in found] == ["a.wav", "deep"]
    (music / "sub").mkdir()
    (music / "sub" / "r.csv").touch()  # another file of that name
    assert "./sub/r.csv" in list(apart_from(files_in(["."]), Path("r.csv")))
    assert list(apart_from(["nul\0.wav"], Path("r.csv"))) == ["nul\0.wav"]
