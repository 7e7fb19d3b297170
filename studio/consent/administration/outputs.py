"""Which outputs were made under which grant, read from the ledger.

An output that varies or extends another one rests on the grants of its parent as well as its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import select

from studio.core.db.tables.ledger import ledger_entry
from studio.provenance.ledger.entry import entry_of
from studio.provenance.release import OutputId, title_of

if TYPE_CHECKING:
    from studio.core.db.database import Database

__all__ = ["OutputRecord", "OutputsByGrant"]

_RELEASE, _WITHDRAWAL = "release", "withdrawal"


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One released output, as far as consent is concerned."""

    output_id: OutputId
    title: str
    entry_index: int
    created_at: datetime  # UTC
    duration_s: float
    tags: tuple[str, ...]
    grants: frozenset[str]  # relied on at release, those of its parents included
    file_name: str
    sha256: str  # of the file


class OutputsByGrant:
    """By grant and by output. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._last = -1  # newest ledger entry taken in
        self._outputs: dict[str, OutputRecord] = {}
        self._by_grant: dict[str, list[OutputRecord]] = {}
        self._withdrawn: dict[str, int] = {}  # output id -> ledger entry of its withdrawal

    def find(self, output_id: str) -> OutputRecord | None:
        return self._outputs.get(output_id)

    def under(self, grant_id: str) -> tuple[OutputRecord, ...]:
        """Every output that rests on the grant, oldest first."""
        return tuple(self._by_grant.get(grant_id, ()))

    def withdrawn(self) -> Mapping[str, int]:
        """Outputs whose audio was withdrawn, with the ledger entry that says so."""
        return dict(self._withdrawn)

    def refreshed(self) -> Self:
        """The index with everything that is in the ledger now; the look-ups do not look there."""
        query = (
            select(ledger_entry)
            .where(ledger_entry.c.kind.in_((_RELEASE, _WITHDRAWAL)))
            .order_by(ledger_entry.c.idx)
        )
        with self._lock:
            with self._database.reading() as connection:
                rows = connection.execute(query.where(ledger_entry.c.idx > self._last)).all()
            for row in rows:
                entry = entry_of(row)
                if entry.kind == _RELEASE:
                    self._take_in(entry.index, entry.at, entry.body)
                else:
                    self._withdrawn.setdefault(entry.body["output_id"], entry.index)
                self._last = entry.index
        return self

    def _take_in(self, index: int, at: datetime, body: Mapping[str, Any]) -> None:
        answers = body["decision"]["tags"]
        grants = {answer["grant"] for answer in answers if answer.get("granted")}
        parent = self._outputs.get(body["request"].get("parent") or "")
        if parent is not None:
            grants |= parent.grants
        tags = tuple(answer["tag"] for answer in answers)
        record = OutputRecord(
            output_id=OutputId(body["output_id"]),
            # Not what a person typed: that is shown to its maker only.
            title=title_of(tags, body["output_id"]),
            entry_index=index,
            created_at=at,
            duration_s=body["audio"]["duration_s"],
            tags=tags,
            grants=frozenset(grants),
            file_name=body["file"]["name"],
            sha256=body["file"]["sha256"],
        )
        self._outputs[record.output_id] = record
        for grant in grants:
            self._by_grant.setdefault(grant, []).append(record)
