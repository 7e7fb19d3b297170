"""A report on examined files as JSON.

A report names each file by its SHA-256, so that nobody can pass it off as one on another file, and
says with which versions, against how many registered outputs and when it was made.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from studio.consent.types import format_instant

if TYPE_CHECKING:
    from studio.verification.report import VerifyReport

__all__ = ["REPORT_VERSION", "as_json", "versions"]

REPORT_VERSION = 1


def versions(reports: Sequence[VerifyReport]) -> dict[str, Any]:
    """What examined the files: software, and the weights of the detector."""
    from importlib.metadata import version

    models = {r.detection.model for r in reports if r.detection is not None}
    return {
        "consented-music-studio": version("consented-music-studio"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
        "seal models": sorted(models),
    }


def as_json(reports: Sequence[VerifyReport], *, at: datetime | None = None) -> str:
    """The reports as one JSON object; the files' entries are those of ``studio verify --json``."""
    body: Mapping[str, Any] = {
        "report_version": REPORT_VERSION,
        "made_at": format_instant(at or datetime.now(UTC)),
        "versions": versions(reports),
        "files": [report.to_json() for report in reports],
    }
    return json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
