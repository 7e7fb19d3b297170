"""Outputs that their owners share by a link.

Each change is a ledger entry ``sharing``, so that anybody who audits the ledger sees when an output
was shared and when the link was withdrawn::

    {"output_id": "9f2c...", "shared": true}

The index of the entry that shared an output is part of its link
(:mod:`studio.app.outputs.sharing`): shared again, it has another one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.provenance.ledger.log import Ledger

__all__ = ["KIND", "Shares"]

KIND = "sharing"


class Shares:
    """The shared outputs of one ledger. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._current: dict[str, int] = {}  # output -> entry that shares it now
        self._all: dict[str, list[int]] = {}  # output -> every entry that shared it
        self._seen = -1  # index of the last entry taken into account

    def entry_of(self, output_id: str) -> int | None:
        """The entry by which the output is shared now; None where it is not."""
        with self._lock:
            self._refresh()
            return self._current.get(output_id)

    def entries_of(self, output_id: str) -> tuple[int, ...]:
        """Every entry that ever shared the output, withdrawn ones included."""
        with self._lock:
            self._refresh()
            return tuple(self._all.get(output_id, ()))

    def change(self, output_id: str, *, shared: bool) -> int | None:
        """Record that an output is shared from now on, or no longer.

        Returns:
            The entry by which it is shared now, which stays the same where it was shared before;
            None where it is not.
        """
        if (self.entry_of(output_id) is not None) is not shared:
            self._ledger.append(KIND, {"output_id": output_id, "shared": shared})
        return self.entry_of(output_id)

    def _refresh(self) -> None:
        for entry in self._ledger.entries(kind=KIND, after=self._seen):
            output_id = str(entry.body["output_id"])
            if entry.body["shared"] is True:
                self._current[output_id] = entry.index
                self._all.setdefault(output_id, []).append(entry.index)
            else:
                self._current.pop(output_id, None)
            self._seen = entry.index
