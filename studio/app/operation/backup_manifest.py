"""The signed manifest of a backup, and the check of a backup against it.

``backup.json`` names every file of a backup with its SHA-256, and the ledger's size and tree head.
``backup.sig`` is a signed note (:mod:`studio.provenance.ledger.checkpoints.signed_note`) over two
lines: the name of this format, and the SHA-256 of ``backup.json``. The ledger's own key signs it,
so that a changed account is as plain as a changed entry.

Backups of before version 0.2 have version 1 and no signature; they are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studio.core.errors import ProofError, UnreadableProofError
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.signed_note import (
    SignerKey,
    VerifierKey,
    open_note,
    sign_note,
)

__all__ = [
    "DATABASE",
    "MANIFEST",
    "SIGNATURE",
    "VERSION",
    "Manifest",
    "check_files",
    "check_signature",
    "digest_of",
    "digests_of",
    "read_manifest",
    "sign_manifest",
    "write_manifest",
]

MANIFEST = "backup.json"
SIGNATURE = "backup.sig"
DATABASE = "ledger.db"
VERSION = 2
_UNSIGNED = 1
_DOMAIN = "consented-music-studio/backup/v2"


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

    @property
    def signed(self) -> bool:
        return self.version != _UNSIGNED


def write_manifest(manifest: Manifest) -> bytes:
    """The bytes of ``backup.json``."""
    return (json.dumps(asdict(manifest), indent=1) + "\n").encode()


def sign_manifest(content: bytes, signer: SignerKey) -> bytes:
    """The bytes of ``backup.sig`` for those of ``backup.json``."""
    return sign_note(_statement(content), signer).encode()


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``, not yet verified.

    Raises :class:`UnreadableProofError` for what is no finished backup.
    """
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**body)
    except (OSError, ValueError, TypeError, RecursionError) as exc:
        raise UnreadableProofError(f"{folder} is no finished backup: {exc}") from exc
    if type(body["version"]) is not int or body["version"] not in (_UNSIGNED, VERSION):
        raise UnreadableProofError(f"a backup of version {body['version']} is not known here")
    if not _is_sane(body):
        raise UnreadableProofError(f"{folder} is no finished backup: its manifest is malformed")
    return manifest


def _is_sane(body: dict[str, Any]) -> bool:
    """Whether every part is of its kind, and every file lies within the backup."""
    kinds = {"made_at": str, "size": int, "tree_head": str, "checkpoint": str, "with_keys": bool}
    return (
        all(type(body[name]) is kind for name, kind in kinds.items())
        and isinstance(body["files"], dict)
        and all(_is_inside(name, digest) for name, digest in body["files"].items())
    )


def _is_inside(name: str, digest: object) -> bool:
    path = Path(name)
    return isinstance(digest, str) and not path.is_absolute() and ".." not in path.parts


def check_signature(folder: Path, manifest: Manifest, keys: Sequence[VerifierKey]) -> None:
    """Whether one of the keys signed the manifest, and the checkpoint in it.

    Raises :class:`ProofError` where none did, or only one that was retired before.
    """
    checkpoint = Checkpoint.open(manifest.checkpoint, *keys)
    if (checkpoint.size, checkpoint.head.hex()) != (manifest.size, manifest.tree_head):
        raise ProofError("the checkpoint in the backup is not over its ledger")
    if not manifest.signed:
        return
    try:
        content = (folder / MANIFEST).read_bytes()
        note = (folder / SIGNATURE).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise ProofError(f"the backup's signature cannot be read: {exc}") from exc
    text, signed = open_note(note, *keys)
    if text != _statement(content):
        raise ProofError(f"the backup was changed: {MANIFEST} is not the one that was signed")
    if all(key.last_size is not None and manifest.size > key.last_size for key in signed):
        raise ProofError("the backup is signed only with a key that was retired before it was made")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Whether every file is as the manifest says, and none is beside them.

    Raises :class:`ProofError`, and :class:`UnreadableProofError` where one cannot be read.
    """
    try:
        digests = digests_of(folder)
    except OSError as exc:
        raise UnreadableProofError(f"the backup cannot be read: {exc}") from exc
    changed = sorted(
        name
        for name in {*digests, *manifest.files}
        if digests.get(name) != manifest.files.get(name)
    )
    if changed:
        raise ProofError(f"the backup was changed: {', '.join(changed[:3])}")


def digests_of(folder: Path) -> dict[str, str]:
    """Every file below, by its path there, but for the manifest and its signature."""
    own = (folder / MANIFEST, folder / SIGNATURE)
    return {
        path.relative_to(folder).as_posix(): digest_of(path)
        for path in sorted(folder.rglob("*"))
        if path not in own and (path.is_file() or path.is_symlink())
    }


def digest_of(path: Path) -> str:
    """SHA-256, hexadecimal. Raises OSError, also for a link: a backup holds none."""
    if path.is_symlink():
        raise OSError(f"{path.name} is a link")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _statement(content: bytes) -> str:
    """What is signed. Its first line is no name of a ledger, so that it is never a checkpoint."""
    return f"{_DOMAIN}\n{hashlib.sha256(content).hexdigest()}\n"
