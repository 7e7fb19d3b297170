"""Consent after a restore: closed until a registrar confirms it is complete.

A backup holds what had been granted and revoked when it was made. Whoever restores one takes the
studio back to that day, and a revocation of since then would be undone without a word. So a restore
is an entry of the ledger (kind ``restored``), and from it on nothing is generated and nothing is
released until somebody has imported what came in since and said so (kind ``restore-confirmed``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio.core.db.tables.ledger import ledger_entry
from studio.core.errors import UsageError
from studio.provenance.ledger.entry import Entry, entry_of

if TYPE_CHECKING:
    from studio.core.db.database import Database
    from studio.provenance.ledger.log import Ledger

__all__ = ["CONFIRMED", "RESTORED", "Restoration", "confirm", "unconfirmed"]

RESTORED, CONFIRMED = "restored", "restore-confirmed"


@dataclass(frozen=True, slots=True)
class Restoration:
    """A restore that nobody has confirmed yet."""

    entry: int  # of the ledger
    made_at: str  # when the backup was made (UTC, RFC 3339)
    size: int  # entries in the backup
    lost: int  # entries known to have been made since and not to be in it; 0: none is known

    def text(self) -> str:
        """Why consent is closed, and what to do."""
        known = f", and {self.lost} later entries are known to be lost" if self.lost else ""
        return (
            f"this studio was restored from a backup of {self.made_at}{known}: grants may have "
            "been revoked since. Consent is closed until a registrar has imported those "
            "revocations and confirmed it with `studio consent confirm-restore`"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "entry": self.entry,
            "backup_made_at": self.made_at,
            "backup_entries": self.size,
            "entries_known_lost": self.lost,
        }


def unconfirmed(database: Database) -> Restoration | None:
    """The restore that keeps consent closed, or None."""
    query = (
        select(ledger_entry)
        .where(ledger_entry.c.kind.in_((RESTORED, CONFIRMED)))
        .order_by(ledger_entry.c.idx.desc())
        .limit(1)
    )
    with database.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is None or row.kind == CONFIRMED:
        return None
    entry = entry_of(row)
    lost = entry.body.get("lost")
    size = int(entry.body["size"])
    return Restoration(
        entry=entry.index,
        made_at=str(entry.body["made_at"]),
        size=size,
        lost=0 if lost is None else int(lost["size"]) - size,
    )


def confirm(ledger: Ledger) -> Entry:
    """Open consent again. Raises :class:`UsageError` where it is not closed."""
    restoration = unconfirmed(ledger.database)
    if restoration is None:
        raise UsageError("there is no restore to confirm: consent is not closed")
    return ledger.append(CONFIRMED, {"entry": restoration.entry})
