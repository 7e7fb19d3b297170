"""Stored tree nodes, fetched in one query for each computation.

What tree and proofs compute asks for nodes by (level, index) and never by value, so a dry run with
blanks tells which ones. One query then takes the place of a dozen, which is what an append or a
proof costs on a database across a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from studio.core.db.tables.ledger import ledger_node
from studio.core.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Node", "with_nodes"]

Node = Callable[[int, int], bytes]
"""(level, index) of a complete subtree to its hash."""

_Result = TypeVar("_Result")


def with_nodes(connection: Connection, compute: Callable[[Node], _Result]) -> _Result:
    """``compute`` over the stored nodes. Raises :class:`LedgerError` where one is missing."""
    wanted: dict[tuple[int, int], None] = {}

    def note(level: int, index: int) -> bytes:
        wanted[level, index] = None
        return b""

    blank = compute(note)
    if not wanted:
        return blank
    # A join with VALUES looks each key up by the index on both databases; SQLite reads the whole
    # table for a row value IN a list. All that is pasted in are integers of ours.
    keys = ", ".join(f"({level:d}, {index:d})" for level, index in wanted)
    rows = connection.exec_driver_sql(
        f"SELECT n.level, n.idx, n.hash FROM (VALUES {keys}) AS w, {ledger_node.name} AS n "  # noqa: S608 - integers
        "WHERE n.level = w.column1 AND n.idx = w.column2"
    )
    nodes = {(level, index): bytes(hash_) for level, index, hash_ in rows}
    for level, index in wanted:
        if (level, index) not in nodes:
            raise LedgerError(f"the ledger is damaged: tree node ({level}, {index}) is missing")
    return compute(lambda *key: nodes[key])
