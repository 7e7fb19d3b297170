"""What stands beside the ledger's entries is held against them: every change shows."""

from __future__ import annotations

import shutil
import sqlite3
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from studio.accounts.permissions import Role
from studio.app.container import open_container
from studio.app.operation.backup import back_up
from studio.app.operation.record_audit import record_faults
from studio.cli.main import cli
from studio.core.errors import LedgerError, ProofError
from studio.core.paths import StudioPaths
from studio.provenance.ledger.log import Ledger
from tests.support.ledgers import unguard
from tests.support.studios import PlainGenerator, as_account, as_owner, make_studio

GOLDEN = Path(__file__).parents[1] / "golden"
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Accounts, outputs of two of them, a variation, a rotated key, an erased value."""
    folder = tmp_path_factory.mktemp("made")
    with make_studio(folder, generator=PlainGenerator()) as studio:
        accounts = studio.accounts()
        accounts.add("ada", Role.ADMINISTRATOR, PASSWORD, by=None)
        accounts.add("bob", Role.ARTIST, PASSWORD, by=None)
        accounts.add("eve", Role.ARTIST, PASSWORD, by=None)
        accounts.set_role("eve", Role.VERIFIER, by=None)
        accounts.set_password("eve", PASSWORD + "!", by=None)
        accounts.disable("eve", by=None)
        making = as_account(studio, "bob").generation
        first = making.create(
            making.request(["genre/jazz"], duration_s=3, seed=1, title="A typed title")
        )
        making.vary(first.output_id, seed=2)
        as_owner(studio).operation.rotate_key("ledger")
        studio.ledger().erase(first.entry_index, "title")
        assert record_faults(studio.ledger()) == [], "the negative control"
    return folder


@pytest.fixture
def studio(made, tmp_path):
    shutil.copytree(made / "home", tmp_path / "home")
    with open_container(paths=StudioPaths(tmp_path / "home", made / "configs")) as studio:
        yield studio


CHANGES = {
    "a role": ("UPDATE account SET role = 'administrator' WHERE name = 'bob'", "role of the"),
    "disabled": ("UPDATE account SET disabled = 0 WHERE name = 'eve'", "state of the account"),
    "a password": (
        "UPDATE account SET password_hash = (SELECT password_hash FROM account WHERE name = 'bob')"
        " WHERE name = 'ada'",
        "password of the account",
    ),
    "a name": ("UPDATE account SET name = 'bobby' WHERE name = 'bob'", "name of the account"),
    "a new account": (
        "INSERT INTO account SELECT 'ffff', 'mallory', 'administrator', password_hash, 0, "
        "created_at, NULL, NULL FROM account WHERE name = 'bob'",
        "made by no entry",
    ),
    "an account gone": ("DELETE FROM account WHERE name = 'eve'", "is gone"),
    "an owner": (
        "UPDATE output_owner SET account_id = (SELECT account_id FROM account WHERE name = 'ada')",
        "the owner of the output",
    ),
    "an owner gone": ("DELETE FROM output_owner", "the owner of the output"),
    "a manifest": ("UPDATE manifest SET content = x'00'", "the manifest of the output"),
    "a manifest's label": (
        "UPDATE manifest SET label = label || 'x'",
        "the manifest of the output",
    ),
    "a parent": ("DELETE FROM output_parent", "the parent of the output"),
    "an epoch": ("UPDATE seal_reservation SET epoch = 7", "is not reserved as"),
    "a key": ("UPDATE key_record SET public = 'x' WHERE number = 2", "the ledger key 2"),
    "a value erased": ("DELETE FROM opening", "no entry says that it was erased"),
    "a document gone": (
        "DELETE FROM consent_document WHERE entry_idx = "
        "(SELECT max(entry_idx) FROM consent_document)",
        "consent document of ledger entry",
    ),
    "a document gone from within": (
        "DELETE FROM consent_document WHERE entry_idx = "
        "(SELECT min(entry_idx) FROM consent_document)",
        "consent document of ledger entry",
    ),
    "whose document it is": ("UPDATE consent_document SET holder = 'x'", "is not its own"),
    "an event": ("UPDATE security_event SET detail = 'nothing'", "the security log"),
    "a table more": ("CREATE TABLE extra (x)", "the table extra"),
    "a trigger more": (
        "CREATE TRIGGER quiet AFTER INSERT ON account BEGIN DELETE FROM account_session; END",
        "the trigger quiet",
    ),
}


@pytest.mark.parametrize(("statement", "said"), CHANGES.values(), ids=CHANGES)
def test_a_change_behind_the_ledgers_back_shows(studio, statement, said):
    schema = "CREATE" in statement
    path = studio.paths.ledger
    studio.ledger()
    with sqlite3.connect(path) as connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in [] if schema else triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        for _, sql in [] if schema else triggers:  # and leaves no trace
            connection.execute(sql)
    connection.close()
    assert studio.ledger().verify().ok
    faults = record_faults(studio.ledger())
    assert len(faults) >= 1
    assert any(said in fault for fault in faults), faults


def test_a_database_of_the_first_schema_has_no_fault(tmp_path):
    """Nothing is held against an old home that its entries do not speak of."""
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.executescript((GOLDEN / "ledger-v1.sql").read_text())
    connection.close()
    ledger = Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)
    assert record_faults(ledger) == []
    ledger.close()


def test_a_score_is_held_against_its_release(studio):
    """Its entry has the score's digest; another score in its place is found."""
    output_id = as_owner(studio).outputs.recent(1)[0].output_id
    with studio.database().writing() as connection:
        connection.execute(
            text("DELETE FROM output_score WHERE output_id = :id"), {"id": output_id}
        )
        connection.execute(
            text("INSERT INTO output_score VALUES (:id, :content)"),
            {"id": output_id, "content": zlib.compress(b"{}")},
        )
    faults = record_faults(studio.ledger())
    assert faults == [f"the score of the output {output_id} is not the one its release names"]


def test_a_missing_revocation_closes_consent(studio):
    """Not only the audit says so: without the document nothing is decided."""
    assert as_owner(studio).catalog.decide(["genre/jazz"]).allowed
    with studio.database().writing() as connection:
        unguard(connection)
        connection.execute(
            text(
                "DELETE FROM consent_document WHERE entry_idx = "
                "(SELECT max(entry_idx) FROM consent_document)"
            )
        )
    with pytest.raises(LedgerError, match="missing"):
        as_owner(studio).catalog.decide(["genre/jazz"])


def test_what_is_not_as_the_ledger_says_is_not_backed_up(studio, tmp_path):
    with studio.database().writing() as connection:
        connection.execute(text("UPDATE account SET role = 'administrator'"))
    with pytest.raises(ProofError, match="role of the account"):
        back_up(studio.paths, studio.database(), studio.checkpointer(), tmp_path / "backup")


def test_a_deleted_account_keeps_no_name_and_no_fault(studio):
    name = b"eve"
    assert name in _bytes_of(studio)
    studio.accounts().delete("eve", by=None)
    assert record_faults(studio.ledger()) == []
    with sqlite3.connect(studio.paths.ledger) as connection:
        assert not connection.execute("SELECT * FROM opening WHERE value = 'eve'").fetchall()
    connection.close()


def _bytes_of(studio):
    home = studio.paths.home
    return b"".join(path.read_bytes() for path in home.glob("ledger.db*"))


def test_a_newer_hash_of_the_same_password_is_an_entry(studio, monkeypatch):
    monkeypatch.setattr("studio.accounts.passwords.Passwords.is_outdated", lambda *_: True)
    studio.accounts().sign_in("bob", PASSWORD, address="here")
    assert studio.ledger().entries(kind="account")[-1].body["change"] == "rehashed"
    assert record_faults(studio.ledger()) == []


def test_a_proof_does_not_show_whose_output_it_is(studio):
    release = as_owner(studio).outputs.recent(1)[0]
    assert "owner" in studio.ledger().openings(release.entry_index)
    assert (
        "owner" not in as_owner(studio).outputs.proof(release.output_id, disclose=True)["openings"]
    )


def test_the_command_says_it_in_one_line(studio, made, monkeypatch):
    with sqlite3.connect(studio.paths.ledger) as connection:
        connection.execute("UPDATE account SET role = 'administratos' WHERE name = 'ada'")
    connection.close()
    monkeypatch.setenv("STUDIO_HOME", str(studio.paths.home))
    monkeypatch.setenv("STUDIO_CONFIGS", str(made / "configs"))
    done = CliRunner().invoke(cli, ["--as-owner", "ledger", "verify"])
    assert done.exit_code == 1, done.output
    assert "role of the account" in done.stdout
    assert "all sound" not in done.stdout
    with pytest.raises(LedgerError, match="ledger verify"):
        studio.accounts().all()
