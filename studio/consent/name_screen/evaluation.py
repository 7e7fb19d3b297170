"""Measure the name screen on a published table of texts and right answers.

>>> rows = [Row("refuse", "plain", "ABBA summer"), Row("allow", "title", "Cabbage summer")]
>>> from studio.consent.name_screen.screen import NameScreen
>>> result = measure(NameScreen(["ABBA"]), rows)
>>> (result.refused, result.to_refuse), (result.wrongly_refused, result.to_allow)
((1, 1), (0, 1))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.consent.name_screen.screen import NameScreen
from studio.core.errors import ConfigError
from watermark.util.stats import clopper_pearson

__all__ = ["Result", "Row", "measure", "read_table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One text of a table."""

    expected: str  # "refuse" or "allow"
    kind: str  # what the text is an example of
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """How the screen answered a table."""

    rows: tuple[Row, ...]
    wrong: tuple[Row, ...]  # answered otherwise than the table says

    @property
    def to_refuse(self) -> int:
        return sum(row.expected == "refuse" for row in self.rows)

    @property
    def refused(self) -> int:
        """Of the texts to refuse."""
        return self.to_refuse - sum(row.expected == "refuse" for row in self.wrong)

    @property
    def to_allow(self) -> int:
        return len(self.rows) - self.to_refuse

    @property
    def wrongly_refused(self) -> int:
        """Of the texts to allow."""
        return sum(row.expected == "allow" for row in self.wrong)

    def of(self, kind: str) -> Result:
        return Result(
            tuple(row for row in self.rows if row.kind == kind),
            tuple(row for row in self.wrong if row.kind == kind),
        )

    def without(self, kind: str) -> Result:
        return Result(
            tuple(row for row in self.rows if row.kind != kind),
            tuple(row for row in self.wrong if row.kind != kind),
        )

    def to_json(self) -> dict[str, Any]:
        kinds = dict.fromkeys((row.expected, row.kind) for row in self.rows)
        return {
            "refused": [self.refused, self.to_refuse],
            "wrongly_refused": [self.wrongly_refused, self.to_allow],
            "recall_95": _interval(self.refused, self.to_refuse),
            "false_refusals_95": _interval(self.wrongly_refused, self.to_allow),
            "kinds": [
                {
                    "expected": expected,
                    "kind": kind,
                    "right": len(self.of(kind).rows) - len(self.of(kind).wrong),
                    "texts": len(self.of(kind).rows),
                }
                for expected, kind in kinds
            ],
            "wrong": [[row.expected, row.kind, row.text] for row in self.wrong],
        }


def read_table(path: Path) -> tuple[Row, ...]:
    """Rows of ``expected<TAB>kind<TAB>text``; ``#`` starts a comment line."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the table {path}: {exc}") from exc
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != 3 or cells[0] not in ("refuse", "allow"):
            raise ConfigError(f"{path}, line {number}: expected `refuse|allow<TAB>kind<TAB>text`")
        rows.append(Row(*cells))
    return tuple(rows)


def measure(screen: NameScreen, rows: Iterable[Row]) -> Result:
    """Have the screen answer every row."""
    rows = tuple(rows)
    wrong = tuple(row for row in rows if bool(screen.find(row.text)) != (row.expected == "refuse"))
    return Result(rows, wrong)


def _interval(count: int, of: int) -> Sequence[float]:
    """Clopper-Pearson, 95 %."""
    return [round(bound, 4) for bound in clopper_pearson(count, of)]
