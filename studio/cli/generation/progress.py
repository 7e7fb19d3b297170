"""Progress of a request for music, on stderr."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from studio.generation.progress import Progress
    from studio.music.models.fetching import Fetched

__all__ = ["Meter", "said_in_tenths"]


class Meter:
    """A line per stage, and generation in tenths."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: Progress) -> None:
        step = f"{progress.stage}{int(progress.fraction * 10)}"
        if step != self._last:
            self._last = step
            click.echo(f"{progress.fraction:4.0%} {progress.text}", err=True)


def said_in_tenths() -> Callable[[Fetched], None]:
    """Says each tenth of a fetch once, and each file."""
    said: set[tuple[str, int]] = set()

    def say(now: Fetched) -> None:
        step = (now.name, int(now.fraction * 10))
        if step not in said:
            said.add(step)
            click.echo(now.text, err=True)

    return say
