"""The studio's home folder: permissions, lock and completeness.

A home is its owner's alone: it holds keys, password hashes and audio. :func:`make_private` makes
its folders so, and mends one that an earlier version or a person left open to other users.

Work that must not be done by two processes at once (the first start, a rotation of keys, a
restore) holds the folder itself locked: :func:`locked`.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from studio.core.errors import ConfigError

__all__ = [
    "RESTORE_MARKER",
    "check_reachable",
    "check_whole",
    "is_open",
    "is_read_only",
    "locked",
    "make_private",
]

_log = logging.getLogger(__name__)

RESTORE_MARKER = "RESTORE-UNFINISHED"
"""Lies in a home from the first step of a restore to its last."""

_OPEN = stat.S_IRWXG | stat.S_IRWXO
_WAIT_S = 60.0  # for another process that sets up or restores the same home
_PAUSE_S = 0.05


def is_read_only(folder: Path) -> bool:
    """Whether ``folder`` is there and this process may not write into it."""
    return folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK)


def is_open(path: Path) -> bool:
    """Whether other users may use ``path`` in any way."""
    try:
        return bool(path.stat().st_mode & _OPEN)
    except OSError:
        return False


def check_reachable(home: Path) -> None:
    """Refuse a home that is no folder, or that this process may not look into.

    Raises:
        ConfigError: the message says whose the home is, and what to do.
    """
    remedy = "set STUDIO_HOME to a folder of your own"
    try:
        status = home.stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # it is made, or the attempt says why not
    except OSError as exc:
        raise ConfigError(
            f"cannot reach the studio's home {home} ({exc.strerror}); {remedy}"
        ) from exc
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"the studio's home {home} is no folder; {remedy}")
    if not os.access(home, os.R_OK | os.X_OK):
        raise ConfigError(
            f"the studio's home {home} belongs to {_user(status.st_uid)} and cannot be read; run "
            f"the studio as that user, or {remedy}"
        )


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"


def check_whole(home: Path) -> None:
    """Refuse a home that cannot be used, or into which a restore was begun and not finished.

    Raises:
        ConfigError: the home is half restored or out of reach; the message says what to do.
    """
    check_reachable(home)
    if (home / RESTORE_MARKER).exists():
        raise ConfigError(
            f"the restore into {home} was interrupted: nothing in it is used. Run `studio restore` "
            "again with the same backup; it begins anew by itself"
        )


def make_private(home: Path, folders: Iterable[Path], files: Iterable[Path]) -> list[str]:
    """Make the folders, each its owner's alone, and mend the rights of what is there.

    Args:
        home: the folder that holds the others.
        folders: further folders to make.
        files: files that are mended where they are there.

    Returns:
        What was open to other users until now, by name. It is also logged as a warning.

    Raises:
        OSError: a folder cannot be made, or its rights cannot be mended.
    """
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
    loose = []
    for folder in (home, *folders):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        loose += _mend(folder, 0o700)
    for file in files:
        with suppress(FileNotFoundError):
            loose += _mend(file, 0o600)
    if home.name in loose:
        _log.warning(
            "the studio's home %s was open to other users of this machine (%s); it is now its "
            "owner's alone. What they may have read: password hashes, outputs and records",
            home,
            ", ".join(loose),
        )
    return loose


def _mend(path: Path, mode: int) -> list[str]:
    status = path.stat()
    if not status.st_mode & _OPEN:
        return []
    path.chmod(stat.S_IMODE(status.st_mode) & ~_OPEN & (mode | 0o700))
    return [path.name]


@dataclass(slots=True)
class _Held:
    """The lock on one folder within this process."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    depth: int = 0
    descriptor: int = -1
    process: int = 0


_held: dict[str, _Held] = {}
_guard = threading.Lock()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against every other process, and other threads of this one.

    A thread may take it again while it holds it. Where a file system locks no folders, other
    processes are not kept out.

    Raises:
        ConfigError: the folder is not there, or another process holds it for over a minute.
    """
    name = os.path.realpath(folder)
    with _guard:
        held = _held.setdefault(name, _Held())
    with held.lock:
        if held.depth and held.process == os.getpid():
            held.depth += 1
            try:
                yield
            finally:
                held.depth -= 1
            return
        held.descriptor, held.process = _lock_folder(name), os.getpid()
        held.depth = 1
        try:
            yield
        finally:
            held.depth = 0
            _unlock_folder(held.descriptor)
            held.descriptor = -1


def _unlock_folder(descriptor: int) -> None:
    if descriptor >= 0:
        import fcntl

        # Closing would not do where a child process was forked meanwhile: it has a copy.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock_folder(name: str) -> int:
    """The folder's descriptor, locked; -1 where folders cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return -1
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise ConfigError(f"cannot open the folder {name}: {exc.strerror}") from exc
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(_PAUSE_S)
                continue
            os.close(descriptor)
            raise ConfigError(
                f"another process of the studio is setting up or restoring {name}; try again "
                "when it has ended"
            ) from None
        except OSError:
            os.close(descriptor)
            return -1
        return descriptor
