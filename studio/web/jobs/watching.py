"""A list that a page session polls until no job is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["watch"]

_Item = TypeVar("_Item")

_TICK_S = 0.4


def watch(
    changed: threading.Condition,
    watchers: set[str],
    session: str,
    look: Callable[[], tuple[list[_Item], bool]],
) -> Iterator[list[_Item]]:
    """The list now, and again as it changes, until nothing is in line.

    A page session watches once: a second watch of it ends at once, and the first sees the change.
    Two would race: what the second saw could reach the page after what the first saw later.

    Args:
        changed: is notified when the list changes; its lock guards the list and the watchers.
        watchers: the page sessions that watch at present.
        session: the page session.
        look: the list, and whether something in it is still in line; called under the lock.

    >>> list(watch(threading.Condition(), set(), "a page", lambda: (["done"], False)))
    [['done']]
    """
    with changed:
        if session in watchers:
            changed.notify_all()
            return
        watchers.add(session)
    try:
        while True:
            with changed:
                items, busy = look()
                if not busy:
                    watchers.discard(session)
            yield items
            if not busy:
                return
            with changed:
                changed.wait(_TICK_S)
    finally:
        with changed:
            watchers.discard(session)
