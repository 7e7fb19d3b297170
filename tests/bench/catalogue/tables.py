"""Tables of what the runs of a catalogue's bench measured."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

from tests.bench.catalogue.million import HAND_BY_RAY, HAND_LOCALLY, MEASURED, WHOLE
from tests.bench.catalogue.scanning import (
    Run,
    different,
    program_of,
    report_of,
    runs_of,
    verdicts,
)
from tests.bench.output import machine, table

__all__ = ["tables"]

_CORES = (1, 10, 100, 1_000)
_RUNS = ("run", "rows", "of them read again", "starts", "audio", "processor time")
_RUNS += ("audio seconds a core-second", "most memory, all", "of it the command")


def tables(folder: Path) -> str:
    """Runs, verdicts and comparisons of every scan of the folder, in Markdown."""
    named = sorted(path.parent.name for path in folder.glob("*/report.jsonl"))
    names = [name for name in named if runs_of(folder, name)]
    parts = [machine()]
    parts.append(table(_RUNS, [_run(folder, name) for name in names]))
    parts += [_verdicts(folder, name) for name in names]
    for one, other in combinations(names, 2):
        if program_of(folder, one) != program_of(folder, other):
            continue  # they have other columns
        both, unlike = different(report_of(folder, one), report_of(folder, other))
        parts.append(f"{one} and {other}: {both:,} files in both, {len(unlike):,} rows differ")
        parts += unlike[:10]
    if (folder / MEASURED).exists():
        parts += _command(folder, names)
    return "\n\n".join(parts)


def _command(folder: Path, names: list[str]) -> list[str]:
    """What the command itself takes, and what follows for scans of so many files."""
    measured = json.loads((folder / MEASURED).read_text())
    rows, parts = measured["rows"], measured["parts"]
    lines = [
        table(
            ("part of the command", "items", "processor time", "each", "most memory"),
            [
                (
                    name,
                    f"{part['items']:,}",
                    f"{part['cpu_s']:,.1f} s",
                    f"{part['cpu_s'] / max(part['items'], 1) * 1e6:,.0f} us" * bool(part["items"]),
                    f"{part['memory'] / 1e6:,.0f} MB",
                )
                for name, part in parts.items()
            ],
        ),
        f"journal {measured['journal'] / 1e6:,.0f} MB, dataset {measured['dataset'] / 1e6:,.0f} MB "
        f"for {rows:,} files",
    ]
    for name, handing in (("local", HAND_LOCALLY), ("ray", HAND_BY_RAY)):
        if name not in names:
            continue
        handed = parts[handing]
        handing_s = handed["cpu_s"] / handed["items"]
        done = [run for run in runs_of(folder, name) if run.rows]
        file_s = sum(run.cpu_s for run in done) / max(sum(run.rows for run in done), 1)
        around_s = parts[WHOLE]["cpu_s"]
        lines.append(f"{name}, {rows:,} files, computed from {file_s:.2f} core-seconds a file:")
        lines.append(
            table(
                ("cores", "hours", "core-hours", "limited by"),
                [
                    (
                        f"{cores:,}",
                        f"{hours(rows, cores, file_s, handing_s, around_s):,.1f}",
                        f"{rows * file_s / 3600:,.0f}",
                        "workers" if file_s / cores > handing_s else "the command",
                    )
                    for cores in _CORES
                ],
            )
        )
    return lines


def hours(files: int, cores: int, file_s: float, handing_s: float, around_s: float) -> float:
    """Hours that a scan takes where workers do not slow each other.

    Args:
        files: number of them.
        cores: of the workers.
        file_s: processor time of one file.
        handing_s: the command's processor time to hand one file over and take its answer.
        around_s: what the command does besides, for all files: the list, journal and reports.

    >>> hours(3600, 2, 1.0, 0.1, 0.0), hours(3600, 100, 1.0, 0.1, 0.0)
    (0.5, 0.1)
    """
    return (max(files * file_s / cores, files * handing_s) + around_s) / 3600


def _run(folder: Path, name: str) -> list[str]:
    runs, found = runs_of(folder, name), verdicts(folder, report_of(folder, name))
    rows = sum(run.rows for run in runs)
    cpu = sum(run.cpu_s for run in runs)
    return [
        name,
        f"{rows:,}",
        f"{rows - found.table.total():,}",
        _starts(runs),
        f"{found.seconds / 3600:,.1f} h",
        f"{cpu / 3600:,.2f} h",
        f"{found.seconds / max(cpu, 1e-3):,.1f}",
        f"{max((run.pss_peak for run in runs), default=0) / 1e6:,.0f} MB",
        f"{max((run.root_rss_peak for run in runs), default=0) / 1e6:,.0f} MB",
    ]


def _starts(runs: list[Run]) -> str:
    ended = [run.ended for run in runs]
    left = sum(run.left for run in runs)
    words = [f"{ended.count(each)} {each}" for each in ("killed", "lost", "done") if each in ended]
    return ", ".join(words) + (f"; {left} processes left" if left else "")


def _verdicts(folder: Path, name: str) -> str:
    found = verdicts(folder, report_of(folder, name))
    lines = [
        f"{name}: {found.missing:,} files without a row, {found.strange:,} rows of no file; seals "
        f"named right {found.named:,}, wrong {found.named_wrong:,}",
        table(
            ("expected", "outcome", "files"),
            [(*pair, f"{count:,}") for pair, count in sorted(found.table.items())],
        ),
    ]
    if found.by_kind:
        lines.append(
            "not as expected: "
            + "; ".join(
                f"{kind}, {expected}: {outcome} {count:,}"
                for (kind, expected, outcome), count in found.by_kind.most_common()
            )
        )
    if found.reasons:
        reasons = (f"{reason} {count:,}" for reason, count in found.reasons.most_common())
        lines.append("not read: " + "; ".join(reasons))
    return "\n\n".join(lines)
