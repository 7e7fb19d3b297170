"""Several takes of one request, generated together, each with its own record.

A take is what the pipeline makes of the same request with the take's seed: its music is the same
alone and beside the others, for a model draws pieces that are asked for at the same time together
(:mod:`studio.music.models.batching`).

>>> from studio.provenance.release import GenerationRequest
>>> request = GenerationRequest(("genre/jazz",), 10.0, "experiment", "house", "wav", seed=7)
>>> [take.seed for take in take_requests(request, 3)]
[7, 8, 9]
"""

from __future__ import annotations

import contextvars
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from studio.core.errors import GenerationCancelledError, UsageError
from studio.generation.progress import OnProgress, Progress
from studio.provenance.release import GenerationRequest, Release

__all__ = ["MOST_SEED", "MOST_TAKES", "Take", "make_takes", "take_requests"]

MOST_TAKES = 4
"""Takes of one request: as many as the house model draws at a time."""

MOST_SEED = 2**31 - 1

_POLL_S = 0.5

Make = Callable[[GenerationRequest, OnProgress, threading.Event], Release]


@dataclass(frozen=True, slots=True)
class Take:
    """One take: its release, or else what kept it from being one."""

    request: GenerationRequest
    release: Release | None = None
    error: Exception | None = None


def take_requests(request: GenerationRequest, count: int) -> tuple[GenerationRequest, ...]:
    """The request `count` times, with the seeds that follow its own; without one, seeds are drawn.

    Raises :class:`UsageError` unless `count` is 1 to :data:`MOST_TAKES`.
    """
    if not 1 <= count <= MOST_TAKES:
        raise UsageError(f"a request is for 1 to {MOST_TAKES} takes, not {count}")
    if count == 1:
        return (request,)
    first = request.seed
    if first is None:
        drawn: set[int] = set()
        while len(drawn) < count:
            drawn.add(secrets.randbelow(MOST_SEED + 1))
        return tuple(replace(request, seed=seed) for seed in sorted(drawn))
    if first + count - 1 > MOST_SEED:
        raise UsageError(f"the seeds of {count} takes would go beyond {MOST_SEED}")
    return tuple(replace(request, seed=first + number) for number in range(count))


def make_takes(
    requests: Sequence[GenerationRequest],
    make: Make,
    *,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> tuple[Take, ...]:
    """Call ``make(request, progress, cancel)`` for all requests at a time, each in a thread.

    `progress` is told, in the calling thread, how far all of them are. An error of one take lets
    the others go on. Raises the first error where no take was released.
    """
    stop = cancel or threading.Event()
    said = _Said(len(requests))

    def one(number: int) -> Release:
        return make(requests[number], lambda step: said.hear(number, step), stop)

    with ThreadPoolExecutor(len(requests), thread_name_prefix="studio-take") as pool:
        # Each in a copy of this thread's context: who calls, and what the log's lines are of.
        made = [
            pool.submit(contextvars.copy_context().run, one, number)
            for number in range(len(requests))
        ]
        for future in made:
            future.add_done_callback(lambda _: said.wake())
        try:
            while not all(future.done() for future in made):
                step = said.next()
                if step is not None and progress is not None:
                    progress(step)
        except BaseException:  # Ctrl-C, or what `progress` raised
            stop.set()
            raise
    takes = tuple(_take(*pair) for pair in zip(requests, made, strict=True))
    errors = [take.error for take in takes if take.error is not None]
    if len(errors) == len(takes):
        raise next((e for e in errors if not isinstance(e, GenerationCancelledError)), errors[0])
    return takes


def _take(request: GenerationRequest, future: Future[Release]) -> Take:
    error = future.exception()
    if isinstance(error, Exception):
        return Take(request, None, error)
    return Take(request, future.result())


class _Said:
    """The latest progress of each take; what all of them together have come to."""

    def __init__(self, count: int) -> None:
        self._steps: list[Progress | None] = [None] * count
        self._changed = threading.Condition()
        self._news = False

    def hear(self, number: int, step: Progress) -> None:
        with self._changed:
            self._steps[number] = step
            self.wake()

    def wake(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def next(self) -> Progress | None:
        """Wait for a change; progress of the slowest take, and the average of all.

        None where not every take has begun.
        """
        with self._changed:
            if not self._news:
                self._changed.wait(_POLL_S)
            self._news = False
            steps = [step for step in self._steps if step is not None]
        if len(steps) < len(self._steps):
            return None
        last = min(steps, key=lambda step: step.fraction)
        fraction = sum(step.fraction for step in steps) / len(steps)
        text = last.text if len(steps) == 1 else f"{len(steps)} takes: {last.text}"
        return Progress(last.stage, fraction, text)
