"""The HTML summary of a scan: verdicts, folders, errors and time.

>>> rows = [
...     {"file": "a/1.wav", "verdict": "sealed", "duration_s": 60.0},
...     {"file": "a/<b>.wav", "error": "<b>.wav: no audio in it", "kind": "AudioReadError"},
... ]
>>> page = summary_page(rows, title="Scan", examined=2, spent_s=30.0)
>>> [text in page for text in ("<td>sealed</td>", "<td>a</td>", "<td>no audio in it</td>")]
[True, True, True]
>>> "<b>" in page
False
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from watermark.batch.dataset import outcome_of

__all__ = ["summary_page"]

_NOTHING = frozenset({"no seal", "not-detected", "unreadable", "over-limits"})
"""Verdicts that find nothing of ours."""

_PLACES = 50
_REASONS = 50
_OTHER = "others"


def summary_page(
    rows: Iterable[Mapping[str, Any]], *, title: str, examined: int, spent_s: float
) -> str:
    """The page.

    Args:
        rows: the report's records, read once; those with an ``error`` have no verdict.
        title: of the page.
        examined: files of this run, which may have continued an earlier one.
        spent_s: how long this run took, seconds.
    """
    files: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    places: Counter[str] = Counter()
    found: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for row in rows:
        verdict = outcome_of(row)
        files[verdict] += 1
        seconds[verdict] += float(row.get("duration_s") or 0.0)
        place = os.path.dirname(str(row["file"])) or "."  # noqa: PTH120 - also an address
        places[place] += 1
        found[place] += verdict not in _NOTHING
        if "error" in row:
            # What comes before the colon is the file's own name.
            errors[str(row["error"]).partition(": ")[2] or str(row["error"])] += 1
    by_finding = sorted(places, key=lambda place: (-found[place], -places[place], place))
    a_minute = examined / max(spent_s, 1e-3) * 60
    environment = Environment(
        loader=PackageLoader("watermark.batch", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("summary.html").render(
        title=title,
        files=files.total(),
        hours=sum(seconds.values()) / 3600,
        verdicts=[
            (name, f"{count:,}", f"{seconds[name] / 3600:,.2f}")
            for name, count in files.most_common()
        ],
        places=[
            (place, f"{places[place]:,}", f"{found[place]:,}") for place in by_finding[:_PLACES]
        ],
        errors=[(reason, f"{count:,}") for reason, count in _most(errors, _REASONS)],
        times=[
            ("files examined by the latest run", f"{examined:,}"),
            ("time of the latest run", f"{spent_s:,.0f} s"),
            ("files a minute", f"{a_minute:,.0f}"),
        ],
    )


def _most(counts: Counter[str], number: int) -> list[tuple[str, int]]:
    """The largest counts, and what the others come to."""
    most = counts.most_common(number)
    rest = counts.total() - sum(count for _, count in most)
    return [*most, (_OTHER, rest)] if rest else most
