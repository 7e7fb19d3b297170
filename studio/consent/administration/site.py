"""The studio's site id: random, made at first start, named in grants.

The id is an entry of the ledger (kind ``site``), so that it is never changed and a copy of the
ledger keeps it. A grant is addressed to a site id unless its holder chooses otherwise. A name in
``consent.studio`` is a second address that the operator chooses; nothing keeps two studios from
choosing the same one, which is why the name that every studio once had is none.

>>> addresses("site-0123456789abcdef0123", "local-studio")
('site-0123456789abcdef0123',)
>>> addresses("site-0123456789abcdef0123", "radio-nova")
('site-0123456789abcdef0123', 'radio-nova')
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from studio.core.db.tables.ledger import ledger_entry

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.provenance.ledger.log import Ledger

__all__ = ["FORMER_NAME", "addresses", "site_id"]

KIND = "site"
FORMER_NAME = "local-studio"
"""What every studio was called before there were site ids; it addresses nobody in particular."""


class _MadeMeanwhile(Exception):  # noqa: N818 - no error: another process was first
    """Another process has recorded a site id."""


def site_id(ledger: Ledger) -> str:
    """The id of the studio whose ledger this is; made and recorded where there is none."""
    for _ in range(2):
        made = ledger.entries(kind=KIND, limit=1)
        if made:
            return str(made[0].body["id"])
        try:
            ledger.append(KIND, {"id": f"site-{secrets.token_hex(10)}"}, also=_only_one)
        except _MadeMeanwhile:
            continue
    return str(ledger.entries(kind=KIND, limit=1)[0].body["id"])


def _only_one(connection: Connection) -> None:
    query = select(func.count()).select_from(ledger_entry).where(ledger_entry.c.kind == KIND)
    if connection.scalar(query) != 1:
        raise _MadeMeanwhile


def addresses(site: str, name: str | None) -> tuple[str, ...]:
    """What a document's `audience` may say to be meant for this studio, beside `*`."""
    return (site,) if name in (None, FORMER_NAME, site) else (site, str(name))
