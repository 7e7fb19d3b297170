"""Process many files in parallel: ordered, bounded memory, errors isolated.

A worker process that dies (a decoder that crashes, a file that takes all memory) costs one file its
answer and is replaced; which file it was is known, because every worker holds one at a time. A
file that takes longer than it may is given up in the same way. Answers come in the order of the
files, whatever order the work ends in; 32 a worker may wait for their turn.

Ctrl-C reaches the parent only: the generator ends its workers when it is closed.

>>> list(in_order([1, 2, 3], lambda: lambda n, report: n * n, jobs=0))
[(1, 1), (2, 4), (3, 9)]
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Failure", "Report", "answer", "in_order"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: Called by the work with the seconds of audio it has read so far.
Report = Callable[[float], None]

_logger = logging.getLogger(__name__)
_AHEAD_PER_JOB = 32  # answers that may wait for an earlier one
_TICK_S = 1.0  # how often time limits are looked at
_START_S = 300.0  # for a worker to load what it needs, beside the limit for its first item
_REPORT_S = 1.0  # between two reports of one worker


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands in place of an answer.

    Attributes:
        why: for people.
        passing: it lies with a machine or a connection, and may be gone at the next try.
        kind: name of the error behind it, where there is one.
    """

    why: str
    passing: bool = False
    kind: str = "Failure"


def in_order(
    items: Iterable[_Item],
    start: Callable[[], Callable[[_Item, Report], _Result]],
    *,
    jobs: int,
    timeout_s: float | None = None,
    progress: Callable[[_Item, float], None] | None = None,
) -> Generator[tuple[_Item, _Result | Failure]]:
    """Each item with what the work says about it, in the order of the items.

    Args:
        items: taken one by one; there may be millions.
        start: called once in every worker; loads what the work needs and returns the work. With
            ``jobs`` it must be picklable: a function of a module, or a partial of one.
        jobs: worker processes; 0 works in this process, where a crash or a hang is everybody's.
        timeout_s: longest time for one item, in a worker that has started.
        progress: called with an item at work and the seconds of it that were read.

    Raises:
        Whatever ``start`` raises. What the work raises is a :class:`Failure` of its item.
    """
    if jobs == 0:
        work = start()
        with _felt_interrupts() as interrupted:
            for item in items:
                yield item, answer(work, item, _reporter(item, progress))
                if interrupted():
                    raise KeyboardInterrupt
        return
    pool = _Pool(start, jobs, timeout_s)
    try:
        yield from pool.run(items, progress)
    finally:
        pool.close()


@contextmanager
def _felt_interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, also where C code swallowed the exception.

    libsndfile reads through a callback; what is raised in there is printed and forgotten by cffi.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield lambda: False
        return
    felt = threading.Event()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        felt.set()
        previous(number, frame)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield felt.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def _reporter(item: _Item, progress: Callable[[_Item, float], None] | None) -> Report:
    return (lambda _seconds: None) if progress is None else (lambda s: progress(item, s))


def answer(
    work: Callable[[_Item, Report], _Result], item: _Item, report: Report
) -> _Result | Failure:
    """The result of one item; an exception becomes a failure of that item."""
    try:
        return work(item, report)
    except (OSError, MemoryError) as exc:  # the machine's own: a full disk, no memory
        reason = getattr(exc, "strerror", None) or "not enough memory"
        _logger.debug("the work on one item failed", exc_info=exc)
        return Failure(f"it could not be examined here: {reason.lower()}", passing=True)
    except Exception as exc:  # whatever one file provokes must not stop the others
        _logger.exception("the work on one item failed")
        return Failure(f"internal error ({type(exc).__name__})")


class _Worker:
    """A process and the item it has in hand."""

    def __init__(self, start: Callable[[], Any], threads: int) -> None:
        # Spawned, never forked: numpy's and torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        # No daemon: the work may start processes of its own. It ends when its pipe is closed.
        self.process = context.Process(target=_serve, args=(child, start, threads))
        self.process.start()
        child.close()
        self.holds: int | None = None  # number of the item
        self.since = 0.0  # monotonic, seconds
        self.started = False  # it has loaded what it needs

    def hand(self, number: int, item: object) -> None:
        self.holds, self.since = number, time.monotonic()
        self.pipe.send(item)

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class _Pool:
    """Workers, what they have in hand, and answers that wait for their turn."""

    def __init__(self, start: Callable[[], Any], jobs: int, timeout_s: float | None) -> None:
        self._start = start
        self._timeout_s = timeout_s
        self._threads = max(1, (os.cpu_count() or 1) // jobs)
        self._jobs = jobs
        self._workers: list[_Worker] = []
        self._answers: dict[int, Any] = {}

    def run(
        self, items: Iterable[Any], progress: Callable[[Any, float], None] | None
    ) -> Iterator[tuple[Any, Any]]:
        source = enumerate(items)
        waiting: dict[int, Any] = {}  # given to a process or answered, not yet yielded
        turn, exhausted = 0, False
        while True:
            while not exhausted and len(waiting) < _AHEAD_PER_JOB * self._jobs:
                worker = self._idle()
                if worker is None:
                    break
                taken = next(source, None)
                if taken is None:
                    exhausted = True
                    break
                number, item = taken
                waiting[number] = item
                self._hand(worker, number, item)
            while turn in self._answers:
                yield waiting.pop(turn), self._answers.pop(turn)
                turn += 1
            if exhausted and not waiting:
                return
            if any(worker.holds is not None for worker in self._workers):
                self._listen(waiting, progress)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _idle(self) -> _Worker | None:
        """A worker without work; a new one while there are fewer than may be."""
        for worker in self._workers:
            if worker.holds is None:
                return worker
        if len(self._workers) == self._jobs:
            return None
        worker = _Worker(self._start, self._threads)
        self._workers.append(worker)
        return worker

    def _hand(self, worker: _Worker, number: int, item: object) -> None:
        try:
            worker.hand(number, item)
        except OSError:  # it died while it had nothing to do
            self._replace(worker, "the process that was to examine it ended")
            self._answers.pop(number)
            self._workers.append(_Worker(self._start, self._threads))
            self._workers[-1].hand(number, item)

    def _listen(self, items: dict[int, Any], progress: Callable[[Any, float], None] | None) -> None:
        busy = {worker.pipe: worker for worker in self._workers if worker.holds is not None}
        for pipe in wait(list(busy), timeout=_TICK_S):
            assert isinstance(pipe, Connection)
            worker = busy[pipe]
            assert worker.holds is not None
            try:
                kind, value = pipe.recv()
            except (EOFError, OSError):
                self._replace(worker, "the process that examined it crashed")
                continue
            if kind == "cannot start":
                raise value
            if kind == "started":  # the time an item takes is counted from here
                worker.started, worker.since = True, time.monotonic()
                continue
            if kind == "read":
                if progress is not None:
                    progress(items[worker.holds], value)
                continue
            self._answers[worker.holds] = value
            worker.holds = None
        for worker in list(self._workers):
            if self._timeout_s is None or worker.holds is None:
                continue
            limit = self._timeout_s + (0.0 if worker.started else _START_S)
            if time.monotonic() - worker.since > limit:
                self._replace(worker, f"no answer within {self._timeout_s:g} s")

    def _replace(self, worker: _Worker, why: str) -> None:
        """Give up what the worker holds; the next free place starts a new one."""
        assert worker.holds is not None
        self._answers[worker.holds] = Failure(why)
        worker.stop()
        self._workers.remove(worker)


def _serve(
    pipe: Connection, start: Callable[[], Callable[[Any, Report], Any]], threads: int
) -> None:
    """What a worker process does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Read by the numeric libraries when `start` imports them.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        work = start()
    except Exception as exc:  # noqa: BLE001 - raised again in the parent
        pipe.recv()
        pipe.send(("cannot start", exc))
        return
    try:
        pipe.send(("started", None))
    except OSError:  # the parent has gone
        return
    last = 0.0

    def report(seconds: float) -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_S:
            last = time.monotonic()
            pipe.send(("read", seconds))

    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(("done", answer(work, item, report)))
        except OSError:  # the parent has gone
            return
