"""Backup of a studio, verified against the ledger's tree head and signed.

A backup is a folder: ``ledger.db`` (SQLite, whatever the studio itself runs on), ``outputs/``,
``checkpoints/``, and ``backup.json`` with ``backup.sig``
(:mod:`studio.app.operation.backup_manifest`). Secret keys are in it only where that was asked for:
whoever has them can forge seals and checkpoints. It is taken while the studio runs; what the
database held at that moment is in it. It is its owner's alone, as the home is.

:mod:`studio.app.operation.restore` puts one into an empty home.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, Table, select

from studio.app.operation.backup_manifest import (
    DATABASE,
    MANIFEST,
    SIGNATURE,
    VERSION,
    Manifest,
    digest_of,
    digests_of,
    sign_manifest,
    write_manifest,
)
from studio.app.operation.record_audit import record_faults
from studio.core.db.database import Database
from studio.core.db.tables.jobs import PASSING
from studio.core.errors import LedgerError, ProofError, UsageError
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.log import Ledger
from watermark.util.files import PRIVATE, create_file, replacing

if TYPE_CHECKING:
    from studio.core.paths import StudioPaths
    from studio.provenance.ledger.checkpoints.checkpointer import Checkpointer
    from studio.provenance.release import Release

__all__ = [
    "SECRET",
    "audited",
    "back_up",
    "copy_file",
    "copy_of",
    "copy_rows",
    "distributed",
    "tables_of",
]

SECRET = ("keys", "credentials")
"""Folders that are in a backup only where that was asked for."""

_CHECKPOINT = re.compile(r"^checkpoint-(\d+)\.(?:txt|tsr)$")
_BATCH = 1000  # rows copied at a time
_BLOCK = 1 << 20  # bytes
_HAND_OUT_S = 5.0  # an entry may be this much older than its file


def back_up(
    paths: StudioPaths,
    database: Database,
    checkpointer: Checkpointer,
    target: Path,
    *,
    with_keys: bool = False,
) -> Manifest:
    """Make a backup in ``target``, which is made or empty, and verify it.

    Raises :class:`UsageError` where ``target`` is not empty and :class:`LedgerError` where anything
    cannot be read, written, or is not as the ledger says.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        begun = "" if (target / MANIFEST).exists() else "; one that was interrupted can be removed"
        raise UsageError(f"{target} is not empty; a backup is never mixed with another{begun}")
    try:
        _make_private(target)
        _export(database, target / DATABASE)
        with copy_of(target) as copy:
            ledger = Ledger(copy, target / "outputs")
            size, head = audited(ledger)
            if faults := record_faults(ledger):
                raise ProofError(
                    f"the database is not as its ledger says: {faults[0]}; nothing was backed up. "
                    "Run `studio ledger verify`"
                )
            _copy_outputs(paths.outputs, ledger, target / "outputs")
        checkpointer.check()
        signer = checkpointer.signer
        for name in ("checkpoints", *(SECRET if with_keys else ())):
            _copy_folder(paths.home / name, target / name, unless=lambda name: _later(name, size))
        manifest = Manifest(
            version=VERSION,
            made_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            size=size,
            tree_head=head.hex(),
            # Over the backup's own ledger, even if the studio's has grown since.
            checkpoint=Checkpoint(signer.name, size, head).sign(signer),
            with_keys=with_keys,
            files=digests_of(target),
        )
        content = write_manifest(manifest)
        create_file(target / SIGNATURE, sign_manifest(content, signer))
        # Last: a folder without it is a backup that was not finished.
        create_file(target / MANIFEST, content)
    except OSError as exc:
        raise LedgerError(f"the backup cannot be written: {exc.strerror or exc}") from exc
    return manifest


def audited(ledger: Ledger) -> tuple[int, bytes]:
    """Size and head of a ledger that is sound. Raises :class:`ProofError` where it is not."""
    audit = ledger.verify()
    if not audit.ok:
        fault = audit.fault or f"the trigger {audit.unguarded[0]} is missing"
        raise ProofError(f"the ledger is not sound: {fault}; run `studio ledger verify`")
    return audit.size, audit.tree_head


def distributed(ledger: Ledger) -> list[Release]:
    """Every release whose audio was not withdrawn, oldest first: the files there have to be."""
    withdrawn = {entry.body["output_id"] for entry in ledger.entries(kind="withdrawal")}
    return [release for release in ledger.releases() if release.output_id not in withdrawn]


@contextmanager
def copy_of(folder: Path) -> Iterator[Database]:
    """The database of a backup, opened in a copy: opening one writes to it."""
    with tempfile.TemporaryDirectory(prefix="studio-backup-") as temporary:
        shutil.copyfile(folder / DATABASE, Path(temporary) / DATABASE)
        database = Database.open(Path(temporary) / DATABASE)
        try:
            yield database
        finally:
            database.close()


def copy_rows(source: Database, target: Database, leave_out: Sequence[str] = ()) -> None:
    """Every row of one database into another of the same schema, or none."""
    with source.reading() as reader, target.writing() as writer:
        for table in tables_of(reader):
            if table.name in leave_out:
                continue
            rows = reader.execute(select(table)).mappings()
            for batch in rows.partitions(_BATCH):
                writer.execute(table.insert(), [dict(row) for row in batch])


def tables_of(connection: Any) -> list[Table]:
    """Every table but Alembic's own, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its time, whole or not at all, readable by its owner only."""
    with source.open("rb") as original, replacing(target, mode=PRIVATE) as copy:
        shutil.copyfileobj(original, copy, _BLOCK)
        status = os.fstat(original.fileno())
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _export(database: Database, path: Path) -> None:
    """The database as it is at this moment, as a SQLite file."""
    if database.dialect == "sqlite":
        create_file(path, b"")  # SQLite's own rights would be those of every new file
        with (
            closing(sqlite3.connect(str(database.url.database))) as source,
            closing(sqlite3.connect(path)) as target,
        ):
            try:
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")
            except sqlite3.Error as exc:
                raise LedgerError(f"the backup of the database failed: {exc}") from exc
        return
    copy = Database.open(path)
    try:
        copy_rows(database, copy, PASSING)
    finally:
        copy.close()


def _copy_outputs(outputs: Path, ledger: Ledger, target: Path) -> None:
    """Every released file and what lies beside it, each with the digest in its entry."""
    _make_private(target)
    deadline = time.monotonic() + _HAND_OUT_S
    for release in distributed(ledger):
        source = outputs / release.path.name
        while not source.exists() and time.monotonic() < deadline:
            time.sleep(0.05)  # its entry is committed, its release is just ending
        if not source.exists():
            raise LedgerError(f"the released file {source.name} is missing; nothing backed up")
        for path in (source, *outputs.glob(f"{source.name}.*")):
            copy_file(path, target / path.name)
        if digest_of(target / source.name) != release.sha256:
            raise ProofError(f"output {release.output_id} is not as the ledger says")


def _copy_folder(source: Path, target: Path, *, unless: Callable[[str], bool]) -> None:
    if not source.exists():
        return
    _make_private(target)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _copy_folder(path, target / path.name, unless=unless)
        elif not path.name.endswith(".part") and not unless(path.name):
            copy_file(path, target / path.name)  # a .part is only just being written


def _later(name: str, size: int) -> bool:
    """Whether a file is a checkpoint over more entries than the backup has: signed meanwhile."""
    found = _CHECKPOINT.match(name)
    return found is not None and int(found[1]) > size


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
