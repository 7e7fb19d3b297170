"""One byte of the database changed, and whether ``studio ledger verify`` finds it.

``flips`` changes one random bit anywhere in the file. What it changed is worked out from the rows
before and after, so that a flip in unused space counts as none. ``columns`` changes one value in
every column of every table, with the triggers out of the way, as an insider would.

What no entry of the ledger speaks of is counted apart: sessions and waits after failed sign-ins,
counters of quotas, dates of accounts and reservations.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner

from studio.accounts.permissions import Role
from studio.app.session import Session
from studio.cli.main import cli
from studio.core.errors import StudioError
from tests.support.consent import file_of, grant, revocation
from tests.support.studios import PlainGenerator, as_owner, make_studio

PASSWORD = "correct horse battery staple"
Say = Callable[[str], None]

APART: dict[str, set[str]] = {
    "account_session": {"*"},
    "login_throttle": {"*"},
    "generation_use": {"*"},
    "near_duplicate": {"*"},
    "account": {"created_at", "signed_in_at"},
    "seal_reservation": {"reserved_at"},
    "output_owner": {"reserved_at"},
    "key_record": {"recorded_at"},
}
"""Columns that are neither a right nor a record that an entry speaks of."""


@dataclass
class Found:
    """How many changes were found."""

    what: str
    changes: int = 0
    harmless: int = 0  # in unused space: no row, no table and no index is another
    matter: int = 0  # changed a right or a record, or made something unreadable
    found: int = 0  # of those
    apart: int = 0  # changed what no entry speaks of
    apart_found: int = 0
    unclear: int = 0  # found, but not said in a line
    missed: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.what}: {self.found} of {self.matter} changes of a right or a record found, "
            f"{self.apart_found} of {self.apart} others; {self.harmless} changed nothing; "
            f"{self.unclear} not said in a clear line"
        )


def make_home(folder: Path) -> Path:
    """A studio with something in every table, closed; the path of its database."""
    with make_studio(folder, generator=PlainGenerator()) as studio:
        accounts = studio.accounts()
        accounts.add("ada", Role.ADMINISTRATOR, PASSWORD, by=None)
        for name, role in (("bob", Role.ARTIST), ("eve", Role.VERIFIER), ("roy", Role.REGISTRAR)):
            accounts.add(name, role, PASSWORD, by=None)
        accounts.disable("eve", by=None)
        session = accounts.sign_in("bob", PASSWORD, address="192.0.2.1")
        with suppress(StudioError):
            accounts.sign_in("bob", "wrong", address="192.0.2.1")
        bob = Session(studio, session.actor)
        first = bob.generation.create(
            as_owner(studio).generation.request(
                ["genre/jazz"], duration_s=3, seed=1, title="A title"
            )
        )
        bob.generation.vary(first.output_id, seed=2)
        bob.generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=3, seed=1)
        )  # a near-duplicate
        as_owner(studio).consent.import_file(file_of(grant("g1"), revocation("g1")))
        as_owner(studio).operation.rotate_key("ledger")
        as_owner(studio).operation.rotate_key("seal")
        as_owner(studio).verification.verify(first.path)
        studio.security_log().anchor(studio.ledger())
        studio.checkpointer().checkpoint()
    database = folder / "home" / "ledger.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return database


def flips(folder: Path, count: int, *, seed: int = 0, say: Say = lambda _line: None) -> Found:
    """Flip ``count`` random bits, one at a time."""
    rng, found = random.Random(seed), Found("flipped bits")
    database = make_home(folder)
    whole, before = database.read_bytes(), _rows(database)
    for number in range(count):
        offset, bit = rng.randrange(len(whole)), rng.randrange(8)
        spoilt = bytearray(whole)
        spoilt[offset] ^= 1 << bit
        _put(database, bytes(spoilt))
        changed = _difference(before, _rows(database))
        _count(found, folder, f"bit {bit} of byte {offset}", changed)
        say(f"{number + 1}/{count} byte {offset}: {', '.join(sorted(changed)) or 'nothing'}")
    return found


def columns(folder: Path, *, say: Say = lambda _line: None) -> Found:
    """Change one value in every column of every table that has a row."""
    found = Found("changed columns")
    database = make_home(folder)
    whole, before = database.read_bytes(), _rows(database)
    for table, (names, rows) in sorted(before.items()):
        for at, column in enumerate(names):
            values = [row[at] for row in rows if row[at] is not None]
            if table in ("alembic_version", "schema") or not values:
                continue
            _put(database, whole)
            _change(database, table, column, values[-1])
            changed = _difference(before, _rows(database))
            _count(found, folder, f"{table}.{column}", changed)
            say(f"{table}.{column}: {', '.join(sorted(changed)) or 'nothing'}")
    return found


def _change(database: Path, table: str, column: str, value: object) -> None:
    other: object
    if isinstance(value, bytes):
        other = bytes([value[0] ^ 1]) + value[1:] if value else b"x"
    elif isinstance(value, str):
        other = chr(ord(value[0]) ^ 1) + value[1:] if value else "x"
    else:
        other = value + 1  # type: ignore[operator] # an integer or a float
    connection = sqlite3.connect(database)
    with connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = "
            f"(SELECT max(rowid) FROM {table} WHERE {column} = ?)",
            (other, value),
        )
        for _, sql in triggers:
            connection.execute(sql)
    connection.close()


def _count(found: Found, folder: Path, what: str, changed: set[str]) -> None:
    """Run the command on the changed database, and enter what came of it."""
    code, said = _verify(folder)
    is_found = code != 0
    found.changes += 1
    if is_found and (said is None or not said.strip()):
        found.unclear += 1
        found.missed.append(f"{what} ({', '.join(sorted(changed))}): no clear line")
    if not changed:
        found.harmless += 1
    elif all(_is_apart(name) for name in changed):
        found.apart += 1
        found.apart_found += is_found
    else:
        found.matter += 1
        found.found += is_found
        if not is_found:
            found.missed.append(f"{what} ({', '.join(sorted(changed))})")


def _is_apart(name: str) -> bool:
    table, _, column = name.partition(".")
    return column in APART.get(table, ()) or "*" in APART.get(table, ())


def _verify(folder: Path) -> tuple[int, str | None]:
    """Exit code of ``studio ledger verify``, and what it said; None where that is a traceback."""
    environment = {
        "STUDIO_HOME": str(folder / "home"),
        "STUDIO_CONFIGS": str(folder / "configs"),
        "PATH": os.environ["PATH"],
    }
    done = CliRunner().invoke(cli, ["--as-owner", "ledger", "verify"], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 1, None
    return done.exit_code, done.output


def _put(database: Path, content: bytes) -> None:
    for part in ("-wal", "-shm", "-journal"):
        database.with_name(database.name + part).unlink(missing_ok=True)
    database.write_bytes(content)


_Rows = dict[str, tuple[list[str], list[tuple[object, ...]]]]


def _rows(database: Path) -> _Rows | None:
    """Every row of every table, texts as bytes; None where they cannot be read."""
    copy = database.with_name("looked-at.db")
    shutil.copyfile(database, copy)
    connection = sqlite3.connect(copy)
    try:
        connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return None
        names = ["type", "name", "tbl_name", "sql"]
        order = "ORDER BY type, name"  # dropped and made again, they stand elsewhere
        wanted = ", ".join(names)
        schema = connection.execute(f"SELECT {wanted} FROM sqlite_master {order}").fetchall()
        found: _Rows = {"schema": (names, schema)}
        for name in [row[1] for row in schema if row[0] == "table"]:
            rows = connection.execute(f"SELECT * FROM {name}")
            found[name] = ([column[0] for column in rows.description], rows.fetchall())
        return found
    except sqlite3.Error:
        return None
    finally:
        connection.close()
        copy.unlink()


def _difference(before: _Rows | None, after: _Rows | None) -> set[str]:
    """``table.column`` of everything that differs; ``database`` where it cannot be read."""
    assert before is not None
    if after is None:
        return {"database"}
    changed = set()
    for table in {*before, *after}:
        if before.get(table) == after.get(table):
            continue
        names, old = before.get(table, ([], []))
        same, new = after.get(table, ([], []))
        if names != same or len(old) != len(new):
            changed.add(f"{table}.*")
            continue
        for one, other in zip(old, new, strict=True):
            changed |= {
                f"{table}.{name}" for name, a, b in zip(names, one, other, strict=True) if a != b
            }
    return changed
