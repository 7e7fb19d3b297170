"""Scan the catalogue by a command that is killed and run again, and compare rows with the truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.bench.catalogue.making import IDS, KEY, LIST, truth_of
from tests.bench.catalogue.processes import ProcessTree
from tests.bench.catalogue.studio_home import HOME, make_home
from watermark.batch.dataset import outcome_of

__all__ = [
    "Program",
    "Run",
    "Verdicts",
    "different",
    "program_of",
    "report_of",
    "rows_of",
    "runs_of",
    "scan",
    "verdicts",
]

Program = Literal["watermark", "studio"]

_LOOK_S, _MEMORY_EVERY = 1.0, 5  # looks between two at memory
_ORPHANS_S = 120.0  # for what a killed command started to end by itself
# Verdicts of ``studio scan``. The sealed pieces are music of the catalogue: what is cut from the
# same track is found by its content, and rightly so.
_OUTCOMES = {"excerpt": "sealed", "not-detected": "no seal", "unsealed-copy": "copy"}


@dataclass(frozen=True, slots=True)
class Run:
    """One start of the command.

    Attributes:
        ended: ``done``, ``killed``, or ``lost`` where the bench itself was stopped.
        rows: rows it added to the report.
        left: processes that were there two minutes after a kill.
    """

    ended: str
    rows: int
    wall_s: float
    cpu_s: float
    pss_peak: int
    root_rss_peak: int
    left: int = 0
    code: int | None = None


def report_of(folder: Path, name: str) -> Path:
    return folder / name / "report.jsonl"


def program_of(folder: Path, name: str) -> str:
    """Whose ``scan`` made a run: ``watermark`` or ``studio``."""
    told = folder / name / "program"
    return told.read_text() if told.exists() else "watermark"


def runs_of(folder: Path, name: str) -> list[Run]:
    """The runs so far; one that is going on, or whose bench was stopped, is the last."""
    paths = [folder / name / file for file in ("runs.jsonl", "running.json")]
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return [Run(**json.loads(line)) for line in lines]


def scan(
    folder: Path, name: str, options: Sequence[str], *, kills: int, seed: int, program: Program
) -> Iterator[Run]:
    """Start the command until it ends by itself; goes on where an earlier bench was stopped.

    Args:
        folder: the catalogue's.
        name: of the run; the report and the measurements lie below ``folder/name``.
        options: of the command, such as ``--engine ray``.
        kills: how often ``kill -9`` ends the command, after seeded numbers of rows.
        seed: of those numbers.
        program: whose ``scan`` it is; a studio gets a home of its own in the folder.
    """
    place = folder / name
    if place.exists() and program_of(folder, name) != program:
        raise SystemExit(f"{place} holds a scan by {program_of(folder, name)}")
    place.mkdir(exist_ok=True)
    (place / "program").write_text(program)
    if program == "studio":
        make_home(folder)
    now, book = place / "running.json", place / "runs.jsonl"
    if now.exists():
        _write(book, Run(**json.loads(now.read_text())))
        now.unlink()
    files = len((folder / LIST).read_text().splitlines())
    rng = np.random.default_rng([seed, 5])
    at = sorted(int(n) for n in rng.integers(files // 10, files * 9 // 10, kills))
    done = sum(run.ended == "killed" for run in runs_of(folder, name))
    for kill in [*at[done:], None]:
        run = _one(folder, name, _command(folder, name, program, options), kill, now)
        _write(book, run)
        now.unlink(missing_ok=True)
        yield run
        if run.ended == "done":
            return


def _command(folder: Path, name: str, program: Program, options: Sequence[str]) -> list[str]:
    place = folder / name
    command = [sys.executable, "-m", program, "scan", "--files-from", folder / LIST]
    if program == "watermark":
        command += ["--ids", folder / IDS, "--key-file", folder / KEY]
    command += ["--out", report_of(folder, name), "--dataset", place / "dataset"]
    command += ["--summary", place / "summary.html", *options]
    return list(map(str, command))


def _one(folder: Path, name: str, command: Sequence[str], kill: int | None, now: Path) -> Run:
    place, report = folder / name, report_of(folder, name)
    environment = {**os.environ, "STUDIO_HOME": str(folder / HOME)}
    before = _lines(report)
    began = time.monotonic()
    with (
        (place / "command.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        tree = ProcessTree(process.pid)

        def run(ended: str, rows: int, left: int = 0) -> Run:
            wall = time.monotonic() - began
            peaks = (tree.pss_peak, tree.root_rss_peak)
            return Run(ended, rows - before, wall, tree.cpu_s, *peaks, left, process.returncode)

        looks, rows = 0, before
        while process.poll() is None:
            looks += 1
            if looks % _MEMORY_EVERY == 1:
                tree.sample()
                now.write_text(_text(run("lost", rows)))
            else:
                tree.living()
            rows = _lines(report)
            if kill is not None and rows >= kill:
                process.send_signal(signal.SIGKILL)
                process.wait()
                left = _wait_for_orphans(tree)
                return run("killed", _lines(report), left)
            time.sleep(_LOOK_S)
        return run("done", _lines(report))


def _wait_for_orphans(tree: ProcessTree) -> int:
    end = time.monotonic() + _ORPHANS_S
    while (left := len(tree.living())) and time.monotonic() < end:
        time.sleep(_LOOK_S)
    return left


def _text(run: Run) -> str:
    return json.dumps({name: getattr(run, name) for name in Run.__slots__})


def _write(book: Path, run: Run) -> None:
    with book.open("a") as file:
        file.write(_text(run) + "\n")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


# -- rows ------------------------------------------------------------------------------------------


def rows_of(report: Path) -> dict[str, dict[str, Any]]:
    """The row of each file. A file with two rows is an error of the scan."""
    rows: dict[str, dict[str, Any]] = {}
    with report.open() as lines:
        for line in lines:
            if not line.endswith("\n"):  # a kill tore it
                break
            row = json.loads(line)
            assert row["file"] not in rows, f"two rows of {row['file']}"
            rows[row["file"]] = row
    return rows


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows beside the truth.

    Attributes:
        table: (expected, outcome) to files, of the files that have a row.
        by_kind: of the files that are not as expected: how they were made, expected, outcome.
        named, named_wrong: files whose seal was read and named, right and wrong.
        reasons: why files could not be read.
        seconds: of audio that was read.
        missing: files without a row.
        strange: rows of files that are not in the catalogue.
    """

    table: Counter[tuple[str, str]]
    by_kind: Counter[tuple[str, str, str]]
    named: int
    named_wrong: int
    reasons: Counter[str]
    seconds: float
    missing: int
    strange: int


def verdicts(folder: Path, report: Path) -> Verdicts:
    """Compare a report of either program with the truth."""
    truth, rows = truth_of(folder), rows_of(report)
    table: Counter[tuple[str, str]] = Counter()
    by_kind: Counter[tuple[str, str, str]] = Counter()
    names, reasons = Counter[bool](), Counter[str]()
    for file, row in rows.items():
        if file not in truth:
            continue
        true, outcome = truth[file], outcome_of(row)
        outcome = _OUTCOMES.get(outcome, outcome)
        table[true["expect"], outcome] += 1
        if outcome != true["expect"]:
            by_kind[true["kind"], true["expect"], outcome] += 1
        seal = row.get("seal_id") or (row.get("identification") or {}).get("seal_id")
        if seal and outcome != "copy":
            names[seal == true["seal_id"]] += 1
        if "error" in row:
            reasons[row["error"].partition(": ")[2]] += 1
    return Verdicts(
        table,
        by_kind,
        names[True],
        names[False],
        reasons,
        sum(row.get("duration_s") or 0.0 for row in rows.values()),
        len(truth.keys() - rows.keys()),
        len(rows.keys() - truth.keys()),
    )


def different(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many files both reports have, and which of them have rows that are not the same."""
    rows, others = rows_of(one), rows_of(other)
    both = rows.keys() & others.keys()
    return len(both), sorted(file for file in both if rows[file] != others[file])
