"""The site's secret keys: one seal key per epoch, and the keys that sign the ledger's checkpoints.

Key files lie in ``keys/``, are readable by the owner only and are never overwritten:
``epoch-0001.key`` (:class:`watermark.message.SealKey`) and ``ledger-0001.key``
(:class:`studio.provenance.signed_note.SignerKey`). A lost seal key means that no seal of its epoch
can be read any more, and a lost ledger key that nobody can tell our checkpoints from another's: the
ledger's database records which keys there have been (:func:`open_keys`), so a missing or exchanged
one is an error and never a reason to make another.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select

from studio.errors import LedgerError, UnreadableProofError
from studio.provenance.entry import INSTANT
from studio.provenance.ledger import Ledger
from studio.provenance.signed_note import SignerKey, VerifierKey
from studio.store.provenance_tables import key_record
from studio.store.tables import seal_reservation
from watermark.errors import SealKeyError
from watermark.message import SealKey

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["KeyRing", "LedgerKeys", "Purpose", "open_keys", "rotate"]

Purpose = Literal["seal", "ledger"]

_STEM: Mapping[str, str] = {"seal": "epoch", "ledger": "ledger"}
_CHECK = b"consented-music-studio/seal-key/v1\x00"


class KeyRing:
    """All seal keys by epoch; the highest epoch seals."""

    def __init__(self, keys: Mapping[int, SealKey]) -> None:
        self._keys = dict(keys)

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
        return self._keys[max(self._keys)]

    def of(self, epoch: int) -> SealKey:
        """The key of an epoch. Raises :class:`LedgerError` where it is lost."""
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
    """The keys that signed checkpoints, oldest first; the last one signs."""

    signers: Sequence[SignerKey]

    @classmethod
    def open(cls, folder: Path, origin: str | None = None) -> LedgerKeys:
        """Read every key, making the first where there is none. Raises :class:`LedgerError`.

        ``origin`` names the ledger in its checkpoints; it is settled when the first key is made.
        """
        try:
            if not _key_paths(folder, "ledger"):
                name = origin or f"consented-music-studio.invalid/ledger/{secrets.token_hex(8)}"
                _save_signer(_key_path(folder, "ledger", 1), SignerKey.create(name))
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
        return tuple(signer.verifier() for signer in self.signers)

    def public(self) -> dict[int, str]:
        return {number: str(key) for number, key in enumerate(self.verifiers, start=1)}


def open_keys(
    folder: Path, ledger: Ledger, *, origin: str | None = None
) -> tuple[KeyRing, LedgerKeys]:
    """Both kinds of keys, made at the very first start and compared with the record ever after.

    Raises :class:`LedgerError` where a recorded key is missing or is not the one recorded: nothing
    may be sealed or signed then.
    """
    recorded = _records(ledger)
    if not recorded and _has_reservations(ledger) and not _key_paths(folder, "seal"):
        raise LedgerError(_lost("seal", 1))
    for purpose, number in recorded:
        if not _key_path(folder, purpose, number).exists():
            raise LedgerError(_lost(purpose, number))
    seal, signing = KeyRing.open(folder), LedgerKeys.open(folder, origin)
    for purpose, public in (("seal", seal.public()), ("ledger", signing.public())):
        for number, value in public.items():
            if (purpose, number) not in recorded:
                _record(ledger, purpose, number, value)
            elif recorded[purpose, number] != value:
                raise LedgerError(
                    f"{_key_path(folder, purpose, number).name} is not the key that was in use; "
                    "restore the right one from a backup"
                )
    return seal, signing


def rotate(folder: Path, ledger: Ledger, purpose: Purpose) -> int:
    """Make the next key, on record; old ones stay, to read what they sealed or signed.

    A process that runs already uses the new key after a restart. Raises :class:`LedgerError`.
    """
    seal, signing = open_keys(folder, ledger)
    number = max(_key_paths(folder, purpose)) + 1
    path = _key_path(folder, purpose, number)
    try:
        if purpose == "seal":
            SealKey.create(number).save(path)
        else:
            _save_signer(path, SignerKey.create(signing.current.name))
    except (OSError, SealKeyError) as exc:
        raise LedgerError(f"the new key cannot be written: {exc}") from exc
    seal, signing = KeyRing.open(folder), LedgerKeys.open(folder)
    public = (seal if purpose == "seal" else signing).public()[number]
    _record(ledger, purpose, number, public)
    return number


def _records(ledger: Ledger) -> dict[tuple[str, int], str]:
    """Every key there has been: (purpose, number) to its public form."""
    with ledger.database.reading() as connection:
        rows = connection.execute(select(key_record))
        return {(row.purpose, row.number): row.public for row in rows}


def _has_reservations(ledger: Ledger) -> bool:
    """Whether a seal id was ever given out, which takes a key."""
    with ledger.database.reading() as connection:
        return connection.scalar(select(seal_reservation.c.seal_id).limit(1)) is not None


def _record(ledger: Ledger, purpose: str, number: int, public: str) -> None:
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
            ledger.append("key-rotation", body, also=insert)
    except LedgerError:
        # Another process that starts at the same time may have been faster.
        if _records(ledger).get((purpose, number)) != public:
            raise


def _lost(purpose: str, number: int) -> str:
    return (
        f"{_STEM[purpose]}-{number:04d}.key is missing from the keys folder, and the ledger says "
        "it was in use; restore it from a backup. Nothing is made without it."
    )


def _save_signer(path: Path, signer: SignerKey) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return  # another process made it meanwhile
    with os.fdopen(descriptor, "w") as file:
        file.write(signer.to_text() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _key_path(folder: Path, purpose: str, number: int) -> Path:
    return folder / f"{_STEM[purpose]}-{number:04d}.key"


def _key_paths(folder: Path, purpose: str) -> dict[int, Path]:
    name = re.compile(rf"^{_STEM[purpose]}-(\d{{4,}})\.key$")
    matches = ((name.match(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match}
