"""Several takes of one request: the same choices, each with its own seed, seal and record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.generation.preview import Preview

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.generation.progress import Progress
    from studio.provenance.release import GenerationRequest, Release
    from studio.web.jobs.making import Work

__all__ = ["MOST_TAKES", "previews_of", "takes"]

MOST_TAKES = 4


def takes(session: Session, request: GenerationRequest, previews: tuple[Preview, ...]) -> Work:
    """Work that makes an output for each preview, with the seeds that follow the request's own.

    Each is a request of its own: consent, limits and near-duplicates are checked for it.
    """
    count = len(previews)

    def work(report: Callable[[Any], None], cancel: threading.Event) -> Iterator[Release]:
        for number, preview in enumerate(previews):
            seed = None if request.seed is None else request.seed + number
            yield session.generation.create(
                replace(request, seed=seed),
                progress=_of_all(report, number, count),
                cancel=cancel,
                preview=preview,
            )

    return work


def previews_of(count: Any) -> tuple[Preview, ...]:
    """A preview for each of 1 to 4 takes; a number beyond is taken as the nearest of these.

    >>> len(previews_of(2)), len(previews_of(99))
    (2, 4)
    """
    return tuple(Preview() for _ in range(min(max(1, int(count)), MOST_TAKES)))


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
