"""Outputs that their owners published to the public detector.

An output is private until its owner publishes it. Each change is a ledger entry ``publication``, so
that anybody who audits the ledger sees when an output became public and when it stopped being so::

    {"output_id": "9f2c...", "public": true}
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger

__all__ = ["KIND", "Publications"]

KIND = "publication"


class Publications:
    """The published outputs of one ledger. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._public: set[str] = set()
        self._seen = -1  # index of the last entry taken into account

    def is_public(self, output_id: str) -> bool:
        """Whether the output's title and credits may be told to anybody."""
        with self._lock:
            self._refresh()
            return output_id in self._public

    def change(self, output_id: str, *, public: bool) -> Entry | None:
        """Record that an output is public from now on, or private again; None: it was so."""
        if self.is_public(output_id) is public:
            return None
        return self._ledger.append(KIND, {"output_id": output_id, "public": public})

    def _refresh(self) -> None:
        for entry in self._ledger.entries(kind=KIND, after=self._seen):
            output_id = str(entry.body["output_id"])
            if entry.body["public"] is True:
                self._public.add(output_id)
            else:
                self._public.discard(output_id)
            self._seen = entry.index
