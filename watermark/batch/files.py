"""List a catalogue's files; continue an interrupted report.

A report is a journal first: one JSON object a line, appended and flushed as each file is answered,
so nothing is lost when the run is stopped. A later run with the same report examines only what has
no answer yet, or has changed since (size or time), or was read with other weights. CSV and Parquet
are written from the journal at the end, whole or not at all.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     with Journal(Path(folder) / "report.jsonl", reader="house-1") as journal:
...         journal.add({"file": "a.wav", "score": 3.0})
...     with Journal(Path(folder) / "report.jsonl", reader="house-1") as journal:
...         [record["score"] for record in journal.records()]
[3.0]
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from watermark.errors import ScanError
from watermark.util.files import replacing

__all__ = [
    "FORMATS",
    "Column",
    "Journal",
    "files_in",
    "listed",
    "plain",
    "pyarrow",
    "stamp",
    "write_table",
]

FORMATS = (".jsonl", ".csv", ".parquet")
"""Extensions a report may have."""


class Column(NamedTuple):
    """A column of a report's table.

    Attributes:
        kind: text, a floating-point number, or true and false.
        meaning: in words; a Parquet dataset carries it.
    """

    kind: Literal["text", "number", "flag"]
    meaning: str


_PARQUET_ROWS = 10_000  # in memory at a time


def files_in(paths: Iterable[str | Path], *, skip: Sequence[str] = ()) -> Iterator[str]:
    """Every file named, and every regular file below every folder named, by name.

    Extensions are not looked at: a renamed track is a track. Hidden files count. A symbolic link to
    a file is read; one to a folder is not followed below the folders named, so a loop cannot trap.
    What cannot be listed or is no regular file comes too, for the reader to say so.

    Args:
        paths: files and folders.
        skip: patterns (``*.jpg``) of names below a folder that are left out.
    """
    for path in paths:
        text = os.fspath(path)
        if not os.path.isdir(text):  # noqa: PTH112 - names may hold anything, NUL included
            yield text
            continue
        yield from _below(text, skip)


def _below(folder: str, skip: Sequence[str]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder  # the reader says why it cannot be opened
        return
    for entry in entries:
        if any(fnmatch(entry.name, pattern) for pattern in skip):
            continue
        try:
            below = entry.is_dir(follow_symlinks=False)
            linked = entry.is_symlink() and entry.is_dir()
        except OSError:
            below = linked = False
        if below:
            yield from _below(entry.path, skip)
        elif not linked:
            yield entry.path


def listed(path: str | Path) -> Iterator[str]:
    """The lines of a list of files; ``-`` is standard input. Names are taken as they stand.

    Raises:
        ScanError: the list cannot be read.
    """
    try:
        descriptor = 0 if str(path) == "-" else os.open(path, os.O_RDONLY)
        with os.fdopen(
            descriptor, encoding="utf-8-sig", errors="surrogateescape", closefd=str(path) != "-"
        ) as lines:
            for line in lines:
                if "\0" in line:
                    raise ScanError(
                        f"list of files {Path(path).name}: holds NUL characters; save it as UTF-8 "
                        "text, one name a line"
                    )
                if name := line.rstrip("\r\n"):
                    yield name
    except OSError as exc:
        raise ScanError(f"list of files {Path(path).name}: {exc.strerror}") from exc


def stamp(path: str) -> dict[str, int]:
    """Size and time of a file, by which a changed one is known; empty where it has none."""
    try:
        info = os.stat(path)  # noqa: PTH116 - as above
    except (OSError, ValueError):
        return {}
    return (
        {"size": info.st_size, "mtime_ns": info.st_mtime_ns} if stat.S_ISREG(info.st_mode) else {}
    )


class Journal:
    """The answers given so far, on disk.

    Args:
        path: JSON lines; made where it is missing.
        reader: id of the weights (and whatever else decides an answer); answers of another reader
            are given again.
        again: whether a file with this record is to be examined again.
        stamp: of a file, by its name; a changed one is examined again.

    Raises:
        ScanError: the file is there and is no journal, cannot be written, or another scan writes
            it.
    """

    def __init__(
        self,
        path: Path,
        *,
        reader: str,
        again: Callable[[Mapping[str, Any]], bool] = lambda _record: False,
        stamp: Callable[[str], Mapping[str, int]] = stamp,
    ) -> None:
        self._path = path
        self._reader = reader
        self._again = again
        self._stamp = stamp
        self._answered: dict[str, tuple[int | None, int | None]] = {}
        try:
            # One write a line: a record is there whole, or it is the torn last one.
            self._file = path.open("ab+")
        except OSError as exc:
            raise ScanError(
                f"{path.name}: {(exc.strerror or 'cannot be written').lower()}"
            ) from exc
        try:
            self._lock()
            self._take_up()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        """Keep other scans out: two would write the same answers."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ScanError(
                f"{self._path.name}: another scan is writing this report; wait for it, or choose "
                "another --out"
            ) from exc
        except OSError:  # a file system that locks nothing
            return

    def _take_up(self) -> None:
        """What an earlier run answered; a line it left half written is cut off."""
        self._file.seek(0)
        sound = 0
        for number, line in enumerate(self._file, 1):
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
                file = None if record is None else record["file"]
            except (ValueError, KeyError, TypeError) as exc:
                raise ScanError(
                    f"{self._path.name}, line {number}: not a record of a scan; "
                    "choose another --out"
                ) from exc
            if record is None or file is None:
                break
            sound += len(line)
            again = record.get("reader") != self._reader or self._again(record)
            if again and file in self._answered:
                del self._answered[file]
            elif not again:
                self._answered[file] = (record.get("size"), record.get("mtime_ns"))
        self._file.truncate(sound)
        self._file.seek(0, io.SEEK_END)

    def __len__(self) -> int:
        return len(self._answered)

    def answered(self, file: str) -> bool:
        """Whether the file has an answer and is still what it was then."""
        known = self._answered.get(_text(file))
        now = self._stamp(file)
        return known is not None and known == (now.get("size"), now.get("mtime_ns"))

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one answer; it names its ``file``. Raises :class:`OSError` (a full disk)."""
        body = {**record, "file": _text(record["file"]), "reader": self._reader}
        body |= self._stamp(record["file"])
        line = json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as exc:
            exc.filename = os.fspath(self._path)
            raise

    def records(self) -> Iterator[dict[str, Any]]:
        """The newest answer of every file, in the order in which they were given."""
        last: dict[str, int] = {}
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                last[json.loads(line)["file"]] = number
            file.seek(0)
            for number, line in enumerate(file):
                record = json.loads(line)
                if last[record["file"]] == number:
                    yield record

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def write_table(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Column], path: Path
) -> None:
    """The rows as CSV or Parquet, by the extension; what is no plain value stands as JSON.

    Raises:
        ScanError: Parquet without pyarrow.
        OSError: the disk's own errors.
    """
    with replacing(path) as file:
        if path.suffix == ".parquet":
            _write_parquet(rows, columns, file)
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(columns)
        for row in rows:
            table.writerow([_cell(row.get(name)) for name in columns])
        text.detach()


def _cell(value: Any) -> Any:
    """A value for a spreadsheet; text that a spreadsheet would run as a formula is quoted."""
    cell = plain(value)
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell


def plain(value: Any) -> Any:
    """A value for one cell of a table: lists and objects as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _write_parquet(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Column], file: io.BufferedRandom
) -> None:
    arrow = pyarrow()
    kinds = {"text": arrow.string(), "number": arrow.float64(), "flag": arrow.bool_()}
    schema = arrow.schema([(name, kinds[each.kind]) for name, each in columns.items()])
    with import_module("pyarrow.parquet").ParquetWriter(file, schema) as writer:
        cells = ({name: plain(row.get(name)) for name in columns} for row in rows)
        while batch := list(islice(cells, _PARQUET_ROWS)):
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))


def pyarrow() -> Any:
    """pyarrow, which only Parquet needs. Raises :class:`ScanError` where it is not installed."""
    try:
        return import_module("pyarrow")
    except ImportError as exc:
        raise ScanError(
            "a .parquet report needs pyarrow, which is not installed; use .jsonl or .csv"
        ) from exc


def _text(file: str) -> str:
    """A file's name as UTF-8 can hold it: bytes that are none become visible escapes."""
    return file.encode("utf-8", "backslashreplace").decode()
