"""Databases for tests: a SQLite file, and a throw-away PostgreSQL server, one for a whole session.

``tests/conftest.py`` makes the fixtures known everywhere:

* ``postgresql_url``: the URL of an empty PostgreSQL database of the test's own;
* ``database_location``: each test runs twice, over a SQLite file and over such a URL; both are what
  :meth:`studio.core.db.database.Database.open` and
  :meth:`studio.provenance.ledger.log.Ledger.open` take.
"""

from __future__ import annotations

import functools
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.core.db.database import Database
from studio.provenance.ledger.log import Ledger
from watermark.util.files import create_file

_numbers = itertools.count()


@functools.cache
def _newest() -> bytes:
    with tempfile.TemporaryDirectory(prefix="newest-") as folder:
        file = Path(folder) / "ledger.db"
        Database.open(file).close()
        return file.read_bytes()


def place_database(file: Path) -> None:
    """An empty SQLite database of the newest schema, made by the migrations once a session.

    Nothing is done where the file is there already, or the database is a server's.
    """
    if not file.exists() and "STUDIO_DATABASE_URL" not in os.environ:
        file.parent.mkdir(parents=True, exist_ok=True)
        create_file(file, _newest())


def postgresql_bin() -> Path | None:
    """The newest PostgreSQL server's programs: Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    on_path = shutil.which("initdb")
    candidates = [*reversed(folders), *([Path(on_path).parent] if on_path else [])]
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Server:
    """One PostgreSQL server on a socket in a folder of its own; nothing listens on a network."""

    def __init__(self, *, fsync: bool = False) -> None:
        found = postgresql_bin()
        assert found is not None, "tests that want it are marked needs('postgresql')"
        self._bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            entry = pwd.getpwnam(self._user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._run("initdb", "-D", "data", "-U", "studio", "-A", "trust", "-N", "-E", "UTF8",
                  "--locale=C")  # fmt: skip
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.folder,
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "max_connections": 60,
            "shared_buffers": "64MB",
        }
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        with (self.folder / "data/postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "start")

    def stop(self) -> None:
        """As a crash would: nobody is asked."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://studio@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, statement: str, *, database: str = "postgres") -> list[tuple]:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            cwd=self.folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # No pipe: the server would inherit it and keep it open.
            stderr=subprocess.DEVNULL,
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
        )


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """The session's server; started when a test first wants it, removed at the end."""
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """An empty PostgreSQL database of the test's own."""
    url = postgresql_server.make_database()
    yield url
    name = url.partition("?")[0].rpartition("/")[2]
    postgresql_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))]
)
def database_location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is, of either kind."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def database(database_location: Path | str) -> Iterator[Database]:
    """An empty database with its tables, of either kind."""
    if isinstance(database_location, Path):
        place_database(database_location)
    database = Database.open(database_location)
    yield database
    database.close()


@pytest.fixture
def ledger(tmp_path: Path, database_location: Path | str) -> Iterator[Ledger]:
    """An empty ledger in a database of either kind."""
    if isinstance(database_location, Path):
        place_database(database_location)
    ledger = Ledger.open(database_location, outputs=tmp_path)
    yield ledger
    ledger.close()
