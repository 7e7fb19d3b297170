"""Find catalogue files: folders, lists, patterns, object stores.

A name is a path of this machine or an address (``s3://bucket/folder``, ``gs://``, ``abfs://``,
``memory://``). Addresses are read by fsspec, or by pyarrow where fsspec lacks the store's own
package; credentials come from where the store's tools look for them. ``file://`` is a path.

>>> import fsspec
>>> _ = fsspec.filesystem("memory").pipe({"/shop/a.wav": b"RIFF", "/shop/b.jpg": b""})
>>> catalogue = Catalogue(["memory://shop"], skip=["*.jpg"])
>>> list(catalogue)
['memory://shop/a.wav']
>>> catalogue.stamp("memory://shop/a.wav")["size"]
4
"""

from __future__ import annotations

import glob
import os
import posixpath
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from fnmatch import fnmatch
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from watermark.batch.files import files_in, stamp
from watermark.batch.pool import Failure, Report
from watermark.errors import ScanError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["STORES", "Catalogue", "fetched", "fetching", "is_address"]

STORES = ("s3", "gs", "gcs", "abfs", "az", "hdfs", "memory")
"""Schemes of addresses that are read, beside ``file``."""

MAX_BYTES = 16 * 1024**3
"""Of one object that is fetched; as for a file of this machine."""

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_CHUNK = 1 << 20
_TRIES = 4  # of a fetch; a store that is busy or a connection that breaks
_FIRST_PAUSE_S = 0.5  # doubled with every try
_LONGEST_NAME = 200  # bytes of an object's name that its copy keeps

_Answer = TypeVar("_Answer")


def is_address(name: str) -> bool:
    """Whether a name is an address and no path.

    >>> [is_address(name) for name in ("s3://shop/a.wav", "a.wav", "C:/a.wav", "/x://y")]
    [True, False, False, False]
    """
    return _ADDRESS.match(name) is not None


class Catalogue:
    """The files of a scan, listed one by one, with what tells whether one has changed.

    Args:
        named: files, folders, patterns and addresses. A path that is there stands for itself, even
            where it looks like a pattern.
        skip: patterns (``*.jpg``) of names in folders that are left out.

    Raises:
        ScanError: while listing: an address of an unknown kind, or a store that cannot be listed.
    """

    def __init__(self, named: Iterable[str], *, skip: Sequence[str] = ()) -> None:
        self._named = named
        self._skip = skip
        self._stamps: dict[str, dict[str, int]] = {}  # of objects that were listed, until asked for

    def __iter__(self) -> Iterator[str]:
        for name in self._named:
            path = _path_of(name)
            if path is None:
                yield from self._objects(name)
            elif glob.has_magic(path) and not os.path.lexists(path):
                found = sorted(glob.iglob(path, recursive=True))  # noqa: PTH207 - names stay as given
                yield from files_in(found or [path], skip=self._skip)
            else:
                yield from files_in([path], skip=self._skip)

    def stamp(self, name: str) -> dict[str, int]:
        """Size and time of a file or object, by which a changed one is known; empty without."""
        if not is_address(name):
            return stamp(name)
        if name not in self._stamps:
            store, path = _store(name)
            try:
                self._stamps[name] = _stamp_of(store.info(path))
            except Exception:  # noqa: BLE001 - stores raise what they like; the fetch says why
                return {}
        return self._stamps[name]

    def forget(self, name: str) -> None:
        """The file is answered: its stamp is not asked for again."""
        self._stamps.pop(name, None)

    def _objects(self, name: str) -> Iterator[str]:
        store, path = _store(name)
        scheme = name.partition("://")[0]
        try:
            for found, info in sorted_objects(store, path):
                if any(fnmatch(posixpath.basename(found), each) for each in self._skip):
                    continue
                address = f"{scheme}://{found.lstrip('/')}"
                self._stamps[address] = _stamp_of(info)
                yield address
        except FileNotFoundError:
            yield name  # whoever fetches it says that it is not there
        except ScanError:
            raise
        except Exception as exc:
            raise ScanError(f"{name}: cannot be listed: {_reason(exc)}") from exc


def sorted_objects(
    store: AbstractFileSystem, path: str
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Path and details of every object meant by a path or pattern, folder by folder."""
    if glob.has_magic(path):
        found = store.glob(path, detail=True)
        yield from sorted(item for item in found.items() if item[1]["type"] == "file")
        return
    info = store.info(path)
    if info["type"] == "file":
        yield path, info
        return
    for _folder, folders, files in store.walk(path, detail=True):
        for each in sorted(files.values(), key=lambda info: str(info["name"])):
            yield str(each["name"]), each
        if isinstance(folders, dict):  # walk goes on in this order
            ordered = sorted(folders.items())
            folders.clear()
            folders.update(ordered)


@lru_cache(maxsize=64)
def _of_scheme(scheme: str, host: str) -> AbstractFileSystem:
    import fsspec

    if scheme not in STORES:
        raise ScanError(
            f"{scheme}:// is not read; addresses begin with file:// or one of "
            f"{', '.join(f'{each}://' for each in STORES)}"
        )
    try:
        return fsspec.filesystem(scheme)
    except (ImportError, ValueError) as exc:
        return _by_arrow(scheme, host, exc)


def _by_arrow(scheme: str, host: str, lacking: Exception) -> AbstractFileSystem:
    """The store as pyarrow reads it, for whoever has pyarrow and not the store's own package."""
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper

        fs = import_module("pyarrow.fs")
    except ImportError:
        raise ScanError(
            f"{scheme}:// needs a package that is not installed ({lacking}); "
            "pip install 'consented-music-studio[ray]' brings pyarrow, which reads s3:// and gs://"
        ) from lacking
    scheme = {"gcs": "gs", "az": "abfs"}.get(scheme, scheme)
    try:
        # No bucket is asked for its region: a store of one's own (AWS_ENDPOINT_URL) has none.
        store = (
            fs.S3FileSystem(
                endpoint_override=os.environ.get("AWS_ENDPOINT_URL"),
                region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            )
            if scheme == "s3" and os.environ.get("AWS_ENDPOINT_URL")
            else fs.FileSystem.from_uri(f"{scheme}://{host}")[0]
        )
    except Exception as exc:
        raise ScanError(f"{scheme}://{host}: cannot be reached: {_reason(exc)}") from exc
    return ArrowFSWrapper(store)


def _store(name: str) -> tuple[AbstractFileSystem, str]:
    """The store of an address, and the path within."""
    scheme, _, rest = name.partition("://")
    return _of_scheme(scheme.lower(), rest.partition("/")[0]), rest


def _path_of(name: str) -> str | None:
    """The path of this machine that a name means; None: it is an address elsewhere."""
    if not is_address(name):
        return name
    if not name.lower().startswith("file://"):
        return None
    parts = urlsplit(name)
    if parts.netloc not in ("", "localhost"):
        raise ScanError(f"{name}: a file:// address names a path of this machine: file:///folder")
    return unquote(parts.path, errors="surrogateescape")


def _stamp_of(info: Mapping[str, object]) -> dict[str, int]:
    size = info.get("size")
    found = {"size": int(size)} if isinstance(size, int) else {}
    for key in ("LastModified", "last_modified", "mtime", "updated", "created"):
        when = info.get(key)
        if isinstance(when, datetime):
            when = when.timestamp()
        if isinstance(when, int | float):
            return {**found, "mtime_ns": int(when * 1e9)}
    return found


def _reason(exc: BaseException) -> str:
    text = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return str(text).splitlines()[0][:300]


# -- fetching --------------------------------------------------------------------------------------


@contextmanager
def fetched(name: str, max_bytes: int = MAX_BYTES) -> Iterator[str]:
    """A path under which a file can be read: itself, or a copy that is deleted afterwards.

    A fetch that breaks is tried again, each time after a longer pause.

    Raises:
        FileNotFoundError, PermissionError: the store says so.
        OSError: the store cannot be read, or the object is larger than it may be.
    """
    if not is_address(name):
        yield name
        return
    base = os.fsencode(posixpath.basename(name.rstrip("/")))[-_LONGEST_NAME:]
    with TemporaryDirectory(prefix="scan-") as folder:
        path = Path(folder) / (os.fsdecode(base).replace("\0", "") or "object")
        for attempt in range(1, _TRIES + 1):
            try:
                _copy(name, path, max_bytes)
                break
            except (FileNotFoundError, PermissionError, _TooLargeError):
                raise
            except Exception as exc:
                if attempt == _TRIES:
                    raise OSError(f"cannot be fetched: {_reason(exc)}") from exc
                time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        yield str(path)


class _TooLargeError(OSError):
    """An object is larger than may be fetched."""


def _copy(name: str, path: Path, max_bytes: int) -> None:
    store, place = _store(name)
    with store.open(place, "rb") as source, path.open("wb") as target:
        left = max_bytes
        while data := source.read(_CHUNK):
            left -= len(data)
            if left < 0:
                raise _TooLargeError(f"larger than {max_bytes / 1024**3:.0f} GB")
            target.write(data)


def fetching(
    start: Callable[[], Callable[[str, Report], _Answer]],
) -> Callable[[str, Report], _Answer | Failure]:
    """What a worker does with a name that may be an address: fetch it, then work on the copy."""
    work = start()

    def fetch_and_work(name: str, report: Report) -> _Answer | Failure:
        if not is_address(name):
            return work(name, report)
        with ExitStack() as stack:
            try:
                path = stack.enter_context(fetched(name))
            except FileNotFoundError:
                return Failure("there is no such object")
            except PermissionError:
                return Failure("permission denied")
            except _TooLargeError as exc:
                return Failure(str(exc))
            except OSError as exc:
                return Failure(str(exc), passing=True)
            return work(path, report)

    return fetch_and_work
