"""Opening a database by path or URL, and what happens when it goes away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from studio.core.db import database
from studio.core.db.database import Database, location_of
from studio.core.db.tables.provenance import GUARDED
from studio.core.errors import ConfigError, LedgerError
from studio.provenance.ledger.log import Ledger


def test_the_environment_goes_before_the_configuration_and_that_before_the_file():
    file = Path("ledger.db")
    assert location_of(None, file, environ={}) == file
    assert location_of("postgresql://a/b", file, environ={}) == "postgresql://a/b"
    environ = {"STUDIO_DATABASE_URL": "postgresql://c/d"}
    assert location_of("postgresql://a/b", file, environ=environ) == "postgresql://c/d"


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@h/studio", "postgresql://u:secret@host", "not a url secret"]
)
def test_another_kind_of_url_is_refused_without_showing_its_password(url):
    with pytest.raises(ConfigError, match="database URL") as caught:
        Database.open(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_so_without_the_password(tmp_path):
    with pytest.raises(LedgerError, match="cannot open the ledger studio") as caught:
        Database.open(f"postgresql://u:secret@/studio?host={tmp_path}")
    assert "secret" not in str(caught.value)


def test_a_sqlite_url_is_the_file(tmp_path):
    Database.open(f"sqlite:///{tmp_path / 'x.db'}").close()
    assert (tmp_path / "x.db").exists()


def test_the_newest_migration_is_the_head_of_alembic():
    scripts = ScriptDirectory.from_config(database._alembic())
    assert database._newest_revision() == scripts.get_current_head()


@pytest.mark.slow
def test_a_database_of_the_newest_schema_is_opened_without_alembic(tmp_path):
    Database.open(tmp_path / "x.db").close()
    probe = (
        "import sys; from pathlib import Path; from studio.core.db.database import Database\n"
        "Database.open(Path(sys.argv[1])).close()\n"
        "print('alembic' in sys.modules)"
    )
    for file, expected in ((tmp_path / "x.db", "False"), (tmp_path / "new.db", "True")):
        done = subprocess.run(
            [sys.executable, "-c", probe, str(file)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_removed_or_replaced_while_open_takes_no_more_entries(tmp_path, replaced):
    """SQLite itself would go on and write into the deleted file."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, outputs=tmp_path)
    ledger.append("refusal", {})
    if replaced:
        shutil.copy(path, tmp_path / "copy.db")
        (tmp_path / "copy.db").replace(path)
    else:
        path.unlink()
    for act in (lambda: ledger.append("refusal", {}), ledger.size):
        with pytest.raises(LedgerError, match="removed or replaced"):
            act()
    ledger.close()


@pytest.mark.needs("postgresql")
def test_a_server_that_comes_back_is_used_again(postgresql_server, postgresql_url, tmp_path):
    ledger = Ledger.open(postgresql_url, outputs=tmp_path)
    ledger.append("refusal", {})
    postgresql_server.stop()
    with pytest.raises(LedgerError, match="cannot"):
        ledger.append("refusal", {})
    postgresql_server.start()
    ledger.append("refusal", {})
    assert ledger.verify().ok
    assert ledger.size() == 2
    ledger.close()


@pytest.mark.needs("postgresql")
def test_commits_wait_for_the_disk_even_where_the_server_is_set_otherwise(
    postgresql_server, postgresql_url
):
    name = postgresql_url.partition("?")[0].rpartition("/")[2]
    postgresql_server.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = Database.open(postgresql_url)
    with database.reading() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
    database.close()


def test_a_database_of_a_newer_studio_is_not_touched(database_location):
    database = Database.open(database_location)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(LedgerError, match="newer studio"):
        Database.open(database_location)


def test_a_transaction_that_fails_leaves_nothing(database_location):
    database = Database.open(database_location)
    insert = text("INSERT INTO seal_reservation VALUES ('aa', 1, 'now')")

    def attempt() -> None:
        with database.writing() as connection:
            connection.execute(insert)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attempt()
    with database.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM seal_reservation")) == 0
    database.close()


def test_the_audit_knows_every_append_only_table(tmp_path):
    """A migration that guards a table adds it to GUARDED, or its triggers are not missed."""
    database = Database.open(tmp_path / "x.db")
    with database.reading() as connection:
        query = text("SELECT tbl_name FROM sqlite_master WHERE type='trigger' AND name LIKE :name")
        guarded = set(connection.scalars(query, {"name": "%_no_delete"}))
    database.close()
    assert guarded == set(GUARDED)
