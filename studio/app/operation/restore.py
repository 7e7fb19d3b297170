"""Restore a studio from a verified backup to an empty home and database.

A marker (:data:`studio.core.home.RESTORE_MARKER`) lies in the home from the first step to the last,
and no studio starts on a home with a marker: whatever interrupts a restore, the same command begins
it anew. The last step but one is an entry of the ledger (kind ``restored``), with which consent is
closed until a registrar confirms it (:mod:`studio.consent.administration.restoration`).

A backup says by itself that it is whole, not that it is the newest. That takes a checkpoint from
outside of it: those that are kept outside the home, or one that is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio.accounts.security_log import SecurityLog
from studio.app.operation.backup import (
    SECRET,
    audited,
    copy_file,
    copy_of,
    copy_rows,
    distributed,
    tables_of,
)
from studio.app.operation.backup_manifest import (
    MANIFEST,
    Manifest,
    check_files,
    check_signature,
    digest_of,
    read_manifest,
)
from studio.app.operation.record_audit import record_faults
from studio.consent.administration.restoration import RESTORED
from studio.core.db.database import Database
from studio.core.db.tables.jobs import TRANSIENT
from studio.core.db.tables.provenance import key_record
from studio.core.errors import LedgerError, ProofError, UsageError
from studio.core.home import RESTORE_MARKER, locked, make_private
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.checkpointer import (
    check_against,
    outside_folder,
    set_aside,
    what_is_outside,
)
from studio.provenance.ledger.checkpoints.signed_note import VerifierKey
from studio.provenance.ledger.log import Ledger
from watermark.util.files import create_file, sync_folder

if TYPE_CHECKING:
    from studio.core.config import SecurityLogConfig
    from studio.core.paths import StudioPaths

__all__ = ["Evidence", "Restored", "restore"]

_FORGOTTEN = ("account_session", "login_throttle", *TRANSIENT)
"""Not restored: a session that was ended since must not come back to life, nor a job."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence outside the backup that it is checked against."""

    keys: Sequence[VerifierKey] = ()
    """One of them must have signed it; none: the keys that the backup itself names."""
    checkpoints: Sequence[str] = ()
    """Signed notes that the backup's ledger must continue."""
    accept_unsigned: bool = False
    """Take a backup of before manifests were signed, although keys are given."""
    accept_loss: bool = False
    """Take a backup although a checkpoint shows that entries were made since."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and what it was checked against."""

    manifest: Manifest
    entry: int  # of the ledger, which says that it was restored
    held_against_key: bool  # one that was given, not the backup's own
    held_against: int | None  # entries under the largest checkpoint; None: there was none
    lost: int  # entries known to have been made since; 0: none is known

    def warnings(self) -> list[str]:
        """What an operator has to know, one line each."""
        lines = []
        if not self.held_against_key:
            lines.append(
                "the backup was checked against its own key only: anyone who can write to it "
                "could have forged all of it. Give the studio's public key with --public-key"
            )
        if self.lost:
            lines.append(
                f"{self.lost} entries that were made after the backup are LOST, revocations "
                "perhaps among them"
            )
        elif self.held_against is None:
            lines.append(
                "no checkpoint says whether this is the newest state: revocations since "
                f"{self.manifest.made_at} are undone. Give the newest checkpoint with --against"
            )
        lines.append(
            "CONSENT IS CLOSED: nothing is generated or released until a registrar has imported "
            f"the revocations since {self.manifest.made_at} and confirmed it with "
            "`studio consent confirm-restore`"
        )
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self.manifest),
            "entry": self.entry,
            "held_against_key": self.held_against_key,
            "held_against": self.held_against,
            "lost": self.lost,
            "consent": "closed",
        }


@dataclass(frozen=True, slots=True)
class _Marker:
    """What the marker says: what was in the home already and is not the restore's own."""

    own: frozenset[str] = field(default_factory=frozenset)  # paths below the home

    def write(self, home: Path) -> None:
        content = json.dumps({"there_before": sorted(self.own)}).encode()
        create_file(home / RESTORE_MARKER, content)

    @classmethod
    def read(cls, home: Path) -> _Marker:
        try:
            found = json.loads((home / RESTORE_MARKER).read_text(encoding="utf-8"))
            return cls(frozenset(found["there_before"]))
        except (OSError, ValueError, KeyError, TypeError):
            # Made by hand: whatever lies in the folders of keys is left alone.
            return cls(frozenset(_files_in(home, SECRET)))


def restore_home(source: Path, evidence: Evidence) -> Restored:
    """Restore into ``$STUDIO_HOME``, with what is kept outside of it as further evidence.

    The keys there count where ``evidence`` names none. Raises as :func:`restore` does.
    """
    from studio.core.config import load_config
    from studio.core.db.database import location_of
    from studio.core.paths import resolve_paths

    paths = resolve_paths()
    config = load_config(paths.configs / "studio.yaml")
    location = location_of(config.database.url, paths.ledger)
    outside = outside_folder(config.ledger, paths.home)
    keys, note = ([], None) if outside is None else what_is_outside(outside)
    evidence = replace(
        evidence,
        keys=evidence.keys or keys,
        checkpoints=(*evidence.checkpoints, *([] if note is None else [note])),
    )

    restored = restore(source, paths, location, evidence, log=config.security_log)
    if outside is not None and restored.lost:
        set_aside(outside, restored.manifest.size)
    return restored


def restore(
    source: Path,
    paths: StudioPaths,
    location: Path | str,
    evidence: Evidence | None = None,
    *,
    log: SecurityLogConfig | None = None,
) -> Restored:
    """Put a backup into an empty home and database, having verified it whole.

    Args:
        source: the folder of the backup.
        paths: the home to restore into; empty, or half restored.
        location: the database to restore into, as for :meth:`Database.open`; empty, too.
        evidence: what the backup is held against.
        log: limits of the security log, which then tells of the restore, too.

    Raises:
        ProofError: the backup was changed, is not the newest, or not of the given key.
        UnreadableProofError: it is no backup.
        UsageError: home or database is not empty.
        LedgerError: something cannot be written; the home stays marked as half restored.
    """
    evidence = evidence or Evidence()
    try:
        with _marked(paths.home, location) as begin:
            return _restore(source, paths, location, evidence, log, begin)
    except OSError as exc:
        raise LedgerError(
            f"the backup cannot be restored: {exc.strerror or exc}; the home is half restored and "
            "is not used. Make room, and run the same command again"
        ) from exc


@contextmanager
def _marked(home: Path, location: Path | str) -> Iterator[Callable[[], None]]:
    """Hold the home, marked as half restored until the block ends well.

    What is given is called before the first change: a refusal until then takes the mark back.
    """
    new = not home.exists()
    make_private(home, (), ())
    begun = False

    def begin() -> None:
        nonlocal begun
        begun = True

    with locked(home):
        marked = (home / RESTORE_MARKER).exists()
        if not marked:
            _require_empty(home, location)
            _Marker(frozenset(_files_in(home, SECRET))).write(home)
        try:
            yield begin
        except BaseException:
            if not (marked or begun):
                (home / RESTORE_MARKER).unlink()
                if new:
                    with suppress(OSError):
                        home.rmdir()
            raise
        (home / RESTORE_MARKER).unlink()
        sync_folder(home)


def _require_empty(home: Path, location: Path | str) -> None:
    there = [*(home / "outputs").glob("*"), *(home / "checkpoints").glob("*")]
    if there or not _is_blank(location):
        raise UsageError("there is a studio in this home already; restore into an empty one")


def _is_blank(location: Path | str) -> bool:
    """Whether a database is not there, or has no rows."""
    if isinstance(location, Path) and not (location.exists() and location.stat().st_size):
        return True
    database = Database.open(location)
    try:
        with database.reading() as connection:
            return not any(
                connection.execute(select(table).limit(1)).first()
                for table in tables_of(connection)
            )
    finally:
        database.close()


def _restore(
    source: Path,
    paths: StudioPaths,
    location: Path | str,
    evidence: Evidence,
    log: SecurityLogConfig | None,
    begin: Callable[[], None],
) -> Restored:
    manifest = read_manifest(source)
    check_files(source, manifest)
    with copy_of(source) as copy:
        ledger = Ledger(copy, source / "outputs")
        _check_ledger(ledger, manifest)
        keys = evidence.keys or _own_keys(copy)
        _check_authority(source, manifest, keys, evidence)
        newest = _check_newest(ledger, manifest, keys, evidence)
        _check_keys(paths.home, manifest, _Marker.read(paths.home))
        begin()
        _clear(paths.home, location)
        _copy_files(source, paths.home, manifest)
        body: dict[str, Any] = {
            "backup": digest_of(source / MANIFEST),
            "made_at": manifest.made_at,
            "size": manifest.size,
            "tree_head": manifest.tree_head,
        }
        lost = 0
        if newest is not None and newest[0].size > manifest.size:
            lost = newest[0].size - manifest.size
            body["lost"] = {"size": newest[0].size, "checkpoint": newest[1]}
        entry = _import(copy, location, paths.outputs, manifest, body, log)
    return Restored(
        manifest=manifest,
        entry=entry,
        held_against_key=bool(evidence.keys),
        held_against=None if newest is None else newest[0].size,
        lost=lost,
    )


# -- holding the backup against everything -----------------------------------------------------


def _check_ledger(ledger: Ledger, manifest: Manifest) -> None:
    """The ledger is sound and the one the manifest means, its outputs are there, and what stands
    beside its entries (roles, consent, owners) is what they say."""
    size, head = audited(ledger)
    if faults := record_faults(ledger):
        raise ProofError(f"the backup is not as its own ledger says: {'; '.join(faults[:3])}")
    for release in distributed(ledger):
        if manifest.files.get(f"outputs/{release.path.name}") != release.sha256:
            raise ProofError(f"output {release.output_id} is not as the ledger says")
    if (size, head.hex()) != (manifest.size, manifest.tree_head):
        raise ProofError("the ledger in the backup has another tree head than it ought to have")


def _check_authority(
    source: Path, manifest: Manifest, keys: Sequence[VerifierKey], evidence: Evidence
) -> None:
    if not manifest.signed and evidence.keys and not evidence.accept_unsigned:
        raise ProofError(
            "this backup is of before version 0.2 and its manifest is not signed: a key can vouch "
            "for its ledger, not for its accounts. Compare the accounts yourself, and take it "
            "with --accept-unsigned"
        )
    check_signature(source, manifest, keys)


def _own_keys(database: Database) -> list[VerifierKey]:
    """The ledger's keys that the backup itself names."""
    query = (
        select(key_record.c.public)
        .where(key_record.c.purpose == "ledger")
        .order_by(key_record.c.number)
    )
    with database.reading() as connection:
        return [VerifierKey.parse(text) for text in connection.scalars(query)]


def _check_newest(
    ledger: Ledger, manifest: Manifest, keys: Sequence[VerifierKey], evidence: Evidence
) -> tuple[Checkpoint, str] | None:
    """The largest checkpoint and its note; every checkpoint is verified."""
    opened = [(Checkpoint.open(note, *keys), note) for note in evidence.checkpoints]
    for checkpoint, _ in opened:
        if checkpoint.size <= manifest.size:
            check_against(ledger, checkpoint)
        elif not evidence.accept_loss:
            raise ProofError(
                f"this backup holds {manifest.size} entries, and a checkpoint was signed over "
                f"{checkpoint.size}: {checkpoint.size - manifest.size} later entries are not in "
                "it, revocations perhaps among them. Restore a newer backup; if there is none, "
                "take this one with --accept-loss"
            )
    return max(opened, key=lambda pair: pair[0].size, default=None)


# -- putting it into the home ------------------------------------------------------------------


def _check_keys(home: Path, manifest: Manifest, marker: _Marker) -> None:
    """Keys that were in the home before are not replaced by other ones of the backup."""
    for name in marker.own:
        if (home / name).exists() and manifest.files.get(name, "") not in (
            "",
            digest_of(home / name),
        ):
            raise UsageError(f"{name} in the home is another key than the backup's; move it away")


def _clear(home: Path, location: Path | str) -> None:
    """Remove what an earlier restore has begun, and nothing that was there before it."""
    marker = _Marker.read(home)
    for name in _files_in(home, ("outputs", "checkpoints", *SECRET)):
        if name not in marker.own:
            (home / name).unlink()
    if isinstance(location, Path):
        for part in ("", "-wal", "-shm", "-journal"):
            location.with_name(location.name + part).unlink(missing_ok=True)


def _copy_files(source: Path, home: Path, manifest: Manifest) -> None:
    """Every file but the database, each compared with the manifest again as it lies there."""
    for name, digest in manifest.files.items():
        target = home / name
        if name.partition("/")[0] not in ("outputs", "checkpoints", *SECRET) or (
            target.exists()  # a key that was there before, and is the same
        ):
            continue
        make_private(target.parent, (), ())
        copy_file(source / name, target)
        if digest_of(target) != digest:
            raise LedgerError(f"{name} was changed while it was restored")


def _import(
    copy: Database,
    location: Path | str,
    outputs: Path,
    manifest: Manifest,
    body: Mapping[str, Any],
    log: SecurityLogConfig | None,
) -> int:
    """Every row into the database, and the entry that says so; the entry's index."""
    blank = _is_blank(location)
    database = Database.open(location)
    try:
        ledger = Ledger(database, outputs)
        if log is not None:
            ledger.beside_append(SecurityLog(database, log).mirror)
        if blank:
            copy_rows(copy, database, leave_out=_FORGOTTEN)
        # Not blank: an interrupted restore into a database of its own has come this far.
        if ledger.size() < manifest.size or ledger.head(manifest.size).hex() != manifest.tree_head:
            raise UsageError("the database is not empty; restore into an empty one")
        newest = ledger.entries(newest_first=True, limit=1)
        if ledger.size() > manifest.size:  # only the marker was not removed
            if newest[0].kind != RESTORED or newest[0].body["backup"] != body["backup"]:
                raise UsageError("the database is in use already; restore into an empty one")
            return newest[0].index
        return ledger.append(RESTORED, body).index
    finally:
        database.close()


def _files_in(home: Path, folders: Sequence[str]) -> list[str]:
    """Paths below the home of every file in these folders."""
    return sorted(
        path.relative_to(home).as_posix()
        for folder in folders
        for path in (home / folder).rglob("*")
        if not path.is_dir()
    )
