"""Backup and restore of a studio, each verified against the ledger's tree head.

A backup is a folder: ``ledger.db`` (SQLite, whatever the studio itself runs on), ``outputs/``,
``checkpoints/``, and ``backup.json``, which names every file with its SHA-256 and the tree head.
Secret keys are in it only where that was asked for: whoever has them can forge seals and
checkpoints. It is taken while the studio runs; what the database held at that moment is in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, Table, select

from studio.core.db.database import Database
from studio.core.errors import LedgerError, ProofError, UnreadableProofError, UsageError
from studio.provenance.ledger.checkpoint import Checkpoint
from studio.provenance.ledger.log import Ledger

if TYPE_CHECKING:
    from studio.core.paths import StudioPaths
    from studio.provenance.ledger.checkpointer import Notary
    from studio.provenance.ledger.signed_note import VerifierKey

__all__ = ["Manifest", "back_up", "restore"]

MANIFEST = "backup.json"
_VERSION = 1
_DATABASE = "ledger.db"
_SECRET = ("keys", "credentials")
_FORGOTTEN = ("account_session", "login_throttle")
"""Not restored: a session that was ended since must not come back to life."""
_BATCH = 1000  # rows copied at a time
_HAND_OUT_S = 5.0  # an entry may be this much older than its file


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    version: int
    made_at: str  # UTC, RFC 3339
    size: int  # entries
    tree_head: str  # hexadecimal
    checkpoint: str  # signed note over just that size and head
    with_keys: bool
    files: dict[str, str]  # path in the backup to SHA-256


def back_up(
    paths: StudioPaths,
    database: Database,
    notary: Notary,
    target: Path,
    *,
    with_keys: bool = False,
) -> Manifest:
    """Make a backup in ``target``, which is made or empty, and verify it.

    Raises :class:`UsageError` where ``target`` is not empty and :class:`LedgerError` where anything
    cannot be read, written, or is not as the ledger says.
    """
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty; a backup is never mixed with another")
    try:
        target.mkdir(parents=True, exist_ok=True)
        _export(database, target / _DATABASE)
        with _copy_of(target) as copy:
            ledger = Ledger(copy, target / "outputs")
            size, head = _audited(ledger)
            _copy_outputs(paths.outputs, ledger, target / "outputs")
        note = _checkpoint(notary, size, head)
        folders = ["checkpoints", *(_SECRET if with_keys else ())]
        for name in folders:
            _copy_folder(paths.home / name, target / name)
        manifest = Manifest(
            version=_VERSION,
            made_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            size=size,
            tree_head=head.hex(),
            checkpoint=note,
            with_keys=with_keys,
            files=_digests(target),
        )
        # Last: a folder without it is a backup that was not finished.
        (target / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")
    except OSError as exc:
        raise LedgerError(f"the backup cannot be written: {exc.strerror}") from exc
    return manifest


def restore(
    source: Path,
    paths: StudioPaths,
    location: Path | str,
    *,
    keys: Sequence[VerifierKey] = (),
) -> Manifest:
    """Put a backup into an empty home and database, having verified it whole.

    ``keys``: where given, the backup's checkpoint must be signed by one of them. Raises
    :class:`ProofError` for a backup that was changed, :class:`UnreadableProofError` for what is no
    backup, :class:`UsageError` where home or database is not empty.
    """
    manifest = _verified(source, keys)
    paths.create()
    if any(paths.outputs.iterdir()) or (isinstance(location, Path) and location.exists()):
        raise UsageError("there is a studio in this home already; restore into an empty one")
    try:
        database = Database.open(location)
        try:
            _import(source, database)
            ledger = Ledger(database, paths.outputs)
            if (ledger.size(), ledger.head(ledger.size()).hex()) != (
                manifest.size,
                manifest.tree_head,
            ):
                raise ProofError("the restored ledger is not the one that was backed up")
        finally:
            database.close()
        folders = ["outputs", "checkpoints", *(_SECRET if manifest.with_keys else ())]
        for name in folders:
            _copy_folder(source / name, paths.home / name)
    except OSError as exc:
        raise LedgerError(f"the backup cannot be restored: {exc.strerror}") from exc
    return manifest


def _verified(source: Path, keys: Sequence[VerifierKey]) -> Manifest:
    """The manifest, if every file is as it says and the ledger's head too."""
    try:
        body = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**body)
        if manifest.version != _VERSION:
            raise UnreadableProofError(f"a backup of version {manifest.version} is not known here")
        digests = _digests(source)
    except (OSError, ValueError, TypeError) as exc:
        raise UnreadableProofError(f"{source} is no finished backup: {exc}") from exc
    changed = sorted(
        name
        for name in {*digests, *manifest.files}
        if digests.get(name) != manifest.files.get(name)
    )
    if changed:
        raise ProofError(f"the backup was changed: {', '.join(changed[:3])}")
    with _copy_of(source) as copy:
        ledger = Ledger(copy, source / "outputs")
        size, head = _audited(ledger)
        for release in ledger.releases():
            if digests.get(f"outputs/{release.path.name}") != release.sha256:
                raise ProofError(f"output {release.output_id} is not as the ledger says")
    if (size, head.hex()) != (manifest.size, manifest.tree_head):
        raise ProofError("the ledger in the backup has another tree head than it ought to have")
    if keys:
        checkpoint = Checkpoint.open(manifest.checkpoint, *keys)
        if (checkpoint.size, checkpoint.head) != (size, head):
            raise ProofError("the checkpoint in the backup is not over its ledger")
    return manifest


def _export(database: Database, path: Path) -> None:
    """The database as it is at this moment, as a SQLite file."""
    if database.dialect == "sqlite":
        with (
            closing(sqlite3.connect(str(database.url.database))) as source,
            closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        return
    copy = Database.open(path)
    try:
        _copy_rows(database, copy)
    finally:
        copy.close()


def _import(source: Path, database: Database) -> None:
    with database.reading() as connection:
        tables = _tables(connection)
        if any(connection.execute(select(table).limit(1)).first() for table in tables):
            raise UsageError("the database is not empty; restore into an empty one")
    with _copy_of(source) as copy:
        _copy_rows(copy, database, leave_out=_FORGOTTEN)


def _copy_rows(source: Database, target: Database, leave_out: Sequence[str] = ()) -> None:
    """Every row of one database into another of the same schema, or none."""
    with source.reading() as reader, target.writing() as writer:
        for table in _tables(reader):
            if table.name in leave_out:
                continue
            rows = reader.execute(select(table)).mappings()
            for batch in rows.partitions(_BATCH):
                writer.execute(table.insert(), [dict(row) for row in batch])


def _tables(connection: Any) -> list[Table]:
    """Every table but Alembic's own, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


@contextmanager
def _copy_of(folder: Path) -> Iterator[Database]:
    """The database of a backup, opened in a copy: opening one writes to it."""
    with tempfile.TemporaryDirectory(prefix="studio-backup-") as temporary:
        shutil.copyfile(folder / _DATABASE, Path(temporary) / _DATABASE)
        database = Database.open(Path(temporary) / _DATABASE)
        try:
            yield database
        finally:
            database.close()


def _audited(ledger: Ledger) -> tuple[int, bytes]:
    audit = ledger.verify()
    if not audit.ok:
        fault = audit.fault or f"the trigger {audit.unguarded[0]} is missing"
        raise ProofError(f"the ledger is not sound: {fault}; run `studio ledger verify`")
    return audit.size, audit.tree_head


def _checkpoint(notary: Notary, size: int, head: bytes) -> str:
    """A signed note over the backup's own ledger, even if the studio's has grown since."""
    notary.check()
    return Checkpoint(notary.signer.name, size, head).sign(notary.signer)


def _copy_outputs(outputs: Path, ledger: Ledger, target: Path) -> None:
    """Every released file and what lies beside it, each with the digest in its entry."""
    target.mkdir()
    deadline = time.monotonic() + _HAND_OUT_S
    for release in ledger.releases():
        source = outputs / release.path.name
        while not source.exists() and time.monotonic() < deadline:
            time.sleep(0.05)  # its entry is committed, it is just being handed out
        if not source.exists():
            raise LedgerError(f"the released file {source.name} is missing; nothing backed up")
        for path in (source, *outputs.glob(f"{source.name}.*")):
            shutil.copy2(path, target / path.name)
        if _digest(target / source.name) != release.sha256:
            raise ProofError(f"output {release.output_id} is not as the ledger says")


def _copy_folder(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copytree(source, target, dirs_exist_ok=True)
        target.chmod(source.stat().st_mode & 0o777)


def _digests(folder: Path) -> dict[str, str]:
    """Every file below, by its path there, but for the manifest itself."""
    return {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
