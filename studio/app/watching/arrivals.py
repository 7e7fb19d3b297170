"""Find the files in a watched folder that are completely written.

The folder is somebody else's to fill, so nothing in it is trusted: no link is followed, only
regular files are taken, and what is examined is a private copy, which nobody can change or remove
while it is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Arrival", "Arrivals", "Taken", "TakingError", "TooLargeError"]

_DEPTH = 32  # folders below each other
_MOST = 200_000  # files and folders in one look
_BLOCK = 1 << 20
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", ".filepart")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file as it was seen. ``changed_ns`` is the inode's, which nobody can set back."""

    name: str  # path below the folder
    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> Arrival:
        return cls(name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Taken:
    """A private copy of an arrival."""

    path: Path
    sha256: str


class TakingError(Exception):
    """A file could not be copied. ``changing``: it is being written again."""

    def __init__(self, why: str, *, changing: bool = False) -> None:
        super().__init__(why)
        self.changing = changing


class TooLargeError(TakingError):
    """A file has more bytes than are examined."""


class Arrivals:
    """The complete files of a folder.

    Args:
        root: the folder; a link is resolved here, and none after that.
        settle_s: a file is complete when size and times stay as they are for so long.
        skip: patterns of names that are left out, beside hidden and unfinished ones.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        root: Path,
        *,
        settle_s: float,
        skip: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root.resolve(strict=True)
        self._settle_s = settle_s
        self._skip = tuple(skip)
        self._clock = clock
        self._waiting: dict[str, tuple[Arrival, float]] = {}
        self._later: dict[str, tuple[float, float]] = {}  # when again, and the pause before it
        self.crowded = False
        """Whether the last look had to leave something out: too many files, or too deep."""

    @property
    def waiting(self) -> int:
        """How many files the last look saw that are not complete yet."""
        return len(self._waiting)

    def look(self, known: Callable[[Arrival], bool]) -> list[Arrival]:
        """Files that are complete and not ``known``, the oldest first.

        Raises :class:`OSError` where the folder itself cannot be read.
        """
        now, complete = self._clock(), []
        seen: dict[str, tuple[Arrival, float]] = {}
        later: dict[str, tuple[float, float]] = {}
        for found in self._files():
            if found.name in self._later:
                later[found.name] = self._later[found.name]
            if known(found) or now < self._later.get(found.name, (0.0, 0.0))[0]:
                continue
            before = self._waiting.get(found.name)
            since = before[1] if before is not None and before[0] == found else now
            seen[found.name] = found, since
            if now - since >= self._settle_s:
                complete.append(found)
        for found in complete:
            del seen[found.name]
        self._waiting, self._later = seen, later
        return sorted(complete, key=lambda each: (each.modified_ns, each.name))

    def postpone(self, name: str) -> None:
        """Look at a file again after a pause, which doubles each time up to ten minutes."""
        pause = min(2 * self._later.get(name, (0.0, 2.5))[1], 600.0)
        self._later[name] = self._clock() + pause, pause

    def settle(self, name: str) -> None:
        """The file was dealt with."""
        self._later.pop(name, None)

    @contextmanager
    def taken(self, arrival: Arrival, spool: Path, max_bytes: int) -> Iterator[Taken]:
        """A private copy in ``spool``, removed after use. Raises :class:`TakingError`."""
        if arrival.size > max_bytes:
            raise TooLargeError(
                f"it has {arrival.size:,} bytes; at most {max_bytes:,} are examined"
            )
        suffix = Path(arrival.name).suffix
        target = spool / f"file{suffix if suffix.isascii() and len(suffix) <= 8 else ''}"
        try:
            yield Taken(target, self._copy(arrival, target))
        finally:
            with suppress(OSError):
                target.unlink(missing_ok=True)

    def _copy(self, arrival: Arrival, target: Path) -> str:
        try:
            source = self._open(arrival.name, _FILE)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise TakingError("it was removed before it was read") from exc
        except OSError as exc:
            raise TakingError((exc.strerror or "it cannot be opened").lower()) from exc
        digest, left = hashlib.sha256(), arrival.size
        with os.fdopen(source, "rb", buffering=0) as file:
            self._check(arrival, file.fileno())
            with target.open("xb") as copy:
                while left and (block := file.read(min(_BLOCK, left))):
                    copy.write(block)
                    digest.update(block)
                    left -= len(block)
            self._check(arrival, file.fileno())
        if left:
            raise TakingError("it became shorter while it was read", changing=True)
        return digest.hexdigest()

    @staticmethod
    def _check(arrival: Arrival, descriptor: int) -> None:
        status = os.fstat(descriptor)
        now = Arrival.of(arrival.name, status)
        if not stat.S_ISREG(status.st_mode) or now != arrival:
            raise TakingError("it is being written again", changing=True)

    def _files(self) -> Iterator[Arrival]:
        """Every regular file below the folder, hidden and unfinished ones left out."""
        self.crowded, count = False, 0
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                descriptor = self._open(folder, _FOLDER)
            except OSError:
                if not folder:
                    raise
                continue  # removed, replaced by a link, or not for us
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        count += 1
                        if count > _MOST:
                            self.crowded = True
                            return
                        if self._is_left_out(entry.name):
                            continue
                        name = os.path.join(folder, entry.name)  # noqa: PTH118 - any bytes
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue
                        if stat.S_ISREG(status.st_mode):
                            yield Arrival.of(name, status)
                        elif stat.S_ISDIR(status.st_mode):
                            if name.count(os.sep) + 1 < _DEPTH:
                                folders.append(name)
                            else:
                                self.crowded = True
            finally:
                os.close(descriptor)

    def _is_left_out(self, name: str) -> bool:
        return (
            name.startswith(".")
            or name.lower().endswith(_UNFINISHED)
            or any(fnmatch(name, pattern) for pattern in self._skip)
        )

    def _open(self, name: str, flags: int) -> int:
        """Open what lies below the folder, with no link on the way."""
        parts = Path(name).parts
        if ".." in parts:
            raise FileNotFoundError(name)
        current = os.open(self.root, _FOLDER)
        for number, part in enumerate(parts, start=1):
            try:
                below = os.open(part, flags if number == len(parts) else _FOLDER, dir_fd=current)
            finally:
                os.close(current)
            current = below
        return current
