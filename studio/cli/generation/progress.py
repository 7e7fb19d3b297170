"""Progress of a request for music, on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from studio.generation.progress import Progress

__all__ = ["Meter"]


class Meter:
    """A line per stage, and generation in tenths."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: Progress) -> None:
        step = f"{progress.stage}{int(progress.fraction * 10)}"
        if step != self._last:
            self._last = step
            click.echo(f"{progress.fraction:4.0%} {progress.text}", err=True)
