"""A report on examined files as a table (CSV, RFC 4180), one row a file.

>>> _harmless("=HYPERLINK(1)"), _harmless("song.wav")
("'=HYPERLINK(1)", 'song.wav')
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.verification.report import VerifyReport

__all__ = ["COLUMNS", "as_csv"]

COLUMNS = (
    "file", "verdict", "duration_s", "output_id", "title", "release_entry", "score", "threshold",
    "fingerprint_distance", "sha256", "verification_entry", "examined_at", "error",
)  # fmt: skip


def as_csv(reports: Sequence[VerifyReport]) -> str:
    """The table. No cell begins like a formula: file names and titles come from outside."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(
        {name: _harmless(value) for name, value in _cells(report).items()} for report in reports
    )
    return out.getvalue()


def _cells(report: VerifyReport) -> dict[str, Any]:
    detection, release, recorded = report.detection, report.release, report.recorded or {}
    return {
        "file": report.file,
        "verdict": str(report.verdict),
        "duration_s": report.duration_s,
        "output_id": None if release is None else str(release.output_id),
        "title": None if release is None else release.title,
        "release_entry": report.entry,
        "score": None if detection is None else round(detection.score, 4),
        "threshold": None if detection is None else round(detection.threshold, 4),
        "fingerprint_distance": report.fingerprint_distance,
        "sha256": report.sha256,
        "verification_entry": recorded.get("entry"),
        "examined_at": recorded.get("at"),
        "error": report.error,
    }


def _harmless(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
