"""Files in progress, and their atomic release.

A process works in a folder of its own under ``tmp/``, which it holds locked while it lives. A
release takes three steps:

1. the finished file is written to the work folder and synced;
2. one database transaction appends its ledger entry, with the file's SHA-256;
3. the file is renamed into ``outputs/`` and the folder is synced.

Only what lies in ``outputs/`` has been released. A crash before 2 leaves a work file that nobody
has seen: :func:`recover` deletes it. A crash between 2 and 3 leaves an entry whose file is ready in
the dead process's folder: :func:`recover` finishes the rename after checking the digest. Either way
there is in the end a released file with its entry, or neither.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from studio.core.errors import LedgerError
from studio.core.paths import StudioPaths
from watermark.util.files import create_file, sync_folder

if TYPE_CHECKING:
    from studio.provenance.ledger.log import Ledger

__all__ = ["RecoveryReport", "Workspace", "complete_interrupted", "recover"]

_LOCK = "lock"
_OUTPUT = re.compile(r"[0-9a-f]{16}\.(wav|flac|mp3|m4a|ogg|opus)$")


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What :func:`recover` did, by output id or file name."""

    completed: tuple[str, ...]  # released now: their entry was there, their file was ready
    discarded: tuple[str, ...]  # unfinished work nobody had seen
    missing: tuple[str, ...]  # in the ledger, but the file is nowhere: restore from a backup
    unrecorded: tuple[str, ...] = ()  # named like an output, but not in the ledger

    def lines(self) -> list[str]:
        """For a person; empty where there was nothing to do."""
        return [
            *(f"release of {name} completed after an interruption" for name in self.completed),
            *(f"unfinished work {name} discarded" for name in self.discarded),
            *(f"the released file {name} is missing" for name in self.missing),
            *(f"{name} lies among the outputs without an entry" for name in self.unrecorded),
        ]


class Workspace:
    """This process's work folder, locked until it is closed or the process ends in any way."""

    def __init__(self, paths: StudioPaths) -> None:
        self._outputs = paths.outputs
        self._folder = paths.tmp / f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            # A folder without a lock file is one being made, which recover() leaves alone.
            self._folder.mkdir(mode=0o700)
            self._lock = _locked(self._folder / _LOCK, create=True)
        except OSError as exc:
            raise LedgerError(f"no work folder can be made in {paths.tmp.name}/: {exc}") from exc

    def write(self, name: str, content: bytes) -> Path:
        """A synced work file. Raises :class:`LedgerError`; no part of the file is left then."""
        path = self._folder / name
        try:
            if not create_file(path, content):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except OSError as exc:
            self.discard(path)
            raise LedgerError(f"the output cannot be written: {exc.strerror}") from exc
        return path

    def discard(self, path: Path) -> None:
        """Delete a work file that has no ledger entry."""
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def release(self, path: Path) -> Path:
        """Hand the work file out; its ledger entry has been committed."""
        return _hand_out(path, self._outputs)

    def close(self) -> None:
        """Remove the folder, unless a file in it waits for :func:`recover`; unlock it."""
        if [path.name for path in self._folder.iterdir()] == [_LOCK]:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def complete_interrupted(paths: StudioPaths, ledger: Ledger) -> tuple[list[str], list[str]]:
    """Finish the releases that dead processes left, and delete their other work files.

    Returns the names of both. Safe beside living processes, and to repeat; reads of the ledger
    what these files are about and nothing else.
    """
    completed: list[str] = []
    discarded: list[str] = []
    for folder in sorted(path for path in paths.tmp.iterdir() if path.is_dir()):
        try:
            lock = _locked(folder / _LOCK, create=False)
        except OSError:
            continue  # its process lives, or is just making it
        with lock:
            for path in sorted(folder.iterdir()):
                if path.name == _LOCK:
                    continue
                release = ledger.release(path.stem)
                if (
                    release is not None
                    and release.path.name == path.name
                    and not release.path.exists()
                    and hashlib.sha256(path.read_bytes()).hexdigest() == release.sha256
                ):
                    _hand_out(path, paths.outputs)
                    completed.append(path.name)
                else:
                    discarded.append(path.name)
            shutil.rmtree(folder, ignore_errors=True)
    return completed, discarded


def recover(paths: StudioPaths, ledger: Ledger) -> RecoveryReport:
    """Finish or discard what dead processes left, and look for files that are missing.

    Safe beside living processes, and to repeat.
    """
    completed, discarded = complete_interrupted(paths, ledger)
    # Listed before the ledger is read: an entry is always older than its file in outputs/.
    outputs = sorted(path.name for path in paths.outputs.iterdir() if _OUTPUT.match(path.name))
    released = {release.path.name: release for release in ledger.releases()}
    missing = [name for name, release in released.items() if not release.path.exists()]
    unrecorded = [name for name in outputs if name not in released]
    return RecoveryReport(tuple(completed), tuple(discarded), tuple(missing), tuple(unrecorded))


def _hand_out(path: Path, outputs: Path) -> Path:
    try:
        released = path.replace(outputs / path.name)
        sync_folder(outputs)
    except OSError as exc:
        raise LedgerError(
            f"output {path.stem} is in the ledger but could not be released ({exc.strerror}); "
            "the next start completes it"
        ) from exc
    return released


def _locked(path: Path, *, create: bool) -> IO[bytes]:
    """The file, exclusively locked. Raises OSError at once where another process holds it."""
    file = path.open("xb" if create else "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
