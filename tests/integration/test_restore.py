"""Restoring: signed, the newest, all or nothing, and consent closed until somebody has looked."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat

import pytest
from click.testing import CliRunner

from studio.app.container import open_container
from studio.app.operation.backup import back_up
from studio.app.operation.backup_manifest import digests_of
from studio.app.operation.restore import Evidence, restore
from studio.app.session import Session
from studio.cli.main import cli
from studio.core.errors import (
    ConfigError,
    ConsentRefusedError,
    OutputWithdrawnError,
    ProofError,
    UsageError,
)
from studio.core.home import RESTORE_MARKER
from studio.core.paths import StudioPaths
from studio.provenance.ledger.checkpoints.signed_note import SignerKey
from studio.provenance.sealer import Sealer
from tests.support.consent import file_of, revocation
from tests.support.seals import TonalSeal
from tests.support.studios import PlainGenerator, as_account, as_owner, make_studio, revoke

GRANTED = "genre/jazz"
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A studio with two accounts and an output, backed up with its keys."""
    folder = tmp_path_factory.mktemp("made")
    old = os.umask(0o022)
    try:
        with make_studio(folder, generator=PlainGenerator()) as studio:
            studio.accounts().add("ada", _role("administrator"), PASSWORD, by=None)
            studio.accounts().add("bob", _role("artist"), PASSWORD + "2", by=None)
            release = as_account(studio, "bob").generation.create(request(studio))
            backup_of(studio, folder / "backup")
            verifiers = studio.checkpointer().verifiers
    finally:
        os.umask(old)
    return folder, release, verifiers


def _role(name):
    from studio.accounts.permissions import Role

    return Role(name)


def request(studio, seed=1):
    return as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=seed)


def backup_of(studio, target, **options):
    options = {"with_keys": True, **options}
    return back_up(studio.paths, studio.database(), studio.checkpointer(), target, **options)


@pytest.fixture
def backup(made, tmp_path):
    shutil.copytree(made[0] / "backup", tmp_path / "backup")
    return tmp_path / "backup"


@pytest.fixture
def paths(made, tmp_path):
    return StudioPaths(home=tmp_path / "new" / "home", configs=made[0] / "configs")


def make_at(paths):
    """The studio of a home, with its seal model replaced as in :func:`make_studio`."""
    studio = open_container(paths=paths)
    studio.trust_uploads()
    vars(studio)["_sealer"] = Sealer(TonalSeal())
    return studio


def change(backup, statement, **manifest):
    """Change the backup's database and its manifest, as somebody without the key can."""
    connection = sqlite3.connect(backup / "ledger.db")
    with connection:
        connection.execute(statement)
    connection.close()
    rewrite(backup, **manifest)


def rewrite(backup, **changes):
    manifest = json.loads((backup / "backup.json").read_text())
    manifest["files"] = digests_of(backup)
    (backup / "backup.json").write_text(json.dumps(manifest | changes))


CHANGES = {
    "a password": "UPDATE account SET password_hash = (SELECT password_hash FROM account "
    "WHERE name = 'ada') WHERE name = 'bob'",
    "a role": "UPDATE account SET role = 'administrator' WHERE name = 'bob'",
    "an account": "UPDATE account SET disabled = 0, created_at = '2020'",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("given", [True, False])
def test_a_backup_with_changed_accounts_is_refused(made, backup, paths, statement, given):
    evidence = Evidence(keys=made[2] if given else ())
    change(backup, statement)
    with pytest.raises(ProofError, match=r"not the one that was signed|not as its own ledger"):
        restore(backup, paths, paths.ledger, evidence)
    assert not paths.home.exists(), "refused before anything was made"


def test_a_signature_that_was_taken_away_or_made_by_a_retired_key(made, backup, paths):
    (backup / "backup.sig").unlink()
    with pytest.raises(ProofError, match="signature cannot be read"):
        restore(backup, paths, paths.ledger, Evidence(keys=made[2]))
    shutil.copy(made[0] / "backup" / "backup.sig", backup)
    restore(backup, paths, paths.ledger, Evidence(keys=made[2]))


def test_a_manifest_signed_with_a_key_that_was_retired_before(tmp_path, paths):
    from studio.app.operation.backup_manifest import sign_manifest

    with make_studio(tmp_path) as studio:
        old = studio.checkpointer().signer
        as_owner(studio).operation.rotate_key("ledger")
        backup_of(studio, tmp_path / "backup")
        verifiers = studio.checkpointer().verifiers
    content = (tmp_path / "backup" / "backup.json").read_bytes()
    (tmp_path / "backup" / "backup.sig").write_bytes(sign_manifest(content, old))
    with pytest.raises(ProofError, match="retired before it was made"):
        restore(tmp_path / "backup", paths, paths.ledger, Evidence(keys=verifiers))


def test_an_unsigned_backup_of_before_is_read_but_not_on_a_keys_word(made, backup, paths):
    (backup / "backup.sig").unlink()
    rewrite(backup, version=1)
    with pytest.raises(ProofError, match="accept-unsigned"):
        restore(backup, paths, paths.ledger, Evidence(keys=made[2]))
    evidence = Evidence(keys=made[2], accept_unsigned=True)
    assert restore(backup, paths, paths.ledger, evidence).manifest.version == 1


def test_without_a_signature_roles_are_still_held_against_the_ledger(backup, paths):
    (backup / "backup.sig").unlink()
    change(backup, CHANGES["a role"], version=1)
    with pytest.raises(ProofError, match="role of the account"):
        restore(backup, paths, paths.ledger)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "outputs/../../outside"])
def test_a_manifest_does_not_lead_out_of_the_backup(backup, paths, name):
    manifest = json.loads((backup / "backup.json").read_text())
    manifest["files"][name] = "0" * 64
    (backup / "backup.json").write_text(json.dumps(manifest))
    with pytest.raises(Exception, match="malformed"):
        restore(backup, paths, paths.ledger)


def test_a_link_in_a_backup_is_refused(backup, paths):
    (backup / "outputs" / "link").symlink_to("/etc/hostname")
    with pytest.raises(Exception, match="link"):
        restore(backup, paths, paths.ledger)


def test_a_backup_and_what_is_restored_are_their_owners_alone(made, backup, paths):
    old = os.umask(0o022)
    try:
        restore(backup, paths, paths.ledger)
    finally:
        os.umask(old)
    for folder in (made[0] / "backup", paths.home):
        for path in [folder, *folder.rglob("*")]:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


# -- is it the newest? -------------------------------------------------------------------------


@pytest.fixture
def moved_on(tmp_path):
    """A studio that was backed up, and in which a grant was revoked afterwards."""
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(request(studio))
        backup_of(studio, tmp_path / "backup")
        revoke(studio, "house-catalogue-2026")
        note = studio.checkpointer().checkpoint().note
        size = studio.ledger().size()
        verifiers = studio.checkpointer().verifiers
    return tmp_path, release, note, size, verifiers


def test_an_older_backup_is_refused_against_a_newer_checkpoint(moved_on, paths):
    folder, _, note, size, keys = moved_on
    evidence = Evidence(keys=keys, checkpoints=[note])
    with pytest.raises(ProofError, match=f"a checkpoint was signed over {size}"):
        restore(folder / "backup", paths, paths.ledger, evidence)
    evidence = Evidence(keys=keys, checkpoints=[note], accept_loss=True)
    restored = restore(folder / "backup", paths, paths.ledger, evidence)
    assert restored.lost == size - restored.manifest.size > 0
    assert any("LOST" in line for line in restored.warnings())
    with open_container(paths=paths) as studio:
        body = studio.ledger().entries(kind="restored")[0].body
        assert body["lost"] == {"size": size, "checkpoint": note}


def test_a_rewritten_backup_is_refused_against_an_earlier_checkpoint(made, backup, paths, tmp_path):
    other = SignerKey.create(made[2][0].name)
    from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint

    forged = Checkpoint(other.name, 1, bytes(32)).sign(other)
    with pytest.raises(ProofError, match="not signed by"):
        restore(backup, paths, paths.ledger, Evidence(keys=made[2], checkpoints=[forged]))
    with pytest.raises(ProofError, match="rewritten"):
        evidence = Evidence(keys=[*made[2], other.verifier()], checkpoints=[forged])
        restore(backup, paths, paths.ledger, evidence)


def test_by_default_checkpoints_outside_the_home_tell_a_lost_home(moved_on, monkeypatch):
    """The whole of it, with commands and no options beyond those that a message names."""
    folder, _, _, size, _ = moved_on
    monkeypatch.setenv("STUDIO_HOME", str(folder / "home"))
    monkeypatch.setenv("STUDIO_CONFIGS", str(folder / "configs"))
    outside = folder / "home-checkpoints"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700
    shutil.move(folder / "home", folder / "lost")
    # What starts is not a fresh studio with fresh keys.
    done = CliRunner().invoke(cli, ["consent", "list"])
    assert (done.exit_code, "Restore a backup" in done.stderr) == (1, True), done.output
    done = CliRunner().invoke(cli, ["restore", str(folder / "backup")])
    assert (done.exit_code, "--accept-loss" in done.stderr) == (1, True), done.output
    done = CliRunner().invoke(cli, ["restore", str(folder / "backup"), "--accept-loss"])
    assert done.exit_code == 0, done.output
    assert "CONSENT IS CLOSED" in done.stderr
    assert "entries that were made after the backup are LOST" in done.stderr
    assert [path.name for path in (outside / "superseded").glob("*.txt")] == [
        f"checkpoint-{size:012d}.txt"
    ]
    done = CliRunner().invoke(cli, ["consent", "check", "--tags", "genre/jazz"])
    assert done.exit_code == 1
    assert "confirm-restore" in done.stdout
    monkeypatch.setenv("STUDIO_HOME", str(folder / "lost"))


def test_a_home_of_another_ledger_is_noticed_with_its_keys_made(tmp_path):
    for number in range(2):
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
        with make_studio(tmp_path) as studio:
            studio.ledger().append("refusal", {})
            studio.checkpointer().checkpoint()
        shutil.move(tmp_path / "home-checkpoints", tmp_path / f"kept-{number}")
    shutil.move(tmp_path / "kept-0", tmp_path / "home-checkpoints")
    with make_studio(tmp_path) as studio, pytest.raises(ProofError, match="lost or replaced"):
        studio.checkpointer()


def test_a_folder_outside_that_cannot_be_made_stops_nothing(tmp_path, caplog):
    (tmp_path / "home-checkpoints").touch()
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(request(studio))
        studio.checkpointer().checkpoint()
        studio.checkpointer().checkpoint()
    said = [record for record in caplog.records if "outside the home" in record.message]
    assert len(said) == 1


# -- consent after a restore -------------------------------------------------------------------


def test_consent_is_closed_until_a_registrar_confirms(moved_on, paths):
    folder, release, _, _, _ = moved_on
    restore(folder / "backup", paths, paths.ledger)
    with open_container(paths=paths) as studio:
        vars(studio)["generator"] = lambda _model: PlainGenerator()
        assert as_owner(studio).consent.restoration() is not None
        with pytest.raises(ConsentRefusedError, match="restored from a backup"):
            as_owner(studio).generation.create(request(studio))
        with pytest.raises(OutputWithdrawnError, match="restored from a backup"):
            as_owner(studio).outputs.audio_file(release.output_id)
        assert {answer.reason for answer in as_owner(studio).catalog.tag_status()} == {"closed"}
        # What the holder had revoked is imported again, and only then is consent opened.
        preview = as_owner(studio).consent.preview_revocation("house-catalogue-2026")
        assert preview.dark_tags, "a preview says what would go dark once consent is open"
        assert as_owner(studio).consent.import_file(file_of(revocation("house-catalogue-2026"))).ok
        entry = as_owner(studio).consent.confirm_restore()
        assert studio.ledger().entry(entry).kind == "restore-confirmed"
        assert as_owner(studio).consent.restoration() is None
        with pytest.raises(ConsentRefusedError, match="revoked"):
            as_owner(studio).generation.create(request(studio))
        with pytest.raises(UsageError, match="not closed"):
            as_owner(studio).consent.confirm_restore()
        mirrored = [event.event for event in studio.security_log().events()]
        assert "restore-confirmed" in mirrored


def test_consent_opens_again_where_nothing_is_missing(made, backup, paths):
    restore(backup, paths, paths.ledger)
    with make_at(paths) as studio:
        assert not as_owner(studio).catalog.decide([GRANTED]).allowed
        then_now = as_owner(studio).verification.verify(made[1].path).consent
        assert {line.now for line in then_now} == {"unconfirmed"}
        as_owner(studio).consent.confirm_restore()
        assert {
            line.now for line in as_owner(studio).verification.verify(made[1].path).consent
        } == {"granted"}
        assert as_owner(studio).catalog.decide([GRANTED]).allowed
        assert as_owner(studio).outputs.audio_file(made[1].output_id).exists()


@pytest.mark.parametrize(
    ("role", "may"), [("artist", False), ("verifier", False), ("registrar", True)]
)
def test_who_may_confirm(made, backup, paths, role, may):
    from studio.accounts.permissions import Actor
    from studio.core.errors import AccessDeniedError

    restore(backup, paths, paths.ledger)
    with open_container(paths=paths) as studio:
        acting = Session(studio, Actor("0" * 32, "x", _role(role)))
        if may:
            acting.consent.confirm_restore()
        else:
            with pytest.raises(AccessDeniedError):
                acting.consent.confirm_restore()
            assert as_owner(studio).consent.restoration() is not None


# -- all or nothing ----------------------------------------------------------------------------


def test_a_half_restored_home_is_refused_and_begun_anew(made, backup, paths, monkeypatch):
    from studio.app.operation import restore as module

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "copy_file", full)
        with pytest.raises(Exception, match="No space left"):
            restore(backup, paths, paths.ledger)
    assert (paths.home / RESTORE_MARKER).exists()
    with open_container(paths=paths) as studio, pytest.raises(ConfigError, match="interrupted"):
        studio.ledger()
    (paths.home / "outputs").mkdir(exist_ok=True)
    (paths.home / "outputs" / "of-the-first-try.wav").touch()
    restore(backup, paths, paths.ledger)
    assert not (paths.home / RESTORE_MARKER).exists()
    with open_container(paths=paths) as studio:
        assert studio.ledger().verify().ok
        assert [path.name for path in studio.paths.outputs.iterdir()] == [made[1].path.name]


def test_keys_that_were_there_are_not_lost_to_a_restore(made, backup, paths):
    (paths.home / "keys").mkdir(parents=True)
    key = paths.home / "keys" / "epoch-0001.key"
    key.write_text("another studio's key")
    with pytest.raises(UsageError, match="another key"):
        restore(backup, paths, paths.ledger)
    assert key.read_text() == "another studio's key"
    assert not (paths.home / RESTORE_MARKER).exists()
    shutil.copy(backup / "keys" / "epoch-0001.key", key)
    restore(backup, paths, paths.ledger)


@pytest.mark.needs("postgresql")
def test_a_restore_into_postgresql_that_was_interrupted_goes_on(
    made, backup, paths, postgresql_url, monkeypatch
):
    from studio.app.operation import restore as module

    def broken(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    for name in ("copy_rows", "sync_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, broken)
            with pytest.raises(Exception, match="No space left"):
                restore(backup, paths, postgresql_url)
            (paths.home / RESTORE_MARKER).touch()  # where it was removed, but not for good
    restored = restore(backup, paths, postgresql_url)
    monkeypatch.setenv("STUDIO_DATABASE_URL", postgresql_url)
    with open_container(paths=paths) as studio:
        assert studio.ledger().verify().ok
        assert studio.ledger().size() == restored.manifest.size + 1
    with pytest.raises(UsageError, match="already"):
        restore(backup, StudioPaths(paths.home / "x", paths.configs), postgresql_url)


# -- what is in a backup -----------------------------------------------------------------------


def test_a_withdrawn_output_is_in_no_backup_and_stops_none(tmp_path, paths):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(request(studio))
        studio.ledger().append(
            "withdrawal",
            {"output_id": release.output_id, "grant": "x", "file_sha256": release.sha256},
        )
        release.path.unlink()
        backup_of(studio, tmp_path / "backup")
    assert not any((tmp_path / "backup" / "outputs").iterdir())
    restore(tmp_path / "backup", paths, paths.ledger)


def test_a_checkpoint_signed_while_the_backup_is_made_is_not_in_it(tmp_path, paths, monkeypatch):
    from studio.app.operation import backup as module

    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(request(studio))
        copy = module._copy_outputs

        def meanwhile(*args):
            studio.ledger().append("refusal", {"while": "the backup is made"})
            studio.checkpointer().checkpoint()
            copy(*args)

        monkeypatch.setattr(module, "_copy_outputs", meanwhile)
        backup_of(studio, tmp_path / "backup")
    restore(tmp_path / "backup", paths, paths.ledger)
    with open_container(paths=paths) as studio:
        studio.checkpointer()  # does not hold the ledger against more than was backed up
