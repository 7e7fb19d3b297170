"""Open the database: newest schema, durable, one writer at a time.

It is a SQLite file by default, or a PostgreSQL database by URL. Every transaction that writes holds
the one write lock from its start, so that two processes can never both read the same tail of the
ledger and append to it: ``BEGIN IMMEDIATE`` there, an advisory lock here. A committed transaction
survives loss of power: SQLite runs with write-ahead log and ``synchronous=FULL``, PostgreSQL with
``synchronous_commit`` on.

>>> location_of("postgresql://studio@db.example/studio", Path("unused"))
'postgresql://studio@db.example/studio'
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from studio.core.errors import ConfigError, LedgerError
from studio.core.home import is_read_only, locked
from watermark.util.files import create_file

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import URL, Connection, Engine

__all__ = ["Database", "location_of"]

_BUSY_TIMEOUT_S = 30.0
_DAMAGED = (
    "the database is damaged: a text in it is not UTF-8; `studio ledger verify` says what can be "
    "found, then restore the newest backup"
)
_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITE_LOCK = 0x53_54_55_44_49_4F  # "STUDIO": names our advisory lock within one database


def location_of(
    url: str | None, default: Path, *, environ: Mapping[str, str] | None = None
) -> Path | str:
    """Where the database is: ``$STUDIO_DATABASE_URL``, else the configured URL, else the file."""
    env = os.environ if environ is None else environ
    return env.get("STUDIO_DATABASE_URL") or url or default


class Database:
    """One database. Safe to use from several threads and several processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file: Path | None = None  # of SQLite
        self._identity: tuple[int, int] | None = None  # device and inode of that file
        self._copy_of: Path | None = None  # a file that may only be read: this is a copy of it
        self._leading = threading.Lock()
        self._leads: dict[str, Connection] = {}  # each holds the lock of what this process leads

    @classmethod
    def open(cls, location: Path | str) -> Database:
        """Open, make or migrate a SQLite file (a path) or a PostgreSQL database (a URL).

        Raises :class:`ConfigError` for a URL of any other kind, :class:`LedgerError` where the
        database cannot be opened.
        """
        url = _url(location)
        if url.get_backend_name() == "sqlite":
            file = Path(str(url.database))
            if file.exists() and not (os.access(file, os.W_OK) and not is_read_only(file.parent)):
                return cls._open_copy(file)
            _make_file(file)
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
            event.listen(engine, "connect", _configure_sqlite)
        else:
            # A connection that a restart of the server has cut is replaced before it is used.
            engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
            event.listen(engine, "connect", _configure_postgresql)
        database = cls(engine)
        try:
            with locked(Path(str(url.database)).parent) if database._is_file else nullcontext():
                database._migrate()
            if url.get_backend_name() == "sqlite":
                database._file = Path(str(url.database))
                database._identity = _identity(database._file)
        except SQLAlchemyError as exc:
            engine.dispose()
            raise LedgerError(f"cannot open the ledger {_name(url)}: {_short(exc)}") from exc
        except UnicodeDecodeError as exc:
            engine.dispose()
            raise LedgerError(_DAMAGED) from exc
        except LedgerError:
            engine.dispose()
            raise
        return database

    @classmethod
    def _open_copy(cls, file: Path) -> Database:
        """A copy of a file that may only be read, as it is now; nothing is written to either."""
        folder = Path(tempfile.mkdtemp(prefix="studio-database-"))
        try:
            _copy_file(file, folder / file.name)
            database = cls.open(folder / file.name)
        except OSError as exc:
            shutil.rmtree(folder, ignore_errors=True)
            raise LedgerError(f"cannot read the ledger {file.name}: {exc.strerror}") from exc
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        database._copy_of = file
        weakref.finalize(database, shutil.rmtree, folder, ignore_errors=True)
        return database

    @property
    def read_only(self) -> bool:
        """Whether the database may only be read: it lies in a home that cannot be written."""
        return self._copy_of is not None

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return self._file

    @property
    def _is_file(self) -> bool:
        return self.dialect == "sqlite"

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @property
    def url(self) -> URL:
        """Where it is; its text form hides a password."""
        return self._engine.url

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one consistent state. Raises :class:`LedgerError`."""
        try:
            with self._connected() as connection:
                if self.dialect == "sqlite":
                    connection.execute(text("BEGIN"))
                else:
                    connection.execution_options(  # of this connection, until it is given back
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                try:
                    yield connection
                finally:
                    connection.rollback()
        except SQLAlchemyError as exc:
            raise LedgerError(f"cannot read the ledger: {_short(exc)}") from exc
        except UnicodeDecodeError as exc:
            raise LedgerError(_DAMAGED) from exc

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The only writer until the block ends; commits then, or rolls back on any exception."""
        if self._copy_of is not None:
            raise LedgerError(
                f"{self._copy_of} may only be read by this user, so nothing can be recorded"
            )
        try:
            with self._connected() as connection:
                self._lock(connection)
                with _committed(connection):
                    yield connection
        except SQLAlchemyError as exc:
            raise LedgerError(f"cannot write to the ledger: {_short(exc)}") from exc
        except UnicodeDecodeError as exc:
            raise LedgerError(_DAMAGED) from exc

    @contextmanager
    def sharing(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction beside other writers, for rows that no ledger entry depends on.

        On PostgreSQL it takes no lock but those of its rows, so that the line of jobs and the
        limits of many servers do not wait for each other; on SQLite it is :meth:`writing`.
        ``durable`` False lets a crash of the database server lose the latest of them.
        """
        if self.dialect == "sqlite":
            with self.writing() as connection:
                yield connection
            return
        try:
            with self._connected() as connection:
                if not durable:
                    connection.execute(text("SET LOCAL synchronous_commit = off"))
                with _committed(connection):
                    yield connection
        except SQLAlchemyError as exc:
            raise LedgerError(f"cannot write to the database: {_short(exc)}") from exc

    def now_s(self, connection: Connection) -> float:
        """Seconds since 1970 by the database's clock, which all that share it agree on."""
        if self.dialect == "sqlite":
            return time.time()
        clock = text("SELECT extract(epoch FROM clock_timestamp())")
        return float(connection.scalar(clock) or 0.0)

    def leads(self, what: str) -> bool:
        """Whether this process is the one that does ``what`` for all that share the database.

        The first to ask leads until it ends, or its connection does; then the next one that asks.
        A SQLite file has no server to remember a leader: there everybody leads.

        Raises :class:`LedgerError` where the database cannot be asked.
        """
        if self.dialect == "sqlite":
            return True
        with self._leading:
            held = self._leads.get(what)
            try:
                if held is not None:
                    held.execute(text("SELECT 1"))
                    return True
            except SQLAlchemyError:  # the server was restarted, and the lock went with it
                self._resign(what)
            try:
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                lock = int.from_bytes(hashlib.sha256(what.encode()).digest()[:7], "big")
                query = text("SELECT pg_try_advisory_lock(:lock)")
                if connection.scalar(query, {"lock": lock}):
                    self._leads[what] = connection
                    return True
                connection.close()
            except SQLAlchemyError as exc:
                raise LedgerError(f"cannot ask the database: {_short(exc)}") from exc
            return False

    def _resign(self, what: str) -> None:
        """End the connection that holds a leader's lock, and the lock with it."""
        held = self._leads.pop(what, None)
        if held is not None:
            with suppress(SQLAlchemyError):
                held.invalidate()
            with suppress(SQLAlchemyError):
                held.close()

    def scrub(self, table: str) -> None:
        """Take what was deleted from ``table`` out of the database's files as well.

        Copies elsewhere (backups, an archived write-ahead log) keep it. Raises LedgerError.
        """
        try:
            with self._connected() as connection:
                autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
                if self.dialect == "sqlite":  # secure_delete has overwritten it in the file itself
                    autocommit.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
                else:
                    autocommit.execute(text(f"VACUUM FULL {table}"))
        except SQLAlchemyError as exc:
            raise LedgerError(f"cannot scrub the ledger: {_short(exc)}") from exc

    def close(self) -> None:
        with self._leading:
            for what in list(self._leads):
                self._resign(what)
        self._engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        # SQLite goes on writing into a file that was deleted or replaced: those entries were lost.
        if self._file is not None and _identity(self._file) != self._identity:
            raise LedgerError(
                f"the ledger {self._file.name} was removed or replaced while it was open; "
                "restore it and start again"
            )
        with self._engine.connect() as connection:
            yield connection

    def _lock(self, connection: Connection) -> None:
        if self.dialect == "sqlite":
            connection.execute(text("BEGIN IMMEDIATE"))
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITE_LOCK})

    def _is_newest(self) -> bool:
        """Whether the schema is the newest; asked first, for alembic is slow to import."""
        with self._engine.connect() as connection:
            try:
                found = connection.execute(text("SELECT version_num FROM alembic_version")).all()
            except DBAPIError:  # no such table, or worse: the migration meets it again and says so
                return False
        return [revision for (revision,) in found] == [_newest_revision()]

    def _migrate(self) -> None:
        if self._is_newest():
            return
        from alembic import command
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = _alembic()
        head = ScriptDirectory.from_config(config).get_current_head()
        with self._engine.connect() as connection:
            if MigrationContext.configure(connection).get_current_revision() == head:
                return
            connection.rollback()
            self._lock(connection)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as exc:
                raise LedgerError(
                    f"the database was made by a newer studio than this one: {exc}"
                ) from exc
            connection.commit()


def _alembic() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("recursive_version_locations", "true")
    return config


def _newest_revision() -> str:
    """The last of the migrations, whose files are named ``r0001_ledger.py`` and so on."""
    return max(path.name[1:5] for path in (_MIGRATIONS / "versions").rglob("r????_*.py"))


def _make_file(file: Path) -> None:
    """An empty database that is its owner's alone; what SQLite puts beside it is so, too."""
    try:
        if not file.exists():
            create_file(file, b"")
    except OSError as exc:
        raise LedgerError(f"cannot open the ledger {file.name}: {exc.strerror}") from exc


def _copy_file(file: Path, target: Path) -> None:
    """One consistent state of a SQLite file that may only be read, write-ahead log included."""
    log, shared = (file.with_name(file.name + part) for part in ("-wal", "-shm"))
    if log.exists() and not shared.exists():  # nobody has it open, and SQLite could not begin
        shutil.copyfile(log, target.with_name(target.name + "-wal"))
        shutil.copyfile(file, target)
        return
    # With both, others may be writing; with neither, the file is all there is.
    how = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except sqlite3.Error as exc:
        raise LedgerError(f"cannot read the ledger {file.name}: {exc}") from exc


def _url(location: Path | str) -> URL:
    if isinstance(location, Path):
        return make_url("sqlite+pysqlite://").set(database=str(location))
    try:
        url = make_url(location)
    except ArgumentError:
        raise ConfigError("the database URL cannot be read") from None  # it may hold a password
    drivers = {
        "sqlite": "sqlite+pysqlite",
        "postgresql": "postgresql+psycopg",
        "postgres": "postgresql+psycopg",
    }
    driver = drivers.get(url.drivername.partition("+")[0])
    if driver is None or not url.database:
        raise ConfigError(
            "the database URL must be postgresql://user@host/name or sqlite:////path, "
            f"not {url.render_as_string()}"
        )
    return url.set(drivername=driver)


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver must not begin transactions of its own: BEGIN IMMEDIATE is ours.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _configure_postgresql(connection: Any, _record: Any) -> None:
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{_BUSY_TIMEOUT_S:.0f}s'")
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.autocommit = False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _name(url: URL) -> str:
    """What a person knows it by; never its password."""
    return Path(str(url.database)).name


@contextmanager
def _committed(connection: Connection) -> Iterator[None]:
    """Commit at the end of the block; roll back on any exception."""
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _short(exc: SQLAlchemyError) -> str:
    if isinstance(exc, DBAPIError) and exc.orig is not None:
        return str(exc.orig).strip()
    return str(exc).splitlines()[0]
