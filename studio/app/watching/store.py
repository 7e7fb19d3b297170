"""Stored state of a watched folder: verified files and unsent notifications.

A small SQLite file outside the folder, for one process at a time. An examination is begun here
before it is made, with the size of the ledger, and is done together with the message about it. So
after a crash it is known which examination was cut off, and where the ledger may hold its entry.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from studio.app.watching.arrivals import Arrival
from studio.core.errors import ConfigError, UsageError

__all__ = ["Message", "WatchStore"]

_MOST_MESSAGES = 50_000  # that wait; the oldest beyond them are given up

_TABLES = """
CREATE TABLE IF NOT EXISTS file (
    name BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, inode INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS examined (
    sha256 TEXT PRIMARY KEY, ledger_size INTEGER NOT NULL, answer TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL,
    made REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS message_due ON message (due, number);
"""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that waits to be sent."""

    number: int
    id: str
    body: bytes
    made: float  # Unix time
    tries: int


class WatchStore:
    """The records of one folder, and of one case if the folder is watched for one.

    Args:
        folder: of all stores; made where it is not there.
        watched: the folder that is watched.
        case_id: of the case that the files go to; empty for none.

    Raises:
        UsageError: another process watches the folder.
        ConfigError: the records cannot be read or written.
    """

    def __init__(self, folder: Path, watched: Path, case_id: str = "") -> None:
        named = os.fsencode(watched.resolve()) + b"\0" + case_id.encode()
        key = sha256(named).hexdigest()[:24]
        self.path = folder / f"{key}.db"
        self.spool = folder / f"{key}.files"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = _lock(folder / f"{key}.lock", watched)
            try:
                shutil.rmtree(self.spool, ignore_errors=True)  # a crash left it
                self.spool.mkdir(mode=0o700)
                self._database = self.connect()
                self._database.executescript(_TABLES)
                self.path.chmod(0o600)
            except BaseException:
                os.close(self._lock)
                raise
        except (OSError, sqlite3.Error) as exc:
            raise ConfigError(f"the records of the watched folder: {self.path}: {exc}") from exc

    def connect(self) -> sqlite3.Connection:
        """A connection for one thread."""
        database = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        return database

    def is_known(self, arrival: Arrival) -> bool:
        """Whether this very file was dealt with, by name, size, times and inode."""
        row = self._database.execute(
            "SELECT size, modified, changed, inode FROM file WHERE name = ?",
            (os.fsencode(arrival.name),),
        ).fetchone()
        return bool(row == (arrival.size, arrival.modified_ns, arrival.changed_ns, arrival.inode))

    def is_same_name(self, arrival: Arrival) -> bool:
        """Whether a file of that name was dealt with before."""
        row = self._database.execute(
            "SELECT 1 FROM file WHERE name = ?", (os.fsencode(arrival.name),)
        ).fetchone()
        return row is not None

    def answer_of(self, digest: str) -> Mapping[str, Any] | None:
        """What was answered about a content; None where it was not examined to the end."""
        row = self._database.execute(
            "SELECT answer FROM examined WHERE sha256 = ?", (digest,)
        ).fetchone()
        return None if row is None or row[0] is None else dict(json.loads(row[0]))

    def begin(self, digest: str, ledger_size: int) -> int | None:
        """An examination begins. The ledger's size at its first beginning, if it was cut off."""
        row = self._database.execute(
            "SELECT ledger_size FROM examined WHERE sha256 = ?", (digest,)
        ).fetchone()
        if row is not None:
            return int(row[0])
        self._database.execute(
            "INSERT INTO examined (sha256, ledger_size) VALUES (?, ?)", (digest, ledger_size)
        )
        return None

    def done(
        self,
        arrival: Arrival,
        digest: str | None,
        answer: Mapping[str, Any],
        message: tuple[str, bytes] | None = None,
    ) -> None:
        """A file was dealt with. ``message``: id and body of what others are to be told."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.execute(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)",
                (
                    os.fsencode(arrival.name),
                    *(arrival.size, arrival.modified_ns, arrival.changed_ns, arrival.inode),
                ),
            )
            if digest is not None:
                self._database.execute(
                    "UPDATE examined SET answer = ? WHERE sha256 = ? AND answer IS NULL",
                    (json.dumps(answer), digest),
                )
            if message is not None:
                self._database.execute(
                    "INSERT INTO message (id, body, made) VALUES (?, ?, ?)",
                    (*message, time.time()),
                )
                self._database.execute(
                    "DELETE FROM message WHERE number <= (SELECT MAX(number) FROM message) - ?",
                    (_MOST_MESSAGES,),
                )
            self._database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._database.close()
        shutil.rmtree(self.spool, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(path: Path, watched: Path) -> int:
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise UsageError(
            f"{watched} is being watched by another process; one at a time is enough"
        ) from exc
    return descriptor
