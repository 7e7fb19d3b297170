"""The account and address on whose behalf the current code runs.

The HTTP layer and the command line say so once, at their edge; nothing in between passes it on. It
holds for the thread or task that said it and for what they start.

>>> with calling("0" * 32, "192.0.2.7"):
...     current().address
'192.0.2.7'
>>> current().address
'this process'
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Origin", "calling", "current", "declare"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who and from where."""

    account_id: str | None  # None: nobody is signed in, or there are no accounts
    address: str


_UNSAID = Origin(None, "this process")
_current: ContextVar[Origin] = ContextVar("origin", default=_UNSAID)


def current() -> Origin:
    """What was said last."""
    return _current.get()


def declare(account_id: str | None, address: str) -> None:
    """Say it for the rest of this thread or task."""
    _current.set(Origin(account_id, address))


@contextmanager
def calling(account_id: str | None, address: str) -> Iterator[None]:
    """Say it for a block."""
    token = _current.set(Origin(account_id, address))
    try:
        yield
    finally:
        _current.reset(token)
