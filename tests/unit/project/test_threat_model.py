"""The threat model names tests that exist, and no row goes without one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "docs" / "threat-model.md"
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def _attacks() -> list[str]:
    """Rows of four columns; headings and the lines under them apart."""
    lines = MODEL.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and line.count("|") == 5]
    return [row for row in rows if not row.endswith("| test |")]


def _exists(path: str, name: str) -> bool:
    file = ROOT / path
    return (
        file.is_file()
        and re.search(rf"^\s*def {name}\(", file.read_text(), re.MULTILINE) is not None
    )


def test_every_named_test_exists():
    named = _NAMED.findall(MODEL.read_text(encoding="utf-8"))
    assert len(named) > 30
    assert [f"{path}::{name}" for path, name in named if not _exists(path, name)] == []


def test_every_row_has_a_test_or_says_that_there_is_none():
    assert len(_attacks()) > 30
    assert [row for row in _attacks() if "::" not in row and "| none: " not in row] == []


def test_the_check_itself_notices_a_test_that_is_not_there():
    assert not _exists("tests/unit/project/test_threat_model.py", "test_that_nobody_wrote")
    assert not _exists("tests/unit/test_nothing.py", "test_every_named_test_exists")
