"""Check accounts, owners, consent and manifests against the ledger.

The ledger proves its entries. What the studio decides by stands in other tables as well: who has
which role, whose an output is, which document a grant is. Whoever can write to the database, or a
flipped bit, can change a row there without touching an entry; this finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from studio.accounts.audit import account_faults, owner_faults
from studio.accounts.security_log import check_log
from studio.consent.storage.repository import ConsentStore
from studio.core.db.integrity import database_faults
from studio.core.errors import StudioError
from studio.provenance.record_audit import RECORDS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from studio.core.db.database import Database
    from studio.provenance.ledger.log import Ledger

__all__ = ["record_faults"]


def record_faults(ledger: Ledger) -> list[str]:
    """One line for each fault beside the entries; none of them is about an entry itself."""
    database = ledger.database

    def rows(look: Callable[[Connection], Iterable[str]]) -> list[str]:
        with database.reading() as connection:
            return list(look(connection))

    checks: dict[str, Callable[[], list[str]]] = {
        "the database": lambda: list(database_faults(database)),
        "accounts": lambda: rows(account_faults),
        "owners": lambda: rows(owner_faults),
        "consent": lambda: _consent_faults(database),
        "the security log": lambda: _log_faults(ledger),
    }
    for name, look in RECORDS.items():
        checks[name] = lambda look=look: rows(look)  # type: ignore[misc] # a closure over this look
    found: list[str] = []
    for name, ask in checks.items():
        try:
            found += ask()
        except StudioError as exc:
            found.append(f"{name}: {exc}")
        except (ValueError, KeyError, TypeError, AttributeError, LookupError) as exc:
            # A row that is no row any more: whatever it was, it is not what was written.
            found.append(f"{name} cannot be read: {type(exc).__name__}")
    return found


def _consent_faults(database: Database) -> list[str]:
    ConsentStore(database).history()  # checks every signature, and every document against its entry
    return []


def _log_faults(ledger: Ledger) -> list[str]:
    fault = check_log(ledger).fault
    return [] if fault is None else [f"the security log: {fault}"]
