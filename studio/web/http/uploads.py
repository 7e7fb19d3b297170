"""Uploads: streamed to disk, counted per account, limited, soon deleted.

Every upload gets a folder of its own with a name that nobody can guess, inside the studio's home,
and is remembered as its caller's. Nobody else can have it examined, and no path that is not an
upload is believed from a client (:mod:`studio.web.middleware.page_gate`).

>>> import tempfile
>>> uploads = Uploads(Path(tempfile.mkdtemp()), Budget(max_bytes=100, held=200, hourly=1000))
>>> with uploads.receiving("ada", "../../etc/song.wav") as upload:
...     upload.write(b"RIFF")
>>> upload.path.name, uploads.belongs_to("ada", upload.path), uploads.belongs_to("eve", upload.path)
('song.wav', True, False)
"""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from studio.core.errors import LedgerError, StudioError, UsageError

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.core.db.limits import SharedBytes

__all__ = [
    "Budget",
    "Upload",
    "UploadBudgetError",
    "UploadTooLargeError",
    "Uploads",
    "WrongBodyError",
    "receive",
    "receive_file",
    "receive_one",
    "uploads_of",
]

_LIVE_S = 600.0  # an upload nobody asked about is deleted after so long
_LEFT_S = 24 * 3600.0  # where other servers use the folder: for so long one may wait
_HOUR_S = 3600.0
_NAME_BYTES = 120  # of the file's own name that are kept


class UploadTooLargeError(UsageError):
    """One file is longer than a file may be."""


class WrongBodyError(UsageError):
    """The body is not of a kind that holds the file that was to be sent."""


class UploadBudgetError(StudioError):
    """The account has uploaded as much as it may for now."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that one account may upload."""

    max_bytes: int
    """Of one file."""
    held: int
    """On disk at a time."""
    hourly: int
    """Within an hour, deleted since or not."""


class Upload:
    """One file of one caller; written while it comes in."""

    def __init__(self, uploads: Uploads, owner: str, account: str, path: Path, at: float) -> None:
        self.owner = owner
        self.account = account
        self.path = path
        self.at = at
        self.size = 0
        self._uploads = uploads
        self._file: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Append. Raises :class:`UploadTooLargeError` and :class:`UploadBudgetError`."""
        self._uploads.count(self, len(data))
        if self._file is None:
            self._file = self.path.open("xb")
        self._file.write(data)

    def close(self) -> None:
        if self._file is None:
            self.path.touch()
        else:
            self._file.close()


class Uploads:
    """The folder of uploads and whose each of them is. Safe to share between threads.

    ``shared`` counts the bytes over all servers, which use the same folder.
    """

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedBytes | None = None,
    ) -> None:
        self.folder = folder
        self.budget = budget
        self._clock = clock
        self._shared = shared
        self._lock = threading.Lock()
        self._held: dict[Path, Upload] = {}
        self._spent: dict[str, deque[tuple[float, int]]] = {}  # account -> (when, bytes)

    def prepare(self) -> None:
        """Make the folder, for this user alone, and delete what an earlier process left there.

        What may be a living server's stays: a long recording waits and is examined for hours.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        since = time.time() - (_LIVE_S if self._shared is None else _LEFT_S)
        for left in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if left.lstat().st_mtime < since:
                    _remove(left)

    @contextlib.contextmanager
    def receiving(self, owner: str, name: str, *, account: str | None = None) -> Iterator[Upload]:
        """An upload to write to; it is deleted where that fails. ``account`` pays for it."""
        self.sweep()
        folder = self.folder / secrets.token_hex(16)
        upload = Upload(self, owner, account or owner, folder / file_name(name), self._clock())
        with self._lock:
            self._held[upload.path] = upload
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
            yield upload
            upload.close()
        except BaseException:
            with contextlib.suppress(OSError):
                upload.close()
            self.discard(upload.path)
            raise

    def count(self, upload: Upload, more: int) -> None:
        """Charge the account. Raises where that is more than it may."""
        budget, now = self.budget, self._clock()
        if upload.size + more > budget.max_bytes:
            raise UploadTooLargeError(
                f"a file may have at most {budget.max_bytes} bytes ({budget.max_bytes >> 20} MiB)"
            )
        if self._shared is not None:
            passed = self._shared.charge(upload.account, upload.path.parent.name, more)
            if passed is not None:
                raise _over(*passed)
            upload.size += more
            return
        with self._lock:
            held = sum(each.size for each in self._held.values() if each.account == upload.account)
            if held + more > budget.held:
                raise _over("held", 60.0)
            spent = self._spent.setdefault(upload.account, deque())
            while spent and spent[0][0] <= now - _HOUR_S:
                spent.popleft()
            if sum(size for _, size in spent) + more > budget.hourly:
                raise _over("hourly", spent[0][0] + _HOUR_S - now if spent else _HOUR_S)
            upload.size += more
            if spent and spent[-1][0] == now:
                more += spent.pop()[1]
            spent.append((now, more))

    def belongs_to(self, owner: str, path: str | Path) -> bool:
        """Whether ``path`` is an upload of this caller, letter for letter."""
        with self._lock:
            upload = self._held.get(Path(path))
        return upload is not None and upload.owner == owner and str(upload.path) == str(path)

    def holds(self, path: str | Path) -> bool:
        """Whether ``path`` is anybody's upload."""
        with self._lock:
            return Path(path) in self._held

    def hold(self, path: Path) -> bool:
        """Keep an upload until it is discarded, however long it waits; whether there is one."""
        with self._lock:
            upload = self._held.get(path)
            if upload is not None:
                upload.at = math.inf
        return upload is not None

    def discard(self, path: Path) -> None:
        """Delete an upload; a path that is none stays untouched."""
        with self._lock:
            known = self._held.pop(path, None)
        if known is not None:
            _remove(path.parent)
            if self._shared is not None and known.size:
                with contextlib.suppress(LedgerError):  # it lapses
                    self._shared.let_go(path.parent.name)

    def sweep(self) -> None:
        """Delete what nobody asked about for a while."""
        since = self._clock() - _LIVE_S
        with self._lock:
            old = [upload.path for upload in self._held.values() if upload.at < since]
        for path in old:
            self.discard(path)

    def close(self) -> None:
        """Delete every upload."""
        with self._lock:
            paths = list(self._held)
        for path in paths:
            self.discard(path)


def _over(limit: str, wait_s: float) -> UploadBudgetError:
    texts = {
        "held": "too many of your files wait to be examined; try again in a few minutes",
        "hourly": "you have uploaded as much as an account may within an hour",
    }
    return UploadBudgetError(texts[limit], wait_s)


def uploads_of(gateway: Gateway, scope: str, budget: Budget) -> Uploads:
    """The studio's uploads, counted over all servers where there are several.

    ``scope`` names the limit, 32 characters at most.
    """
    shared = None
    if gateway.config.server.workers:
        shared = gateway.shared_bytes(scope, held=budget.held, hourly=budget.hourly)
    return Uploads(gateway.paths.uploads, budget, shared=shared)


def file_name(name: str) -> str:
    """The last part of a client's file name, short and without control characters.

    >>> file_name("C:\\\\music\\\\my song.wav"), file_name("../.."), file_name("a\\x00b\\n.mp3")
    ('my song.wav', 'upload', 'ab.mp3')
    """
    last = re.split(r"[/\\\\]", name)[-1]
    kept = "".join(char for char in last if char.isprintable()).strip().lstrip(".")
    stem, suffix = Path(kept).stem, Path(kept).suffix[:8]
    room = _NAME_BYTES - len(suffix.encode())
    stem = stem.encode("utf-8", "ignore")[:room].decode("utf-8", "ignore")
    return f"{stem}{suffix}".strip() or "upload"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# -- multipart/form-data --------------------------------------------------------------------------

_MOST_FILES = 25  # in one request
_MOST_PARTS = 64
_HEADER_BYTES = 8192  # of one part
_AT_ONCE = 1 << 20  # bytes gathered before they are written


class _Form:
    """Follows the parser; the files' bytes wait in ``todo`` until they are written."""

    def __init__(self) -> None:
        self.todo: list[tuple[str, Any]] = []  # ("open", name) | ("data", bytes) | ("close", None)
        self._parts = self._header_bytes = 0
        self._field, self._value = b"", b""
        self._disposition = b""
        self._is_file = False
        self.ended = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise UsageError("the form has too many parts")
        self._header_bytes, self._disposition, self._is_file = 0, b"", False

    def _room(self, more: int) -> None:
        self._header_bytes += more
        if self._header_bytes > _HEADER_BYTES:
            raise UsageError("the headers of a part of the form are too long")

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._room(end - start)
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._room(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        self._is_file = b"filename" in options
        if self._is_file:
            self.todo.append(("open", options[b"filename"].decode("utf-8", "replace")))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.todo.append(("data", data[start:end]))
        else:
            self._room(end - start)  # a field of the form: not wanted here, so it stays small

    def _part_end(self) -> None:
        if self._is_file:
            self.todo.append(("close", None))

    def _end(self) -> None:
        self.ended = True


async def receive(
    uploads: Uploads,
    owner: str,
    content_type: str,
    stream: AsyncIterator[bytes],
    *,
    account: str | None = None,
    most_files: int = _MOST_FILES,
) -> list[Upload]:
    """Write the files of a ``multipart/form-data`` body to disk as they come in.

    Raises :class:`~studio.core.errors.UsageError` where it is no such form; nothing stays then.
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind.lower() != b"multipart/form-data" or not boundary or len(boundary) > 256:
        raise UsageError("the body is no multipart/form-data")
    form = _Form()
    parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]  # typed dict
    done: list[Upload] = []
    opened: Upload | None = None
    with contextlib.ExitStack() as stack:

        def carry_out(todo: list[tuple[str, Any]]) -> None:
            nonlocal opened
            for what, value in todo:
                if what == "open":
                    if len(done) >= most_files:
                        raise UsageError(f"at most {most_files} files at a time")
                    opened = stack.enter_context(uploads.receiving(owner, value, account=account))
                    done.append(opened)
                elif what == "data":
                    assert opened is not None
                    opened.write(value)

        gathered = 0
        try:
            async for chunk in stream:
                parser.write(chunk)
                gathered += len(chunk)
                if gathered >= _AT_ONCE:
                    todo, form.todo, gathered = form.todo, [], 0
                    await run_in_threadpool(carry_out, todo)
            await run_in_threadpool(carry_out, form.todo)
        except MultipartParseError as exc:
            raise UsageError("the body is no multipart/form-data") from exc
        if not form.ended:
            raise UsageError("the form ended too early")
    return done


_ONE_FILE = (
    "send one file: as the body, curl --data-binary @song.mp3, or as a form, curl -F file=@song.mp3"
)


async def receive_one(
    uploads: Uploads,
    owner: str,
    name: str,
    content_type: str,
    stream: AsyncIterator[bytes],
    *,
    account: str,
) -> Upload:
    """Write a body to disk that is one file or a form with one; the caller discards it.

    Raises:
        WrongBodyError: a body of another kind, or a form with no file or several.
    """
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    if kind == "multipart/form-data":
        files = await receive(
            uploads, owner, content_type, stream, account=account, most_files=_MOST_FILES
        )
        if len(files) == 1:
            return files[0]
        for upload in files:
            uploads.discard(upload.path)
        raise WrongBodyError(f"the form holds {len(files)} files; {_ONE_FILE}")
    if kind == "application/json" or kind.startswith("text/"):
        raise WrongBodyError(f"{kind} is no recording; {_ONE_FILE}")
    return await receive_file(uploads, owner, name, stream, account=account)


async def receive_file(
    uploads: Uploads, owner: str, name: str, stream: AsyncIterator[bytes], *, account: str
) -> Upload:
    """Write a body that is one file to disk as it comes in; the caller discards it."""
    with uploads.receiving(owner, name, account=account) as upload:
        gathered: list[bytes] = []
        async for chunk in stream:
            gathered.append(chunk)
            if sum(map(len, gathered)) >= _AT_ONCE:
                await run_in_threadpool(upload.write, b"".join(gathered))
                gathered = []
        await run_in_threadpool(upload.write, b"".join(gathered))
    return upload
