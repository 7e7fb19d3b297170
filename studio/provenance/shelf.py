"""Stars, new titles and discards that owners give their outputs in the library.

Each change is a ledger entry ``shelf`` that names the output and what changed. A title that a
person typed is committed to, as in a release, and can be erased::

    {"output_id": "9f2c...", "starred": true}
    {"output_id": "9f2c...", "title": {"commitment": "..."}}

Nothing of the release changes: its record, its file and the title in the file stay.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from studio.provenance.ledger.private_fields import Personal

if TYPE_CHECKING:
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger

__all__ = ["KIND", "Place", "Shelf"]

KIND = "shelf"


@dataclass(frozen=True, slots=True)
class Place:
    """How an output stands in the library.

    Attributes:
        titled: entry that holds the title it was given later; None: it was not renamed.
    """

    starred: bool = False
    discarded: bool = False
    titled: int | None = None


class Shelf:
    """The places of one ledger's outputs. Safe to share between threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        self._typed: dict[str, list[int]] = {}  # output -> entries with a title of it
        self._seen = -1  # index of the last entry taken into account

    def place(self, output_id: str) -> Place:
        """How the output stands."""
        with self._lock:
            self._refresh()
            return self._places.get(output_id, Place())

    def title(self, output_id: str) -> str | None:
        """The title it was given later; None where there is none, or it was erased."""
        titled = self.place(output_id).titled
        if titled is None:
            return None
        opening = self._ledger.openings(titled).get("title")
        return None if opening is None else opening.value

    def change(
        self,
        output_id: str,
        *,
        starred: bool | None = None,
        discarded: bool | None = None,
        title: str | None = None,
    ) -> Entry | None:
        """Record what changes; None: nothing does."""
        place = self.place(output_id)
        body: dict[str, Any] = {}
        if starred is not None and starred is not place.starred:
            body["starred"] = starred
        if discarded is not None and discarded is not place.discarded:
            body["discarded"] = discarded
        if title is not None and title != self.title(output_id):
            body["title"] = Personal(title)
        return self._ledger.append(KIND, {"output_id": output_id, **body}) if body else None

    def kept_titles(self, output_ids: Collection[str]) -> list[tuple[int, str]]:
        """Titles of these outputs that the ledger still keeps, as (entry, field)."""
        with self._lock:
            self._refresh()
            entries = [index for id_ in output_ids for index in self._typed.get(id_, ())]
        return [(index, "title") for index in entries if "title" in self._ledger.openings(index)]

    def _refresh(self) -> None:
        for entry in self._ledger.entries(kind=KIND, after=self._seen):
            body = entry.body
            output_id = str(body["output_id"])
            place = self._places.get(output_id, Place())
            if "starred" in body:
                place = replace(place, starred=body["starred"] is True)
            if "discarded" in body:
                place = replace(place, discarded=body["discarded"] is True)
            if "title" in body:
                place = replace(place, titled=entry.index)
                self._typed.setdefault(output_id, []).append(entry.index)
            self._places[output_id] = place
            self._seen = entry.index
