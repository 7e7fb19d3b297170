"""Run several generations of one model through its steps together.

A step of a model costs nearly the same for one generation as for several, because most of it is
reading the weights. Every generation runs in a thread of its own and takes part in steps as long
as it has some to do: it joins and leaves between any two. Whichever thread comes first does the
next step for all; there is no thread besides. What a generation's step computes must not depend on
the others: that is the affair of the function that does it.

>>> batch = Batch(lambda rows: print("step of", *rows), places=2)
>>> with batch.place(lambda: None) as place:
...     batch.advance(f"row {place}", 2, lambda: None)
step of row 0
step of row 0
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Batch"]

_Row = TypeVar("_Row", bound=Hashable)

_POLL_S = 0.1
"""How often a thread that waits looks whether it shall stop; a step wakes it as well."""


class Batch(Generic[_Row]):
    """Safe to share between threads.

    Args:
        step: takes these rows one step further. Never called twice at a time.
        places: rows at a time; further ones wait in line.
    """

    def __init__(self, step: Callable[[Sequence[_Row]], None], places: int) -> None:
        self._step = step
        self._changed = threading.Condition()
        self._free = list(range(places))
        self._line: deque[object] = deque()
        self._left: dict[_Row, int] = {}  # steps to do
        self._failed: dict[_Row, BaseException] = {}
        self._stepping: Sequence[_Row] = ()

    @contextmanager
    def place(self, waiting: Callable[[], None]) -> Iterator[int]:
        """Hold one of the places, first come, first served; gives its number.

        `waiting` is called while there is none; what it raises ends the waiting.
        """
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            try:
                while self._line[0] is not ticket or not self._free:
                    waiting()
                    self._changed.wait(_POLL_S)
                place = min(self._free)
                self._free.remove(place)
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()
        try:
            yield place
        finally:
            with self._changed:
                self._free.append(place)
                self._changed.notify_all()

    def advance(self, row: _Row, steps: int, on_step: Callable[[], None]) -> None:
        """Take `row` so many steps further, beside all others that are on their way.

        `on_step` is called in this thread about once a step. What it raises takes the row out, at
        the latest after the step that is being done. An error of a step is raised for each of its
        rows.
        """
        with self._changed:
            self._left[row] = steps
        try:
            while True:
                on_step()
                if not self._take_part(row):
                    return
        finally:
            with self._changed:
                while row in self._stepping:
                    self._changed.wait()
                del self._left[row]
                self._failed.pop(row, None)

    def _take_part(self, row: _Row) -> bool:
        """Do a step for all, or wait for the one that is being done; whether there are more."""
        with self._changed:
            if row in self._failed:
                raise self._failed[row]
            if self._left[row] <= 0:
                return False
            if self._stepping:
                self._changed.wait(_POLL_S)
                return True
            self._stepping = [one for one, left in self._left.items() if left > 0]
        error: BaseException | None = None
        try:
            self._step(self._stepping)
        except BaseException as exc:
            error = exc
            raise
        finally:
            with self._changed:
                for one in self._stepping:
                    self._left[one] -= 1
                    if error is not None and one != row:
                        self._failed[one] = error
                self._stepping = ()
                self._changed.notify_all()
        return True
