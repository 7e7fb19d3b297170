"""Opening the database: migrated to the newest schema, durable, one writer at a time.

SQLite runs with write-ahead log, ``synchronous=FULL`` (a committed transaction survives loss of
power) and ``BEGIN IMMEDIATE`` for every transaction that writes, so that two processes can never
both read the same tail of the ledger and append to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from studio.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Database"]

_BUSY_TIMEOUT_S = 30.0


class Database:
    """One SQLite file. Safe to use from several threads and several processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open, make or migrate the file. Raises :class:`LedgerError`."""
        engine = create_engine(
            f"sqlite+pysqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT_S}
        )
        event.listen(engine, "connect", _configure)
        database = cls(engine)
        try:
            _migrate(engine)
        except SQLAlchemyError as exc:
            engine.dispose()
            raise LedgerError(f"cannot open the ledger {path.name}: {_short(exc)}") from exc
        return database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one consistent state. Raises :class:`LedgerError`."""
        try:
            with self._engine.connect() as connection:
                connection.execute(text("BEGIN"))
                try:
                    yield connection
                finally:
                    connection.rollback()
        except SQLAlchemyError as exc:
            raise LedgerError(f"cannot read the ledger: {_short(exc)}") from exc

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The only writer until the block ends; commits then, or rolls back on any exception."""
        try:
            with self._engine.connect() as connection:
                connection.execute(text("BEGIN IMMEDIATE"))
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
        except SQLAlchemyError as exc:
            raise LedgerError(f"cannot write to the ledger: {_short(exc)}") from exc

    def close(self) -> None:
        self._engine.dispose()


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver must not begin transactions of its own: BEGIN IMMEDIATE is ours.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return
        connection.rollback()
        connection.execute(text("BEGIN IMMEDIATE"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _short(exc: SQLAlchemyError) -> str:
    if isinstance(exc, OperationalError | DBAPIError) and exc.orig is not None:
        return str(exc.orig)
    return str(exc).splitlines()[0]
