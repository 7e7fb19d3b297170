"""Check a database's pages, references and schema.

What stands in the rows is not looked at. A flipped bit in an index, in a table's definition or in a
trigger is found here; one in a row is found by holding the row against the ledger.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from studio.core.db.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["database_faults"]

_SHOWN = 3  # faults of one kind; a broken page has thousands


def database_faults(database: Database) -> Iterator[str]:
    """One line for each fault; none for PostgreSQL, which checks these things itself."""
    if database.dialect != "sqlite":
        return
    with database.reading() as connection:
        for line in connection.execute(text(f"PRAGMA integrity_check({_SHOWN})")).scalars():
            if line != "ok":
                yield f"the database file is damaged: {line}"
        rows = connection.execute(text("PRAGMA foreign_key_check")).all()
        for row in rows[:_SHOWN]:
            yield f"a row of {row[0]} refers to one of {row[2]} that is not there"
        schema = _schema(connection)
    with tempfile.TemporaryDirectory(prefix="studio-schema-") as folder:
        fresh = Database.open(Path(folder) / "fresh.db")
        try:
            with fresh.reading() as connection:
                wanted = _schema(connection)
        finally:
            fresh.close()
    for name in sorted({*schema, *wanted}):
        if schema.get(name) != wanted.get(name):
            what = "missing" if name not in schema else "not the one that the studio makes"
            yield f"in the database's schema {name} is {what}"


def _schema(connection: Connection) -> dict[str, str]:
    """Definitions of tables, indexes and triggers, by kind and name."""
    rows = connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master")).all()
    return {
        f"the {row.type} {row.name}": f"{row.tbl_name}: {' '.join((row.sql or '').split())}"
        for row in rows
        if not row.name.startswith("sqlite_stat")
    }
