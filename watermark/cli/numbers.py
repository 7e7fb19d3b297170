"""Numbers on a command line: finite and within limits.

click's own ranges let nan through, which is neither below nor above any bound, and whole numbers of
any length, which no database or array can hold.
"""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Count", "Number"]

_LARGEST = 2**63 - 1


class Number(click.FloatRange):
    """A number within bounds, not nan and not infinite."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; what is out of bounds is an error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


class Count(click.IntRange):
    """A whole number within bounds, of at most 64 bits."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; what is out of bounds is an error."""
        number = super().convert(value, param, ctx)
        if not -_LARGEST <= number <= _LARGEST:
            self.fail(f"{value} has more than 64 bits", param, ctx)
        return number
