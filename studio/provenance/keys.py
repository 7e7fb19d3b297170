"""The site's secret keys: watermark keys by epoch, and checkpoint keys.

Key files lie in ``keys/``, are readable by the owner only and are never overwritten:
``epoch-0001.key`` (:class:`watermark.coding.message.SealKey`) and ``ledger-0001.key``
(:class:`studio.provenance.ledger.checkpoints.signed_note.SignerKey`). A lost seal key means that
no seal of its epoch can be read any more, and a lost ledger key that nobody can tell our
checkpoints from another's: the ledger's database records which keys there have been
(:func:`open_keys`), so a missing or exchanged one is an error and never a reason to make another.

A rotation (:func:`rotate`) has one point at which it happens: the ``key-rotation`` entry is
committed with the key's record. Before it the new key waits in ``ledger-0002.next``, which nothing
reads as a key; the entry holds the handover, a checkpoint signed by the old key and by the new one.
Whatever interrupts it, the next start finishes it where the entry is there, and removes the
waiting key where it is not.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import func, select

from studio.core.db.tables.ledger import seal_reservation
from studio.core.db.tables.provenance import key_record
from studio.core.errors import LedgerError, UnreadableProofError
from studio.core.home import is_read_only, locked
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.signed_note import SignerKey, VerifierKey
from studio.provenance.ledger.entry import INSTANT
from studio.provenance.ledger.log import Ledger
from watermark.coding.message import SealKey
from watermark.errors import SealKeyError
from watermark.util.files import create_file, sync_folder

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["KeyRing", "LedgerKeys", "Purpose", "SiteKeys", "open_keys", "rotate"]

_log = logging.getLogger(__name__)

Purpose = Literal["seal", "ledger"]

_STEM: Mapping[Purpose, str] = {"seal": "epoch", "ledger": "ledger"}
_CHECK = b"consented-music-studio/seal-key/v1\x00"


class KeyRing:
    """All seal keys by epoch; the highest epoch seals.

    ``now`` gives the keys as they are now, after rotations by whichever process.
    """

    def __init__(
        self,
        keys: Mapping[int, SealKey],
        now: Callable[[], KeyRing] | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._now = now

    def following(self, now: Callable[[], KeyRing]) -> KeyRing:
        """The same keys, and those of later rotations."""
        return KeyRing(self._keys, now)

    def _follow(self) -> None:
        if self._now is not None:
            self._keys = self._now()._keys

    @classmethod
    def open(cls, folder: Path) -> KeyRing:
        """Read every key, making that of epoch 1 where there is none. Raises LedgerError."""
        try:
            paths = _key_paths(folder, "seal")
            if not paths:
                try:
                    SealKey.create(1).save(_key_path(folder, "seal", 1))
                except SealKeyError:
                    # Another process may have made it meanwhile; its key is then ours, too.
                    if not _key_paths(folder, "seal"):
                        raise
                paths = _key_paths(folder, "seal")
            keys = {epoch: SealKey.load(path) for epoch, path in paths.items()}
        except (OSError, SealKeyError) as exc:
            raise LedgerError(f"the site's seal keys cannot be read: {exc}") from exc
        for epoch, key in keys.items():
            if key.epoch != epoch:
                raise LedgerError(f"key file epoch-{epoch:04d}.key holds the key of another epoch")
        return cls(keys)

    @property
    def current(self) -> SealKey:
        """The key that seals new outputs."""
        self._follow()
        return self._keys[max(self._keys)]

    def of(self, epoch: int) -> SealKey:
        """The key of an epoch. Raises :class:`LedgerError` where it is lost."""
        if epoch not in self._keys:
            self._follow()
        try:
            return self._keys[epoch]
        except KeyError:
            raise LedgerError(
                f"the seal key of epoch {epoch} is missing from the keys folder; outputs sealed "
                "with it cannot be recognised until it is restored from a backup"
            ) from None

    def public(self) -> dict[int, str]:
        """A digest per epoch by which a key is recognised; it says nothing about the secret."""
        return {
            epoch: hashlib.sha256(_CHECK + key.secret).hexdigest()
            for epoch, key in self._keys.items()
        }


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """The keys that signed checkpoints, oldest first; the last one signs.

    ``retired`` gives, by number, over how many entries a retired key may have signed.
    """

    signers: Sequence[SignerKey]
    retired: Mapping[int, int] = field(default_factory=dict, compare=False)

    @classmethod
    def open(cls, folder: Path, origin: str | None = None) -> LedgerKeys:
        """Read every key, making the first where there is none. Raises :class:`LedgerError`.

        ``origin`` names the ledger in its checkpoints; it is settled when the first key is made.
        """
        try:
            if not _key_paths(folder, "ledger"):
                name = origin or f"consented-music-studio.invalid/ledger/{secrets.token_hex(8)}"
                create_file(_key_path(folder, "ledger", 1), _signer_text(SignerKey.create(name)))
            paths = _key_paths(folder, "ledger")
            signers = [
                SignerKey.parse(paths[number].read_text(encoding="utf-8"))
                for number in sorted(paths)
            ]
        except (OSError, ValueError, UnreadableProofError) as exc:
            raise LedgerError(f"the ledger's signing keys cannot be read: {exc}") from exc
        if sorted(paths) != list(range(1, len(paths) + 1)):
            raise LedgerError("a signing key of the ledger is missing; restore it from a backup")
        return cls(tuple(signers))

    @property
    def current(self) -> SignerKey:
        return self.signers[-1]

    @property
    def verifiers(self) -> tuple[VerifierKey, ...]:
        return tuple(
            replace(signer.verifier(), last_size=self.retired.get(number))
            for number, signer in enumerate(self.signers, start=1)
        )

    def public(self) -> dict[int, str]:
        return {number: str(key) for number, key in enumerate(self.verifiers, start=1)}


class SiteKeys:
    """Both kinds of keys as they are now: a rotation by another process is followed.

    Safe to use from several threads.
    """

    def __init__(self, folder: Path, ledger: Ledger, *, origin: str | None = None) -> None:
        self._folder = folder
        self._ledger = ledger.inner()
        self._lock = threading.Lock()
        self._seal, self._signing = open_keys(folder, ledger, origin=origin)

    @property
    def seal(self) -> KeyRing:
        """The seal keys; what it gives follows rotations."""
        return self._seal.following(self._seal_now)

    def signing(self) -> LedgerKeys:
        """The keys of the ledger, read again if there are more on record by now."""
        with self._lock:
            if self._newest("ledger") != len(self._signing.signers):
                self._open()
            return self._signing

    def _seal_now(self) -> KeyRing:
        with self._lock:
            if self._newest("seal") != max(self._seal.public()):
                self._open()
            return self._seal

    def _newest(self, purpose: Purpose) -> int:
        query = select(func.max(key_record.c.number)).where(key_record.c.purpose == purpose)
        with self._ledger.database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def _open(self) -> None:
        self._seal, self._signing = open_keys(self._folder, self._ledger)


def open_keys(
    folder: Path, ledger: Ledger, *, origin: str | None = None
) -> tuple[KeyRing, LedgerKeys]:
    """Both kinds of keys, made at the very first start and compared with the record ever after.

    A rotation that was interrupted is finished or undone first. Raises :class:`LedgerError` where
    a recorded key is missing or is not the one recorded: nothing may be sealed or signed then.
    """
    with locked(folder.parent):
        return _open(folder, ledger.inner(), origin)


def _open(folder: Path, ledger: Ledger, origin: str | None) -> tuple[KeyRing, LedgerKeys]:
    recorded = _records(ledger)
    if not is_read_only(folder):
        _settle(folder, recorded)
        _drop_unfinished(folder, recorded, in_use=_has_reservations(ledger))
    if not recorded and _has_reservations(ledger) and not _key_paths(folder, "seal"):
        raise LedgerError(_lost("seal", 1))
    for purpose, number in recorded:
        if not _key_path(folder, purpose, number).exists():
            raise LedgerError(_lost(purpose, number))
    seal, signing = KeyRing.open(folder), LedgerKeys.open(folder, origin)
    for number, value in seal.public().items():
        _compare(folder, ledger, recorded, "seal", number, value, signing)
    for number, value in signing.public().items():
        _compare(folder, ledger, recorded, "ledger", number, value, signing)
    return seal, replace(signing, retired=_retired(ledger, len(signing.signers)))


def rotate(folder: Path, ledger: Ledger, purpose: Purpose) -> int:
    """Make the next key, on record; old ones stay, to read what they sealed or signed.

    Raises :class:`LedgerError`; the old key stays in use then, unless the message says that the
    new one is on record.
    """
    with locked(folder.parent):
        return _rotate(folder, ledger.inner(), purpose)


def _rotate(folder: Path, ledger: Ledger, purpose: Purpose) -> int:
    _, signing = _open(folder, ledger, None)
    number = max(_key_paths(folder, purpose)) + 1
    waiting = _waiting_path(folder, purpose, number)
    try:
        if purpose == "seal":
            SealKey.create(number).save(waiting)
        elif not create_file(waiting, _signer_text(SignerKey.create(signing.current.name))):
            raise FileExistsError(f"{waiting.name} is there")
    except (OSError, SealKeyError) as exc:
        raise LedgerError(f"the new key cannot be written: {exc}") from exc
    public = _public_of(waiting, purpose)
    assert public is not None
    new = _read_signer(waiting) if purpose == "ledger" else None
    try:
        _record(ledger, purpose, number, public, handover=_handover(ledger, signing.current, new))
    except LedgerError:
        # Whether it was committed may be unknown after an error; then the next start finds out.
        with suppress(LedgerError, OSError):
            if (purpose, number) not in _records(ledger):
                waiting.unlink()
        raise
    try:
        _take_name(waiting, _key_path(folder, purpose, number))
    except OSError as exc:
        raise LedgerError(
            f"the new {purpose} key {number} is on record, but its file could not be renamed "
            f"({exc.strerror}); the next start completes it"
        ) from exc
    return number


def _handover(ledger: Ledger, old: SignerKey, new: SignerKey | None) -> str | None:
    """A checkpoint over the ledger as it is, signed by both keys; None for a seal key."""
    if new is None:
        return None
    size = ledger.size()
    return Checkpoint(new.name, size, ledger.head(size)).sign(new, old)


def _settle(folder: Path, recorded: Mapping[tuple[Purpose, int], str]) -> None:
    """Finish the rotations that are on record, undo those that are not."""
    for purpose in _STEM:
        for number, waiting in _numbered(folder, purpose, "next").items():
            path = _key_path(folder, purpose, number)
            public = _public_of(waiting, purpose)
            try:
                if (purpose, number) not in recorded:
                    waiting.unlink()
                    _log.warning("an interrupted rotation was undone: %s", waiting.name)
                elif path.exists():
                    waiting.unlink()
                elif public == recorded[purpose, number]:
                    _take_name(waiting, path)
                    _log.warning("an interrupted rotation was completed: %s", path.name)
            except OSError as exc:
                raise LedgerError(
                    f"the interrupted rotation of {path.name} cannot be settled: {exc.strerror}"
                ) from exc


def _drop_unfinished(
    folder: Path, recorded: Mapping[tuple[Purpose, int], str], *, in_use: bool
) -> None:
    """Remove key files that were never finished, as a full disk left them before version 0.2.

    A key is recorded before it is used: what is not on record and cannot be read was never used.
    """
    for purpose in _STEM:
        if in_use and purpose == "seal" and not recorded:
            continue  # from before there was a record: any key may be the one in use
        for number, path in _key_paths(folder, purpose).items():
            if (purpose, number) in recorded or _public_of(path, purpose) is not None:
                continue
            with suppress(OSError):
                if not path.read_bytes().endswith(b"\n"):  # as every finished key file does
                    path.unlink()
                    _log.warning("%s was never finished and was removed", path.name)


def _compare(
    folder: Path,
    ledger: Ledger,
    recorded: Mapping[tuple[Purpose, int], str],
    purpose: Purpose,
    number: int,
    value: str,
    signing: LedgerKeys,
) -> None:
    """Hold a key against its record, or put it on record where it is new."""
    if (purpose, number) not in recorded:
        handover = None
        if purpose == "ledger" and number > 1:
            old, new = signing.signers[number - 2 : number]
            handover = _handover(ledger, old, new)
        _record(ledger, purpose, number, value, handover=handover)
    elif recorded[purpose, number] != value:
        raise LedgerError(
            f"{_key_path(folder, purpose, number).name} is not the key that was in use; "
            "restore the right one from a backup"
        )


def _retired(ledger: Ledger, keys: int) -> Mapping[int, int]:
    """Over how many entries each retired key may have signed, by number.

    Rotations of before there were handovers set no end: a server went on with the old key then.
    """
    if keys < 2:
        return {}
    return {
        entry.body["number"] - 1: entry.index
        for entry in ledger.entries(kind="key-rotation")
        if entry.body["purpose"] == "ledger" and "handover" in entry.body
    }


def _records(ledger: Ledger) -> dict[tuple[Purpose, int], str]:
    """Every key there has been: (purpose, number) to its public form."""
    with ledger.database.reading() as connection:
        rows = connection.execute(select(key_record)).all()
    by_name: Mapping[str, Purpose] = {"seal": "seal", "ledger": "ledger"}
    try:
        return {(by_name[row.purpose], row.number): row.public for row in rows}
    except KeyError as exc:
        raise LedgerError(f"the record of keys is damaged: there is no purpose {exc}") from exc


def _has_reservations(ledger: Ledger) -> bool:
    """Whether a seal id was ever given out, which takes a key."""
    with ledger.database.reading() as connection:
        return connection.scalar(select(seal_reservation.c.seal_id).limit(1)) is not None


def _record(
    ledger: Ledger, purpose: Purpose, number: int, public: str, *, handover: str | None = None
) -> None:
    """Put a key on record; every one after the first of its purpose is an entry, too."""

    def insert(connection: Connection) -> None:
        connection.execute(
            key_record.insert().values(
                purpose=purpose,
                number=number,
                public=public,
                recorded_at=datetime.now(UTC).strftime(INSTANT),
            )
        )

    try:
        if number == 1:
            with ledger.database.writing() as connection:
                insert(connection)
        else:
            body = {"purpose": purpose, "number": number, "public": public}
            if handover is not None:
                body["handover"] = handover
            ledger.append("key-rotation", body, also=insert)
    except LedgerError:
        # Another process that starts at the same time may have been faster.
        if _records(ledger).get((purpose, number)) != public:
            raise


def _lost(purpose: Purpose, number: int) -> str:
    return (
        f"{_STEM[purpose]}-{number:04d}.key is missing from the keys folder, and the ledger says "
        "it was in use; restore it from a backup. Nothing is made without it."
    )


def _signer_text(signer: SignerKey) -> bytes:
    return f"{signer.to_text()}\n".encode()


def _read_signer(path: Path) -> SignerKey:
    return SignerKey.parse(path.read_text(encoding="utf-8"))


def _public_of(path: Path, purpose: Purpose) -> str | None:
    """The public form of the key in a file, as in the record; None where it cannot be read."""
    try:
        if purpose == "ledger":
            return str(_read_signer(path).verifier())
        key = SealKey.load(path)
        return KeyRing({key.epoch: key}).public()[key.epoch]
    except (OSError, ValueError, SealKeyError, UnreadableProofError):
        return None


def _take_name(waiting: Path, path: Path) -> None:
    """Under the lock and where ``path`` is free, so that no key is ever overwritten."""
    waiting.rename(path)
    sync_folder(path.parent)


def _key_path(folder: Path, purpose: Purpose, number: int) -> Path:
    return folder / f"{_STEM[purpose]}-{number:04d}.key"


def _waiting_path(folder: Path, purpose: Purpose, number: int) -> Path:
    return folder / f"{_STEM[purpose]}-{number:04d}.next"


def _key_paths(folder: Path, purpose: Purpose) -> dict[int, Path]:
    return _numbered(folder, purpose, "key")


def _numbered(folder: Path, purpose: Purpose, ending: str) -> dict[int, Path]:
    name = re.compile(rf"^{_STEM[purpose]}-(\d{{4,}})\.{ending}$")
    matches = ((name.match(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match}
