"""A report of figures and checks: what an evaluation says, for people and for the card.

>>> Check("codec SI-SDR", 9.4, 9.0, "dB").line()
'codec SI-SDR: 9.4 dB (target >= 9.0): reached'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Check", "Report"]


@dataclass(frozen=True, slots=True)
class Check:
    """One figure with its target. `at_least` false: the figure must not exceed the target."""

    name: str
    value: float
    target: float
    unit: str = ""
    at_least: bool = True

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    def line(self) -> str:
        sign, unit = (">=" if self.at_least else "<="), f" {self.unit}" if self.unit else ""
        verdict = "reached" if self.reached else "NOT reached"
        return f"{self.name}: {self.value:.3g}{unit} (target {sign} {self.target}): {verdict}"


@dataclass
class Report:
    """All figures (`data`, for the card) and the checks; :meth:`text` is what a person reads."""

    data: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        checks = [{**asdict(check), "reached": check.reached} for check in self.checks]
        return {**self.data, "checks": checks}

    def text(self) -> str:
        lines = ["House model, measured on held-out test tracks", ""]
        for section, figures in self.data.items():
            lines.append(section)
            lines.extend(_table(figures, "  "))
            lines.append("")
        return "\n".join([*lines, "Checks", *(f"  {check.line()}" for check in self.checks)])


def _table(figures: Any, indent: str) -> list[str]:
    if not isinstance(figures, Mapping):
        return [f"{indent}{_short(figures)}"]
    width = max((len(str(key)) for key in figures), default=0)
    lines = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            inner = "  ".join(f"{k} {_short(v)}" for k, v in value.items())
            lines.append(f"{indent}{key!s:<{width}}  {inner}")
        else:
            lines.append(f"{indent}{key!s:<{width}}  {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return " ".join(_short(item) for item in value)
    return str(value)
