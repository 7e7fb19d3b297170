"""How many CPU threads torch uses while music is generated."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["torch_threads"]

_lock = threading.Lock()
_users = 0
_before = 1


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch with so many CPU threads; None leaves their number.

    The number holds for the process. The last of several blocks puts the former number back.
    """
    global _users, _before  # noqa: PLW0603 - torch's number of threads is the process's, too
    import torch

    with _lock:
        if _users == 0:
            _before = torch.get_num_threads()
        _users += 1
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                torch.set_num_threads(_before)
