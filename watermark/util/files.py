"""Write files atomically, synced, and private where they hold secrets.

Every file that is kept is written here: under another name first, then given its own in one step.

* :func:`replacing` gives a file to write that replaces ``path`` at the end.
* :func:`write_file` writes bytes that replace ``path``.
* :func:`create_file` writes bytes to a *new* ``path`` and never replaces: for keys.

A process that is killed while it writes may leave its unfinished file, ``.<name>.<random>.part``.
It holds that file locked as long as it lives, so :func:`sweep` knows which ones are dead and
removes them. Secrets are written without a name where the system can do that (``O_TMPFILE``), so
that a kill leaves nothing at all.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     create_file(Path(folder) / "a.key", b"secret")
...     create_file(Path(folder) / "a.key", b"another")
...     (Path(folder) / "a.key").read_bytes()
True
False
b'secret'
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "PRIVATE",
    "create_file",
    "locked",
    "locked_if_free",
    "replacing",
    "sweep",
    "sync_folder",
    "write_file",
]

PRIVATE = 0o600  # rights of a file that is its owner's alone

_PART = re.compile(r"^\..+\.[0-9a-f]{12}\.part$")
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # only what is written can fail with these
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_TMPFILE = (errno.EISDIR, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, mode: int | None = None
) -> Iterator[io.BufferedRandom]:
    """A binary file beside ``path`` that takes its name, synced, when the block ends well.

    On an exception the temporary file is removed and what was at ``path`` stays as it was. A link
    is followed: the file it names is replaced, and the link stays. Into what is no file, a FIFO or
    a device, the finished content is written at the end.

    Args:
        path: the file to make or replace.
        mode: its rights; by default those of the file that is replaced, or those that the process
            gives every new file.

    Raises:
        OSError: the disk's own errors; they name ``path``, whichever file they happened to.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if target.exists() and not target.is_file():
        with _through(target) as whole:
            yield whole
        return
    if mode is None and target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    temporary = _beside(target)
    try:
        descriptor = _open_part(temporary, 0o666 if mode is None else PRIVATE)
    except OSError as exc:
        raise _named(exc, path) from exc
    try:
        # Opened by name, because writers of audio ask a file for its name.
        with open(temporary, "w+b", opener=lambda *_: descriptor) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
            try:
                temporary.replace(target)  # still open: its lock holds until it has its name
            except OSError as exc:
                raise _named(exc, path) from exc
        with suppress(OSError):
            sync_folder(target.parent)
    except BaseException as exc:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(exc, OSError) and (
            exc.filename == os.fspath(temporary) or (exc.filename is None and exc.errno in _FULL)
        ):
            exc.filename = os.fspath(path)
        raise


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be; one process at a time can. Waits for it.

    The file stays: whoever deleted it would let two processes in.

    Raises:
        OSError: the file cannot be opened or made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_if_free(path: str | os.PathLike[str]) -> Iterator[bool]:
    """As :func:`locked`, but no waiting: False where another process holds the lock.

    Raises:
        OSError: the file cannot be opened or made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        yield _lock(descriptor, wait=False)
    finally:
        os.close(descriptor)


def _named(error: OSError, path: str | os.PathLike[str]) -> OSError:
    """The same error, of the file that the caller meant."""
    return type(error)(error.errno, error.strerror, os.fspath(path))


@contextmanager
def _through(target: Path) -> Iterator[io.BufferedRandom]:
    """A temporary file whose content goes into something that is no file when it is finished."""
    with tempfile.TemporaryFile() as whole:
        assert isinstance(whole, io.BufferedRandom)
        yield whole
        whole.flush()
        whole.seek(0)
        with target.open("wb") as special:
            shutil.copyfileobj(whole, special)


def write_file(path: str | os.PathLike[str], content: bytes, *, mode: int | None = PRIVATE) -> None:
    """Write ``content`` to ``path``, whole or not at all, in place of what was there.

    Args:
        path: the file to make or replace.
        content: all of it.
        mode: its rights; the owner's alone by default, None for those of every new file.
    """
    with replacing(path, mode=mode) as file:
        file.write(content)


def create_file(path: str | os.PathLike[str], content: bytes, *, mode: int = PRIVATE) -> bool:
    """Write a new file, whole or not at all, never in place of another.

    Args:
        path: the file to make.
        content: all of it.
        mode: its rights; the owner's alone by default.

    Returns:
        False where there is a file of that name already; it stays as it is.
    """
    target = Path(path)
    if _create_unnamed(target, content, mode):
        return True
    if target.exists():
        return False
    temporary = _beside(target)
    descriptor = _open_part(temporary, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            try:
                os.link(temporary, target)  # unlike a rename it never replaces
            except FileExistsError:
                return False
            except OSError as exc:
                if exc.errno not in _NO_LINKS:
                    raise
                # A file system without links. The name is taken first, so no other file is lost.
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
                temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
    return True


def sweep(folder: str | os.PathLike[str]) -> list[str]:
    """Remove the unfinished files that dead processes left in ``folder``; their names."""
    removed = []
    with suppress(OSError):
        for path in sorted(Path(folder).iterdir()):
            if _PART.match(path.name) and _is_dead(path):
                with suppress(OSError):
                    path.unlink()
                    removed.append(path.name)
    return removed


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Have the names in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path) -> Path:
    name = os.fsencode(target.name)[:100].decode(errors="ignore")  # a name has 255 bytes at most
    return target.with_name(f".{name}.{secrets.token_hex(6)}.part")


def _open_part(temporary: Path, mode: int) -> int:
    """A new file of that name, locked by this process."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        _lock(descriptor, wait=True)
        try:
            if os.fstat(descriptor).st_nlink > 0:
                return descriptor
        except OSError:
            return descriptor
        os.close(descriptor)  # a sweep came between the two calls; nothing was written yet


def _is_dead(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return _lock(descriptor, wait=False)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Whether the file is ours now. Where nothing can be locked, a file is never called dead."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def _create_unnamed(target: Path, content: bytes, mode: int) -> bool:
    """Write a file that has no name until it is whole; False where the system cannot do that."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or os.link not in os.supports_dir_fd:
        return False
    try:
        descriptor = os.open(target.parent, flag | os.O_WRONLY | os.O_CLOEXEC, PRIVATE)
    except OSError as exc:
        if exc.errno in _NO_TMPFILE:
            return False
        raise
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        # Given a folder's descriptor os.link follows the link, as the unnamed file needs.
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.link(f"/proc/self/fd/{file.fileno()}", target, src_dir_fd=folder)
            os.fsync(folder)
        except OSError:  # the name is taken, or /proc is not there: the other way says which
            return False
        finally:
            os.close(folder)
    return True
