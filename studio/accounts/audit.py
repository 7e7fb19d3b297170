"""Check accounts and owners of outputs against the ledger.

The tables of accounts can be changed by their nature. What may be in them follows from the entries
of the kind ``account``: role, whether it is disabled or deleted, and commitments to name and
password. A release commits to the account that it was made for. Entries of before version 0.2 say
nothing of names, passwords and owners: those cannot be held against anything until they change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio.core.db.tables.accounts import account, output_owner
from studio.core.db.tables.ledger import ledger_entry
from studio.core.db.tables.provenance import opening

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.provenance.ledger.log import Ledger

__all__ = ["account_faults", "name_kept", "owner_faults", "password_digest"]

_PASSWORD = b"consented-music-studio/password-hash/v1\x00"


def password_digest(hashed: str) -> str:
    """What the ledger says of a password: a digest of its salted hash.

    The salt is in the hash and nowhere else, so the digest helps nobody to guess the password.
    """
    return hashlib.sha256(_PASSWORD + hashed.encode()).hexdigest()


def name_kept(ledger: Ledger, account_id: str) -> list[tuple[int, str]]:
    """Where the ledger's entries still keep an account's name, to be erased with it."""
    return [
        (entry.index, "name")
        for entry in ledger.entries(kind="account")
        if entry.body["account"] == account_id and "name" in ledger.openings(entry.index)
    ]


@dataclass
class _Expected:
    """What an account has to be by the ledger."""

    role: str
    disabled: bool = False
    deleted: bool = False
    password: str | None = None  # digest; None: the ledger does not say
    named_in: int | None = None  # entry that commits to the name


def account_faults(connection: Connection) -> Iterator[str]:
    """One line for each account that is not as the ledger says."""
    expected = _replayed(connection)
    names = {
        row.entry_idx: row.value
        for row in connection.execute(select(opening).where(opening.c.field == "name"))
    }
    for row in connection.execute(select(account)):
        known = expected.pop(row.account_id, None)
        if known is None:
            yield f"the account {row.account_id} was made by no entry of the ledger"
            continue
        wrong = [
            what
            for what, differs in {
                "role": row.role != known.role,
                "state": (row.disabled, row.deleted_at is not None)
                != (known.disabled, known.deleted),
                "name": known.named_in in names and names[known.named_in] != row.name,
                "password": not known.deleted
                and known.password is not None
                and password_digest(row.password_hash) != known.password,
            }.items()
            if differs
        ]
        if wrong:
            yield f"{', '.join(wrong)} of the account {row.account_id}: not as the ledger says"
    for account_id in expected:
        yield f"the account {account_id} is gone, and the ledger does not say why"


def _replayed(connection: Connection) -> dict[str, _Expected]:
    found: dict[str, _Expected] = {}
    query = (
        select(ledger_entry.c.idx, ledger_entry.c.leaf)
        .where(ledger_entry.c.kind == "account")
        .order_by(ledger_entry.c.idx)
    )
    for row in connection.execute(query):
        body = json.loads(row.leaf)["body"]
        change, account_id = body["change"], body["account"]
        if change == "added":
            named_in = row.idx if "name" in body else None
            found[account_id] = _Expected(role=body["role"], named_in=named_in)
        known = found[account_id]
        match change:
            case "role":
                known.role = body["role"]
            case "disabled" | "enabled":
                known.disabled = change == "disabled"
            case "deleted":
                known.deleted = True
        if change in ("added", "password", "rehashed"):
            known.password = body.get("password_sha256")
    return found


def owner_faults(connection: Connection) -> Iterator[str]:
    """One line for each released output whose owner is not the one its release commits to."""
    owners: dict[str, str] = {
        row.output_id: row.account_id for row in connection.execute(select(output_owner))
    }
    query = (
        select(ledger_entry.c.leaf, opening.c.value)
        .outerjoin(
            opening,
            (opening.c.entry_idx == ledger_entry.c.idx) & (opening.c.field == "owner"),
        )
        .where(ledger_entry.c.kind == "release")
    )
    for row in connection.execute(query):
        body: dict[str, Any] = json.loads(row.leaf)["body"]
        if "owner" not in body or (body["owner"] is not None and row.value is None):
            continue  # of before version 0.2, or erased
        if owners.get(body["output_id"]) != row.value:
            yield f"the owner of the output {body['output_id']} is not the one its release says"
