"""A studio backed up and restored: verified, whole, and onto either database."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from studio.app.container import open_container
from studio.app.operation.backup import back_up
from studio.app.operation.backup_manifest import digests_of
from studio.app.operation.restore import Evidence, restore
from studio.cli.main import cli
from studio.core.errors import LedgerError, ProofError, UnreadableProofError, UsageError
from studio.core.paths import StudioPaths
from studio.provenance.ledger.checkpoints.signed_note import SignerKey
from tests.support.studios import PlainGenerator, as_owner, make_studio


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A studio with two outputs and a backup of it, keys included."""
    folder = tmp_path_factory.mktemp("made")
    with make_studio(folder, generator=PlainGenerator()) as studio:
        releases = [
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=seed)
            )
            for seed in (1, 2)
        ]
        studio.checkpointer().checkpoint()
        manifest = back_up(
            studio.paths,
            studio.database(),
            studio.checkpointer(),
            folder / "backup",
            with_keys=True,
        )
        verifiers = studio.checkpointer().verifiers
    return folder, manifest, releases, verifiers


@pytest.fixture
def backup(made, tmp_path):
    """A copy of the backup, to be spoilt."""
    shutil.copytree(made[0] / "backup", tmp_path / "backup")
    return tmp_path / "backup"


def home(made, tmp_path) -> StudioPaths:
    return StudioPaths(home=tmp_path / "home", configs=made[0] / "configs")


def test_what_is_restored_is_what_was_backed_up(made, backup, tmp_path, database_location):
    _, manifest, releases, verifiers = made
    paths = home(made, tmp_path)
    if isinstance(database_location, Path):
        database_location = paths.ledger
    restored = restore(backup, paths, database_location, Evidence(keys=verifiers))
    assert restored.manifest == manifest
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_DATABASE_URL", str(database_location))
        if isinstance(database_location, Path):
            patch.delenv("STUDIO_DATABASE_URL")
        with open_container(paths=paths) as studio:
            assert as_owner(studio).generation.recover().lines() == []
            assert studio.ledger().verify().ok
            assert studio.ledger().head(manifest.size).hex() == manifest.tree_head
            entries = studio.ledger().entries()[manifest.size :]
            assert [entry.kind for entry in entries] == ["restored"]
            for release in releases:
                restored = as_owner(studio).outputs.get(release.output_id)
                assert restored.path.read_bytes() == release.path.read_bytes()
                assert restored.credits == release.credits
    assert stat.S_IMODE(paths.keys.stat().st_mode) == 0o700


@pytest.mark.needs("postgresql")
def test_a_studio_on_postgresql_is_backed_up_the_same_way(tmp_path, postgresql_url, monkeypatch):
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=1)
        )
        manifest = back_up(
            studio.paths,
            studio.database(),
            studio.checkpointer(),
            tmp_path / "backup",
            with_keys=True,
        )
    monkeypatch.delenv("STUDIO_DATABASE_URL")
    paths = StudioPaths(home=tmp_path / "elsewhere", configs=tmp_path / "configs")
    restore(tmp_path / "backup", paths, paths.ledger)
    with open_container(paths=paths) as studio:
        assert studio.ledger().head(manifest.size).hex() == manifest.tree_head


def rewrite_manifest(backup, **changes):
    """What somebody can do who has the backup and not the ledger's key."""
    manifest = json.loads((backup / "backup.json").read_text())
    manifest["files"] = digests_of(backup)
    (backup / "backup.json").write_text(json.dumps(manifest | changes))


def spoil_output(backup):
    path = next((backup / "outputs").glob("*.wav"))
    path.write_bytes(path.read_bytes() + b"x")


def spoil_database(backup):
    import sqlite3

    connection = sqlite3.connect(backup / "ledger.db")
    with connection:
        connection.execute("CREATE TABLE extra (x)")
    connection.close()


def lose_output(backup):
    next((backup / "outputs").glob("*.wav")).unlink()


def add_file(backup):
    (backup / "keys" / "epoch-0009.key").write_text("planted")


@pytest.mark.parametrize("spoil", [spoil_output, spoil_database, lose_output, add_file])
def test_a_backup_that_was_changed_is_not_restored(made, backup, tmp_path, spoil):
    spoil(backup)
    paths = home(made, tmp_path)
    with pytest.raises(ProofError, match="was changed"):
        restore(backup, paths, paths.ledger)
    assert not paths.ledger.exists()


def test_a_backup_changed_with_its_manifest_fails_against_the_ledger(made, backup, tmp_path):
    spoil_output(backup)
    rewrite_manifest(backup)
    paths = home(made, tmp_path)
    with pytest.raises(ProofError, match="not as the ledger says"):
        restore(backup, paths, paths.ledger)


def test_a_backup_of_another_studio_fails_against_the_public_key(made, backup, tmp_path):
    paths = home(made, tmp_path)
    stranger = SignerKey.create(made[3][0].name).verifier()
    with pytest.raises(ProofError, match="not signed by"):
        restore(backup, paths, paths.ledger, Evidence(keys=[stranger]))


@pytest.mark.parametrize("content", [None, "", "{}", '{"version": 3}', "[]", "[" * 9999])
def test_what_is_no_finished_backup(made, backup, tmp_path, content):
    if content is None:
        (backup / "backup.json").unlink()
    else:
        (backup / "backup.json").write_text(content)
    paths = home(made, tmp_path)
    with pytest.raises(UnreadableProofError):
        restore(backup, paths, paths.ledger)


def test_a_studio_that_is_there_is_not_written_over(made, backup):
    folder = made[0]
    paths = StudioPaths(home=folder / "home", configs=folder / "configs")
    with pytest.raises(UsageError, match="already"):
        restore(backup, paths, paths.ledger)


def test_a_backup_is_not_mixed_with_anything(made, backup):
    with (
        make_studio(made[0]) as studio,
        pytest.raises(UsageError, match="not empty"),
    ):
        back_up(studio.paths, studio.database(), studio.checkpointer(), backup)


def test_what_cannot_be_backed_up_whole_is_an_error(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=1)
        )
        release.path.write_bytes(b"another file")
        with pytest.raises(ProofError, match="not as the ledger says"):
            back_up(studio.paths, studio.database(), studio.checkpointer(), tmp_path / "one")
        release.path.unlink()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(LedgerError, match="missing"):
            patch.setattr("studio.app.operation.backup._HAND_OUT_S", 0.1)
            back_up(studio.paths, studio.database(), studio.checkpointer(), tmp_path / "two")
        assert not (tmp_path / "two" / "backup.json").exists()


def test_the_commands(made, tmp_path, monkeypatch):
    folder = made[0]
    monkeypatch.setenv("STUDIO_CONFIGS", str(folder / "configs"))
    monkeypatch.setenv("STUDIO_HOME", str(folder / "home"))
    done = CliRunner().invoke(cli, ["backup", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    assert "WITHOUT the secret keys" in done.stdout
    assert not (tmp_path / "b" / "keys").exists()
    (tmp_path / "key.txt").write_text("\n".join(map(str, made[3])))
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "new"))
    words = ["restore", str(tmp_path / "b"), "--public-key", str(tmp_path / "key.txt")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "no keys" in done.stdout
    assert CliRunner().invoke(cli, words).exit_code == 2, "there is a studio now"
    # Without its keys it does not start; with them it does.
    assert CliRunner().invoke(cli, ["ledger", "checkpoint"]).exit_code == 4
    shutil.copytree(folder / "home/keys", tmp_path / "new/keys", dirs_exist_ok=True)
    assert CliRunner().invoke(cli, ["ledger", "verify"]).exit_code == 0
