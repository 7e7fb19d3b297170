"""Scan results as a Parquet dataset, partitioned by verdict.

``DIR/verdict=sealed/part-0.parquet`` and so on: the partition's name is the verdict, which is no
column of the files (Hive's convention, which readers know). The columns are those of the table of
the same scan, in the same order; their meaning stands in the schema's own metadata and in
docs/scale.md. A dataset is made anew at the end of each run, whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from watermark.batch.files import Column, plain, pyarrow
from watermark.errors import AudioFormatLimitError, AudioTooLongError, ScanError

__all__ = ["PARTITION", "check_folder", "outcome_of", "write_dataset"]

PARTITION = "verdict"
"""The column by which a dataset is split; see :func:`outcome_of` for where there is no verdict."""

_OVER_LIMITS = frozenset({AudioFormatLimitError.__name__, AudioTooLongError.__name__})

_ROWS = 10_000  # in memory at a time
_FILE_ROWS = 500_000  # of one Parquet file
_MARK = "_scan.json"  # names the folder as ours; readers pass over what begins with _


def check_folder(folder: Path) -> None:
    """Refuse to replace a folder that is no earlier dataset.

    Raises:
        ScanError: it holds something else, or cannot be made.
    """
    pyarrow()  # said before the work, not after it
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).is_file():
            raise ScanError(f"{folder.name}: holds something else than the dataset of a scan")
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ScanError(f"{folder.name}: {(exc.strerror or 'cannot be made').lower()}") from exc


def write_dataset(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, Column],
    folder: Path,
) -> None:
    """Write the rows below ``folder``, in place of an earlier dataset.

    Args:
        rows: of the table; one with an ``error`` has no verdict: :func:`outcome_of`.
        columns: of the table; their meaning is kept in the schema.
        folder: made, or an earlier dataset.

    Raises:
        ScanError: pyarrow is missing, or the folder holds something else.
        OSError: the disk's own errors.
    """
    check_folder(folder)
    arrow = pyarrow()
    dataset = import_module("pyarrow.dataset")
    kinds = {"text": arrow.string(), "number": arrow.float64(), "flag": arrow.bool_()}
    schema = arrow.schema(
        [
            arrow.field(name, kinds[column.kind], metadata={"meaning": column.meaning})
            for name, column in columns.items()
        ]
    )

    def batches() -> Iterator[Any]:
        cells = ({name: _cell(row, name) for name in columns} for row in rows)
        while part := list(islice(cells, _ROWS)):
            yield arrow.RecordBatch.from_pylist(part, schema=schema)

    fresh = folder.with_name(f".{folder.name}-unfinished")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    fresh.mkdir()
    try:
        dataset.write_dataset(
            batches(),
            fresh,
            schema=schema,
            format="parquet",
            partitioning=dataset.partitioning(
                arrow.schema([schema.field(PARTITION)]), flavor="hive"
            ),
            max_rows_per_file=_FILE_ROWS,
            max_rows_per_group=_FILE_ROWS,
            preserve_order=True,
        )
        (fresh / _MARK).write_text('{"columns": "docs/scale.md"}\n')
        _take_place(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def outcome_of(record: Mapping[str, Any]) -> str:
    """The verdict of a record; ``over-limits`` or ``unreadable`` for one with an ``error``.

    >>> outcome_of({"error": "longer than 43200 s of audio", "kind": "AudioTooLongError"})
    'over-limits'
    """
    if "error" not in record:
        return str(record["verdict"])
    return "over-limits" if record.get("kind") in _OVER_LIMITS else "unreadable"


def _cell(row: Mapping[str, Any], name: str) -> Any:
    if name == PARTITION and "error" in row:
        return outcome_of(row)
    return plain(row.get(name))


def _take_place(fresh: Path, folder: Path) -> None:
    """Give a finished dataset its name; the earlier one goes away after that."""
    if not folder.exists():
        fresh.rename(folder)
        return
    old = folder.with_name(f".{folder.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
