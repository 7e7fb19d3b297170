"""`studio watch`: each file that arrives is examined and recorded once."""

from __future__ import annotations

import json
import os
import time

import pytest
from click.testing import CliRunner

import studio.app.container
from studio.app.watching.arrivals import Arrivals
from studio.app.watching.folder import FolderWatch
from studio.cli.main import cli
from tests.support.hosts import host, status
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.audio.waveform import write

TAGS = ["genre/jazz", "mood/calm"]
ONCE = ("--once", "--settle", "0", "--json")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Runs `studio ARGS` on a studio with one output, and a folder with it among other files."""

    def opened():
        return make_studio(tmp_path / "studio", generator=PlainGenerator())

    monkeypatch.setattr(studio.app.container, "open_container", opened)
    folder = tmp_path / "inbox"
    folder.mkdir()
    with opened() as maker:
        session = as_owner(maker)
        request = session.generation.request(TAGS, duration_s=8.0, seed=1, format="wav")
        release = session.generation.create(request)
        (folder / "1 ours.wav").write_bytes(release.path.read_bytes())
    (folder / "2 text <b>\n.wav").write_text("no music")

    def run(*args: object):
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="studio")

    def entries():
        with opened() as found:
            return found.ledger().entries(kind="verification")

    run.folder, run.opened, run.release, run.entries = folder, opened, release, entries
    return run


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_arrives_is_examined_and_recorded_once(desk):
    done = desk("watch", desk.folder, *ONCE)
    assert done.exit_code == 3, done.output
    ours, text = lines(done)
    assert (ours["verdict"], ours["seal_id"]) == ("sealed", desk.release.seal_id)
    assert (ours["file"], ours["path"], ours["repeated"]) == ("1 ours.wav", "1 ours.wav", False)
    assert text["verdict"] == "unreadable"
    assert text["path"] == "2 text <b>\\n.wav"
    entries = desk.entries()
    assert [entry.index for entry in entries] == [
        ours["recorded"]["entry"],
        text["recorded"]["entry"],
    ]
    again = desk("watch", desk.folder, *ONCE)
    assert (again.exit_code, again.stdout) == (0, "")
    (desk.folder / "below").mkdir()
    (desk.folder / "below" / "copy.wav").write_bytes((desk.folder / "1 ours.wav").read_bytes())
    os.utime(desk.folder / "1 ours.wav", (1, 1))  # the same content under the same name
    write(desk.folder / "3 new.wav", music(50, 4.0))
    more = desk("watch", desk.folder, *ONCE)
    copy, new = sorted(lines(more), key=lambda line: line["path"], reverse=True)
    assert more.exit_code == 0
    assert (copy["path"], copy["repeated"]) == ("below/copy.wav", True)
    assert (copy["verdict"], copy["recorded"]) == ("sealed", ours["recorded"])
    assert (new["verdict"], new["repeated"]) == ("not-detected", False)
    assert len(desk.entries()) == 3


def test_in_words_it_names_verdict_and_entry(desk):
    done = desk("watch", desk.folder, "--once", "--settle", "0", "--in-process")
    (entry, _) = desk.entries()
    assert f"1 ours.wav: sealed, ledger entry {entry.index}\n" in done.stdout


@pytest.mark.parametrize("with_case", [False, True])
def test_an_examination_that_was_cut_off_is_not_recorded_twice(desk, monkeypatch, with_case):
    to = []
    if with_case:
        opened = json.loads(desk("case", "open", "R-1", "Ours?", "--json").stdout)
        to = ["--case", "R-1"]
    (desk.folder / "2 text <b>\n.wav").unlink()
    settle = FolderWatch.settle

    def crash(_self, _outcome):
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderWatch, "settle", crash)
    cut = desk("watch", desk.folder, *ONCE, *to)
    assert cut.exit_code == 130
    assert "Traceback" not in cut.output
    (entry,) = desk.entries()
    monkeypatch.setattr(FolderWatch, "settle", settle)
    (line,) = lines(desk("watch", desk.folder, *ONCE, *to))
    assert (line["verdict"], line["repeated"]) == ("sealed", False)
    assert line["recorded"]["entry"] == entry.index
    assert len(desk.entries()) == 1
    if with_case:
        assert line["case"] == {"case_id": opened["case_id"], "number": 1}
        shown = json.loads(desk("case", "show", opened["case_id"], "--json").stdout)
        assert [each["file"] for each in shown["examinations"]] == ["1 ours.wav"]


def test_a_case_is_found_by_its_reference_if_it_is_the_only_one(desk):
    assert desk("watch", desk.folder, *ONCE, "--case", "R-1").exit_code == 1
    assert desk("case", "open", "R-1", "Ours?").exit_code == 0
    assert desk("watch", desk.folder, *ONCE, "--case", "R-1").exit_code == 3
    assert desk("case", "open", "R-1", "Whose?").exit_code == 0
    several = desk("watch", desk.folder, *ONCE, "--case", "R-1")
    assert several.exit_code == 2
    assert "several cases" in several.stderr


def test_what_is_over_a_limit_is_said_once_and_not_recorded(desk):
    for file in desk.folder.iterdir():
        file.unlink()
    write(desk.folder / "long.wav", music(50, 8.0))
    (desk.folder / "large.wav").write_bytes(b"\0" * ((1 << 20) + 1))
    limits = ("--max-minutes", "0.1", "--max-mib", "1")
    done = desk("watch", desk.folder, *ONCE, *limits)
    assert done.exit_code == 3
    kinds = {line["path"]: line["kind"] for line in lines(done)}
    assert kinds == {"large.wav": "TooLarge", "long.wav": "AudioTooLongError"}
    assert desk.entries() == []
    again = desk("watch", desk.folder, *ONCE, *limits)
    assert (again.exit_code, again.stdout) == (0, "")


def test_a_file_that_cannot_be_read_is_said_and_tried_again(desk, monkeypatch):
    (desk.folder / "2 text <b>\n.wav").unlink()
    really = Arrivals._open

    def closed(self, name, flags):
        if name.endswith(".wav"):
            raise PermissionError(13, "Permission denied")
        return really(self, name, flags)

    monkeypatch.setattr(Arrivals, "_open", closed)
    done = desk("watch", desk.folder, *ONCE)
    assert done.exit_code == 3
    assert [(line["error"], line["kind"]) for line in lines(done)] == [
        ("permission denied", "Absent")
    ]
    assert desk.entries() == []
    monkeypatch.setattr(Arrivals, "_open", really)
    assert lines(desk("watch", desk.folder, *ONCE))[0]["verdict"] == "sealed"


def test_it_waits_for_files_until_ctrl_c(desk, monkeypatch):
    rounds = []

    def pause(_seconds):
        rounds.append(1)
        if len(rounds) == 2:
            write(desk.folder / "3 new.wav", music(50, 4.0))
        if len(rounds) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", pause)
    done = desk("watch", desk.folder, "--settle", "0", "--json")
    assert done.exit_code == 130
    assert [line["verdict"] for line in lines(done)] == ["sealed", "unreadable", "not-detected"]
    assert "stopped: 3 files were answered" in done.stderr


def test_the_home_is_not_watched_and_one_process_is_enough(desk, tmp_path):
    for folder in (tmp_path, tmp_path / "studio" / "home" / "outputs"):
        refused = desk("watch", folder, *ONCE)
        assert refused.exit_code == 2
        assert "home" in refused.stderr
    with desk.opened() as opened:
        session = as_owner(opened)
        with session.verification.watch_store(desk.folder, None):
            second = desk("watch", desk.folder, *ONCE)
    assert second.exit_code == 2
    assert "another process" in second.stderr


def test_a_web_hook_is_told_of_each_verdict_once(desk, monkeypatch):
    with host(status(500)) as machine:
        url = f"http://127.0.0.1:{machine.port}/hook"
        off = desk("watch", desk.folder, *ONCE, "--webhook", url)
        assert off.exit_code == 2
        assert "webhooks.hosts" in off.stderr
        monkeypatch.setenv("STUDIO_WEBHOOKS__HOSTS", json.dumps([f"127.0.0.1:{machine.port}"]))
        other = desk("watch", desk.folder, *ONCE, "--webhook", "https://elsewhere.example/")
        assert other.exit_code == 2
        assert machine.asked == []
        assert desk.entries() == []
        down = desk("watch", desk.folder, *ONCE, "--webhook", url)
        assert len(lines(down)) == 2  # examined all the same
        assert "webhook.secret" in down.stderr
        assert "2 messages wait" in down.stderr
        machine.answer = status(200)
        first = {asked.headers["webhook-id"] for asked in machine.asked}
        machine.asked.clear()
        with desk.opened() as opened:  # as if the pause were over
            store = as_owner(opened).verification.watch_store(desk.folder, None)
            store.connect().execute("UPDATE message SET due = 0").connection.close()
            store.close()
        up = desk("watch", desk.folder, *ONCE, "--webhook", url)
        assert up.stdout == ""
        assert first <= {asked.headers["webhook-id"] for asked in machine.asked}
        told = [json.loads(asked.body) for asked in machine.asked]
        assert sorted(each["data"]["verdict"] for each in told) == ["sealed", "unreadable"]
        assert first
        assert {each["type"] for each in told} == {"verification.completed"}
        assert desk("watch", desk.folder, *ONCE, "--webhook", url).exit_code == 0
        assert len(machine.asked) == 2
