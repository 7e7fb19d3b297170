"""The table of committed personal values: read and erase them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import select

from studio.core.db.tables.ledger import output
from studio.core.db.tables.provenance import opening
from studio.core.errors import UsageError
from studio.provenance.ledger.private_fields import Opening

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["forget", "kept_of", "openings_of"]


def forget(connection: Connection, index: int, field: str) -> None:
    """Erase one value within the caller's transaction. Raises :class:`UsageError`."""
    done = connection.execute(
        opening.delete().where(opening.c.entry_idx == index, opening.c.field == field)
    )
    if done.rowcount != 1:
        raise UsageError(
            f"entry {index} keeps no personal value {field!r}; "
            f"`studio ledger show --entry {index}` lists them"
        )


def openings_of(connection: Connection, index: int) -> dict[str, Opening]:
    """What is kept of an entry, by field."""
    rows = connection.execute(select(opening).where(opening.c.entry_idx == index))
    return {row.field: Opening(row.salt, row.value) for row in rows}


def kept_of(
    connection: Connection, output_ids: Collection[str], fields: Collection[str]
) -> list[tuple[int, str]]:
    """Which of these fields the release entries of these outputs still keep, as (entry, field)."""
    query = (
        select(opening.c.entry_idx, opening.c.field)
        .join(output, output.c.entry_idx == opening.c.entry_idx)
        .where(output.c.output_id.in_(output_ids), opening.c.field.in_(fields))
        .order_by(opening.c.entry_idx, opening.c.field)
    )
    return [(int(row.entry_idx), str(row.field)) for row in connection.execute(query)]
