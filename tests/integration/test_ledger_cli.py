"""``studio ledger``: what a person and an auditor type, with its exit codes."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from studio.cli.main import cli
from tests.support.ledgers import fill
from tests.support.studios import make_studio


@pytest.fixture
def run(tmp_path, monkeypatch):
    with make_studio(tmp_path / "studio") as studio:
        fill(studio.ledger(), 6)
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "studio/home"))
    monkeypatch.setenv("STUDIO_CONFIGS", str(tmp_path / "studio/configs"))

    def call(*words: object):
        return CliRunner().invoke(cli, ["ledger", *map(str, words)])

    return call


def test_an_auditor_with_an_earlier_checkpoint(run, tmp_path):
    noted = tmp_path / "noted.txt"
    assert run("checkpoint", "--out", noted).exit_code == 0
    (tmp_path / "key.txt").write_text(run("key").stdout)
    run("erase", "2", "credit_lines/0")
    done = run("verify", "--against", noted, "--public-key", tmp_path / "key.txt")
    assert done.exit_code == 0, done.output
    assert "continues the checkpoint over 6 entries" in done.stdout
    body = json.loads(run("verify", "--json", "--against", noted).stdout)
    assert body["ok"] is True
    assert (body["size"], body["checkpoint_size"]) == (7, 6)
    assert body["checkpoint_fault"] is None


def test_a_ledger_set_back_is_caught_and_still_can_be_looked_at(run, tmp_path):
    noted = tmp_path / "noted.txt"
    run("checkpoint", "--out", noted)
    connection = sqlite3.connect(tmp_path / "studio/home/ledger.db")
    with connection:
        for table in ("ledger_entry", "ledger_node"):
            connection.execute(f"DROP TRIGGER {table}_no_delete")
        connection.execute("DELETE FROM output WHERE 0")
        connection.execute("DROP TRIGGER output_no_delete")
        connection.execute("DELETE FROM output WHERE entry_idx = 5")
        connection.execute("DELETE FROM opening WHERE entry_idx = 5")
        connection.execute("DELETE FROM ledger_entry WHERE idx = 5")
        connection.execute("DELETE FROM ledger_node WHERE (idx + 1) << level > 5")
    connection.close()
    for words in (("verify",), ("verify", "--against", noted)):
        done = run(*words)
        assert done.exit_code == 1
        assert "cut off" in done.stdout
    body = json.loads(run("verify", "--json").stdout)
    assert body["fault"] is None
    assert "cut off" in body["checkpoint_fault"]
    assert len(run("show", "--json").stdout.splitlines()) == 5
    assert run("checkpoint").exit_code == 1


def test_a_proof_is_checked_without_a_studio(run, tmp_path, monkeypatch):
    (tmp_path / "key.txt").write_text("# our key\n" + run("key").stdout)
    bundle, track = tmp_path / "proof.json", tmp_path / "track.wav"
    track.write_bytes(b"abc")
    assert run("prove", f"{2:016x}", "--out", bundle, "--disclose").exit_code == 0
    monkeypatch.setenv("STUDIO_HOME", "/nonexistent")
    monkeypatch.setenv("STUDIO_CONFIGS", "/nonexistent")
    check = ("check-proof", bundle, "--public-key", tmp_path / "key.txt")
    done = run(*check, "--file", track)
    assert done.exit_code == 0, done.output
    assert "track.wav is the file it speaks of" in done.stdout
    body = json.loads(run(*check, "--json").stdout)
    assert (body["index"], body["kind"], body["file_matches"]) == (2, "release", None)
    assert body["disclosed"] == {"credit_lines/0": "A line"}

    track.write_bytes(b"another")
    assert run(*check, "--file", track).exit_code == 1
    bundle.write_text(bundle.read_text().replace("jazz", "rock"))
    changed = run(*check)
    assert changed.exit_code == 1
    assert "another tree head" in changed.stderr
    bundle.write_text("{}")
    assert run(*check).exit_code == 3
    assert run("check-proof", tmp_path / "none", "--public-key", bundle).exit_code == 3
    assert run("check-proof", bundle).exit_code == 2


def test_entries_are_proved_by_number_too_and_unknown_ones_refused(run):
    assert json.loads(run("prove", "0").stdout)["index"] == 0
    assert run("prove", "99").exit_code == 1
    assert run("prove", "f" * 16).exit_code == 2


def test_what_is_kept_outside_an_entry_shows_and_can_be_erased(run):
    shown = json.loads(run("show", "--entry", "2").stdout)
    assert shown["kept_outside"] == {"credit_lines/0": "A line"}
    assert run("erase", "2", "credit_lines/0").exit_code == 0
    assert json.loads(run("show", "--entry", "2").stdout)["kept_outside"] == {}
    assert run("erase", "2", "credit_lines/0").exit_code == 2
    assert run("show", "--entry", "99").exit_code == 2
    assert run("verify").exit_code == 0


def test_keys_rotate(run):
    assert len(run("key").stdout.splitlines()) == 1
    assert run("rotate-key", "ledger").exit_code == 0
    assert run("rotate-key", "seal").exit_code == 0
    lines = run("key").stdout.splitlines()
    assert sum(not line.startswith("#") for line in lines) == 2
    assert [line for line in lines if line.startswith("# retired")], "the old key has an end"
    assert "seal key 2" in run("show", "--kind", "key-rotation").stdout
    assert run("verify").exit_code == 0
