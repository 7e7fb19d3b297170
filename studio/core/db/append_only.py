"""Append-only tables, on SQLite and PostgreSQL, enforced by triggers.

UPDATE and DELETE are refused whoever asks, as are SQLite's ``INSERT OR REPLACE`` (which deletes
without firing a DELETE trigger) and PostgreSQL's ``TRUNCATE`` and ``ON CONFLICT DO UPDATE``. The
refusal is an integrity error that says "<table> is append-only". Whoever may change the schema can
drop a trigger; that is found by the ledger's checkpoints, not here.

In a migration::

    op.create_table("grant_record", sa.Column("grant_id", sa.String(64), primary_key=True), ...)
    make_append_only(op, "grant_record", ["grant_id"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["guard_names", "make_append_only", "make_immutable", "missing_guards"]

_FUNCTION = "studio_append_only"

# 23000 is integrity_constraint_violation: the driver raises an IntegrityError, as SQLite's does.
_POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '23000';
END $$
"""


def make_append_only(op: Any, table: str, *unique_keys: Sequence[str]) -> None:
    """Refuse every change of a row of ``table`` from now on; may be repeated for the same table.

    ``op`` is Alembic's (or anything with its ``execute`` and ``get_bind``). Each of ``unique_keys``
    names the columns of one primary key or unique constraint, *all* of which must be given: by any
    of them SQLite could otherwise replace a row. Names come from migrations, never from outside.
    """
    _guard(op, table, unique_keys, deletable=False)


def make_immutable(op: Any, table: str, *unique_keys: Sequence[str]) -> None:
    """As :func:`make_append_only`, but a row may be deleted: it is there as written, or not."""
    _guard(op, table, unique_keys, deletable=True)


def _guard(op: Any, table: str, unique_keys: Sequence[Sequence[str]], *, deletable: bool) -> None:
    if not unique_keys:
        raise ValueError(f"the unique keys of {table} must be named")
    dialect = op.get_bind().dialect.name
    statements = {"sqlite": _sqlite, "postgresql": _postgresql}[dialect](table, unique_keys)
    deleting = f"CREATE TRIGGER {table}_no_delete "
    for statement in statements:
        if not (deletable and statement.startswith(deleting)):
            op.execute(statement)


def guard_names(dialect: str, table: str) -> tuple[str, ...]:
    """The triggers that guard a table of :func:`make_append_only`.

    >>> guard_names("sqlite", "output")
    ('output_no_update', 'output_no_delete', 'output_no_replace')
    """
    verbs = ("update", "delete", "replace" if dialect == "sqlite" else "truncate")
    return tuple(f"{table}_no_{verb}" for verb in verbs)


def missing_guards(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Triggers of append-only tables that are not there, or are switched off."""
    dialect = connection.dialect.name
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')",
    }[dialect]
    there = set(connection.scalars(text(query)))
    return [name for table in tables for name in guard_names(dialect, table) if name not in there]


def _sqlite(table: str, unique_keys: Sequence[Sequence[str]]) -> list[str]:
    update, delete, replace = guard_names("sqlite", table)
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    same_key = " OR ".join(
        "(" + " AND ".join(f"{column} = NEW.{column}" for column in key) + ")"
        for key in unique_keys
    )
    there = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_key})"  # noqa: S608 - constants
    return [
        *(f"DROP TRIGGER IF EXISTS {name}" for name in (update, delete, replace)),
        f"CREATE TRIGGER {update} BEFORE UPDATE ON {table} {refuse}",
        f"CREATE TRIGGER {delete} BEFORE DELETE ON {table} {refuse}",
        f"CREATE TRIGGER {replace} BEFORE INSERT ON {table} {there} {refuse}",
    ]


def _postgresql(table: str, _unique_keys: Sequence[Sequence[str]]) -> list[str]:
    update, delete, truncate = guard_names("postgresql", table)
    call = f"EXECUTE FUNCTION {_FUNCTION}()"
    return [
        _POSTGRESQL_FUNCTION,
        *(f"DROP TRIGGER IF EXISTS {name} ON {table}" for name in (update, delete, truncate)),
        f"CREATE TRIGGER {update} BEFORE UPDATE ON {table} FOR EACH ROW {call}",
        f"CREATE TRIGGER {delete} BEFORE DELETE ON {table} FOR EACH ROW {call}",
        f"CREATE TRIGGER {truncate} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}",
    ]
