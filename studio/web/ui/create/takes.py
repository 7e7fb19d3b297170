"""Several takes of one request: the same choices, each with its own seed, seal and record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.progress import Progress
    from studio.provenance.release import GenerationRequest, Release
    from studio.web.jobs.making import Work

__all__ = ["MOST_TAKES", "takes"]

MOST_TAKES = 4


def takes(session: Session, request: GenerationRequest, count: int) -> Work:
    """Work that makes ``count`` outputs of a request, with the seeds that follow its own.

    Each is a request of its own: consent, limits and near-duplicates are checked for it.
    """
    count = min(max(1, int(count)), MOST_TAKES)

    def work(report: Callable[[Any], None], cancel: threading.Event) -> Iterator[Release]:
        for number in range(count):
            seed = None if request.seed is None else request.seed + number
            yield session.generation.create(
                replace(request, seed=seed),
                progress=_of_all(report, number, count),
                cancel=cancel,
            )

    return work


def _of_all(report: Callable[[Any], None], number: int, count: int) -> Callable[[Progress], None]:
    """Report the progress of one take as that of all."""

    def told(step: Progress) -> None:
        if count > 1:
            fraction = (number + step.fraction) / count
            step = replace(
                step, fraction=fraction, text=f"Take {number + 1} of {count}: {step.text}"
            )
        report(step)

    return told
