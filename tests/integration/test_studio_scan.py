"""`studio verify` on many files with reports, `studio scan`, and the registry's index on disk."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner

import studio.app.container
from studio.cli.main import cli
from studio.provenance.output_index import OutputIndex
from tests.support.studios import PlainGenerator, as_owner, make_studio, music
from watermark.audio.waveform import read, write
from watermark.errors import FingerprintError
from watermark.fingerprint.index import FingerprintIndex

TAGS = ["genre/jazz", "mood/calm"]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Runs `studio ARGS` on a studio with one output, and a folder with it among other files."""

    def opened():
        return make_studio(tmp_path / "studio", generator=PlainGenerator())

    monkeypatch.setattr(studio.app.container, "open_container", opened)
    folder = tmp_path / "folder"
    folder.mkdir()
    with opened() as maker:
        release = as_owner(maker).generation.create(
            as_owner(maker).generation.request(TAGS, duration_s=8.0, seed=1, format="wav")
        )
        (folder / "1 ours.wav").write_bytes(release.path.read_bytes())
    write(folder / "2 other.wav", music(50, 8.0))
    (folder / "3 text <b>.wav").write_text("no music")

    def run(*args: object):
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="studio")

    run.folder, run.opened, run.release = folder, opened, release
    return run


def test_a_folder_is_verified_and_reported_for_people_and_machines(desk, tmp_path):
    html, data = tmp_path / "report.html", tmp_path / "report.json"
    done = desk("verify", desk.folder, "--report", html, "--json")
    assert done.exit_code == 3, done.output
    verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
    assert verdicts == ["sealed", "not-detected", "unreadable"]
    page = html.read_text()
    assert desk.release.sha256 in page
    assert "3 text &lt;b&gt;.wav" in page
    assert "<b>.wav" not in page
    assert desk("verify", desk.folder, "--report", data, "--no-record").exit_code == 3
    files = json.loads(data.read_text())["files"]
    assert [file["verdict"] for file in files] == verdicts
    wrong = desk("verify", desk.folder, "--report", tmp_path / "report.doc")
    assert wrong.exit_code == 2
    assert ".html or .json" in wrong.stderr


def test_no_record_leaves_the_ledger_alone(desk):
    with desk.opened() as opened:
        before = opened.ledger().size()
    desk("verify", desk.folder / "1 ours.wav", "--no-record", "--in-process")
    desk("scan", desk.folder, "--out", desk.folder / "r.jsonl", "--in-process")
    with desk.opened() as opened:
        assert opened.ledger().size() == before
    desk("verify", desk.folder / "1 ours.wav", "--in-process")
    with desk.opened() as opened:
        assert opened.ledger().size() == before + 1


def test_a_scan_gives_verdicts_and_is_continued(desk, tmp_path):
    out = tmp_path / "catalogue.csv"
    done = desk("scan", desk.folder, "--out", out, "--in-process")
    assert done.exit_code == 3
    assert "1 not-detected, 1 sealed, 1 unreadable" in done.stderr
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["sealed", "not-detected", "unreadable"]
    assert rows[0]["seal_id"] == desk.release.seal_id
    assert rows[0]["consent_now"] == "genre/jazz: granted; mood/calm: granted"
    assert rows[0]["registered"] == "1"
    again = desk("scan", desk.folder, "--out", out, "--in-process")
    assert "0 files examined" in again.stderr
    with desk.opened() as maker:
        as_owner(maker).generation.create(
            as_owner(maker).generation.request(TAGS, duration_s=8.0, seed=50, format="wav")
        )
    stale = desk("scan", desk.folder, "--out", out, "--stale", "--in-process")
    assert "2 files examined" in stale.stderr
    assert "1 sealed, 1 unreadable, 1 unsealed-copy" in stale.stderr


# -- the registry's index --------------------------------------------------------------------------


def registry_of(opened) -> OutputIndex:
    registry = OutputIndex(opened.ledger(), opened.seal_keys(), opened.paths.fingerprints)
    registry.refresh()
    return registry


def test_the_index_is_kept_and_only_what_is_new_is_added(desk, monkeypatch):
    with desk.opened() as opened:
        registry_of(opened)
        added: list[str] = []
        real = FingerprintIndex.add
        monkeypatch.setattr(
            FingerprintIndex,
            "add",
            lambda self, key, ref: (added.append(key), real(self, key, ref)),
        )
        as_owner(opened).generation.create(
            as_owner(opened).generation.request(TAGS, duration_s=8.0, seed=2, format="wav")
        )
        registry = registry_of(opened)
        assert added == [as_owner(opened).outputs.recent()[0].output_id]
        assert len(registry.index) == 2
        assert len(registry_of(opened).index) == 2
        assert len(added) == 1


def test_an_index_of_another_ledger_or_a_damaged_one_is_made_again(desk):
    with desk.opened() as opened:
        registry_of(opened)
        folder = opened.paths.fingerprints
        foreign = FingerprintIndex(folder, fresh=True)
        foreign.add("somebody else's", registry_of(opened).index.reference(desk.release.output_id))
        foreign.save("0 " + "00" * 32)
        assert "somebody else's" not in registry_of(opened).index
        (folder / "index.json").write_text("{")
        assert desk.release.output_id in registry_of(opened).index
        assert desk.release.output_id in FingerprintIndex(folder, store=lambda _keys: {})


def test_an_index_of_version_1_is_made_again_from_the_ledger(desk):
    """Nobody has to do anything after an update; the old files are deleted."""
    with desk.opened() as opened:
        registry_of(opened)
        folder = opened.paths.fingerprints
        new = json.loads((folder / "index.json").read_text())
        old = folder / "part-00112233445566aa"
        old.mkdir()
        (old / "flat.npy").write_bytes(b"")
        body = {"version": 1, "note": new["note"], "parts": [old.name]}
        (folder / "index.json").write_text(json.dumps(body))
        registry = registry_of(opened)
        query = registry.index.reference(desk.release.output_id).between(1.0, 7.0)
        found = registry.index.search(query)[0]
        assert (found.key, found.distance) == (desk.release.output_id, 0.0)
        assert json.loads((folder / "index.json").read_text())["version"] == 2
        assert not old.exists()


def test_words_are_read_from_the_database_not_the_index(desk):
    """The folder holds no whole fingerprint; a print that the database lost is no silent miss."""
    with desk.opened() as opened:
        registry_of(opened)
        registry = registry_of(opened)  # from disk
        assert list(opened.paths.fingerprints.glob("part-*/places.npy"))
        assert not list(opened.paths.fingerprints.glob("part-*/words.npy"))
        (stored,) = [s for _, s in opened.ledger().outputs()]
        reference = registry.index.reference(desk.release.output_id)
        assert reference.to_bytes() == stored.fingerprint
        asked: list[list[str]] = []
        index = FingerprintIndex(
            opened.paths.fingerprints, store=lambda keys: asked.append(list(keys)) or {}
        )
        with pytest.raises(FingerprintError, match="not in the store"):
            index.search(reference)
        assert asked == [[desk.release.output_id]]


def test_without_a_place_to_write_the_index_lives_in_memory(desk, tmp_path):
    (tmp_path / "a file").write_text("")
    with desk.opened() as opened:
        registry = OutputIndex(opened.ledger(), opened.seal_keys(), tmp_path / "a file" / "below")
        registry.refresh()
        found = registry.index.search(registry.index.reference(desk.release.output_id))
    assert found[0].key == desk.release.output_id


def test_worker_processes_give_the_same_verdicts(tmp_path, monkeypatch):
    """The real seal, the real weights, a studio of each worker's own."""
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    write(tmp_path / "a.wav", music(60, 6.0))
    (tmp_path / "b.wav").write_text("no music")
    args = ["verify", str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), "--json", "--no-record"]
    done = CliRunner().invoke(cli, [*args, "--jobs", "1"], prog_name="studio")
    assert done.exit_code == 3, done.output
    verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
    assert verdicts[1] == "unreadable"
    assert verdicts[0] in ("not-detected", "foreign-seal")
    assert read(tmp_path / "a.wav").duration_s == 6.0
