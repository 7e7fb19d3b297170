"""Measure what the command of a scan does itself, on rows without audio.

Each part runs in a process of its own, so that its memory is its own. The rows are those of a scan
of the catalogue, under other names.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.catalogue.scanning import report_of
from watermark.batch.pool import Report, in_order
from watermark.batch.ray_pool import RayOptions, on_ray
from watermark.batch.sources import Catalogue
from watermark.cli.common import COLUMNS
from watermark.cli.scan import ScanSettings, run_scan

__all__ = ["HAND_BY_RAY", "HAND_LOCALLY", "MEASURED", "WHOLE", "measure"]

MEASURED = "command.json"
WHOLE = "scan: list, journal, dataset, page"
HAND_LOCALLY, HAND_BY_RAY = "hand a file to a local worker", "hand a file to a Ray worker"
_FOLDERS = 1_000
_HANDED, _WARM = 5_500, 500  # items without work, for what handing one over takes
_KEPT = ("file", "reader", "size", "mtime_ns")


def measure(folder: Path, *, rows: int) -> None:
    """Measure every part and keep the figures in the folder.

    Args:
        folder: the catalogue's; a scan of it gives the rows.
        rows: how many files to pretend.
    """
    found = {"rows": rows, "parts": {}}
    with tempfile.TemporaryDirectory(dir=folder, prefix="command-") as name:
        place = Path(name)
        _empty_files(place / "files", rows)
        for part, work in {
            "list the files": partial(_list, place),
            WHOLE: partial(_scan, place, folder, rows),
            "the same command again: nothing left to do": partial(_scan, place, folder, 0),
            HAND_LOCALLY: _hand_locally,
            HAND_BY_RAY: _hand_by_ray,
        }.items():
            found["parts"][part] = figures = _apart(work)
            print(part, figures, flush=True)
        found["journal"] = (place / "report.jsonl").stat().st_size
        found["dataset"] = sum(
            path.stat().st_size for path in (place / "dataset").rglob("*.parquet")
        )
    (folder / MEASURED).write_text(json.dumps(found, indent=1) + "\n")


def _apart(work: Callable[[], int | Iterator[Any]]) -> dict[str, float]:
    """Run a part in a new process; what it takes, and the number of items it says."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_figures, args=(theirs, work))
    process.start()
    theirs.close()
    figures: dict[str, float] = pipe.recv()
    process.join()
    return figures


def _figures(pipe: Any, work: Callable[[], int | Iterator[Any]]) -> None:
    began, used = time.monotonic(), time.process_time()
    items = work()
    if not isinstance(items, int):  # of a pool: workers have started after some items
        deque(itertools.islice(items, _WARM), maxlen=0)
        began, used = time.monotonic(), time.process_time()
        items = sum(1 for _ in items)
    wall, cpu = time.monotonic() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send({"items": items, "wall_s": wall, "cpu_s": cpu, "memory": memory})


def _empty_files(folder: Path, count: int) -> None:
    for number in range(count):
        if number < _FOLDERS:
            (folder / f"{number:03d}").mkdir(parents=True)
        (folder / f"{number % _FOLDERS:03d}" / f"{number:07d} of an album.flac").touch()


# -- parts -----------------------------------------------------------------------------------------


def _list(place: Path) -> int:
    return sum(1 for _ in Catalogue([str(place / "files")]))


def _scan(place: Path, folder: Path, expected: int) -> int:
    """The command's own work in one process: the examination is a row that is there already."""
    known = report_of(folder, "local").read_text().splitlines()
    bodies = [
        {key: value for key, value in json.loads(line).items() if key not in _KEPT}
        for line in known
        if line.endswith("}")
    ]
    answers: Iterator[dict[str, Any]] = itertools.cycle(bodies)
    settings = ScanSettings(
        out=place / "report.jsonl",
        dataset=place / "dataset",
        summary=place / "summary.html",
        engine="local",
        jobs=0,
        timeout_s=3600.0,
        retry=False,
        ray=RayOptions(),
    )
    examined = 0

    def record_of(file: str, answer: dict[str, Any]) -> dict[str, Any]:
        nonlocal examined
        examined += 1
        return {**answer, "file": file}

    run_scan(
        Catalogue([str(place / "files")]),
        lambda: lambda _file, _report: next(answers),
        record_of,
        settings,
        reader="bench",
        columns=COLUMNS,
        row_of=lambda record: {**(record.get("identification") or {}), **record},
    )
    assert examined == expected
    return examined


def _nothing() -> Callable[[str, Report], str]:
    return _same


def _same(file: str, _report: Report) -> str:
    return file


def _hand_locally() -> Iterator[Any]:
    return in_order(map(str, range(_HANDED)), _nothing, jobs=2)


def _hand_by_ray() -> Iterator[Any]:
    return on_ray(map(str, range(_HANDED)), _nothing, RayOptions(workers=2))
