"""The security log: who did what, when and from where; for administrators.

Two chains of events. ``change`` mirrors the ledger's entries about accounts, consent, keys and
erasures, in the same transaction. ``access`` holds sign-ins, denials and downloads. In each chain
an event holds the hash of the one before, so that one changed or taken out of the middle shows; the
newest hashes go into the ledger (kind ``security-log``) at every start of the server and at every
export, so that a cut-off end shows as well. An event names its account by the random id and its
origin by a commitment: both names and addresses can be erased and the chain still holds.

It cannot grow without bound: repeated events are left out, and the oldest go when there are too
many of their chain or they are too old (``security_log`` in ``configs/studio.yaml``).
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete, func, select

from studio.accounts.origin import current
from studio.core.db.tables.accounts import account
from studio.core.db.tables.security import security_event, security_origin
from studio.core.errors import LedgerError
from studio.provenance.ledger.entry import INSTANT

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from studio.core.config import SecurityLogConfig
    from studio.core.db.database import Database
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger

__all__ = [
    "ACCESS_EVENTS",
    "Outcome",
    "SecurityEvent",
    "SecurityLog",
    "SecurityLogCheck",
    "check_log",
]

Chain = Literal["change", "access"]
Outcome = Literal["ok", "refused"]

ACCESS_EVENTS = (
    "sign-in",
    "sign-out",
    "password-check",
    "token",
    "cross-site",
    "denied",
    "download",
    "consent-import",
    "export",
    "model-fetch",
)
"""Events of the chain ``access``; those of ``change`` are named like the ledger's entries."""

_MIRRORED = frozenset(
    {
        "account",
        "erasure",
        "grant",
        "holder",
        "holder-key",
        "key-rotation",
        "restored",
        "restore-confirmed",
        "clock-accepted",
        "clock-repair",
        "revocation",
        "tags",
        "withdrawal",
    }
)
"""Kinds of ledger entries that are security events."""

_ANCHOR = "security-log"
_DOMAIN = b"consented-music-studio/security-event/v1\x00"
_ORIGIN_DOMAIN = b"consented-music-studio/security-origin/v1\x00"
_PER_MINUTE = 20  # alike events (event, account, address) that are listed
_ONCE_IN = timedelta(minutes=10)  # a download that a player asks for in parts
_PRUNE_EVERY = 32  # events
_START = bytes(32)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """One event. ``name`` is the account's as it is now; None where it has none any more."""

    seq: int
    at: datetime  # UTC
    chain: str
    event: str
    outcome: str
    account_id: str | None
    name: str | None
    subject: str
    detail: str
    address: str | None  # None: erased
    hash: str

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": self.at.strftime(INSTANT),
            "chain": self.chain,
            "event": self.event,
            "outcome": self.outcome,
            "account_id": self.account_id,
            "account": self.name,
            "subject": self.subject,
            "detail": self.detail,
            "from": self.address,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class SecurityLogCheck:
    """Whether the log is as it was written."""

    events: int
    fault: str | None
    anchors: int  # entries of the ledger that vouch for hashes still kept

    @property
    def ok(self) -> bool:
        return self.fault is None


class SecurityLog:
    """Records and lists events. May be shared by threads; processes by database."""

    def __init__(
        self,
        database: Database,
        limits: SecurityLogConfig,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock or (lambda: datetime.now(UTC))

    # -- recording ----------------------------------------------------------------------------

    def record(
        self,
        event: str,
        *,
        outcome: Outcome = "ok",
        account_id: str | None = None,
        address: str | None = None,
        subject: str = "",
        detail: str = "",
    ) -> None:
        """Record an event of the chain ``access``; who and where are the caller's if left out.

        A log that cannot be written never lets anybody in or out: the failure is logged.
        """
        try:
            with self._database.writing() as connection:
                self._insert(
                    connection,
                    "access",
                    event,
                    outcome,
                    account_id or current().account_id,
                    address or current().address,
                    subject,
                    detail,
                )
        except LedgerError:
            _logger.exception("the security event %s was not recorded", event)
        else:  # whom and what it concerns stands in the chain, where it can be erased
            _logger.info("security event %s: %s", event, outcome)

    def mirror(self, connection: Connection, entry: Entry) -> None:
        """Record what an entry of the ledger is about, in the transaction that appends it."""
        body = entry.body
        if entry.kind not in _MIRRORED or body.get("admission") == "shipped":
            return
        by = body["by"] if entry.kind == "account" else current().account_id
        subject, detail = _told(entry.kind, body)
        detail = f"ledger entry {entry.index}{', ' if detail else ''}{detail}"
        self._insert(connection, "change", entry.kind, "ok", by, current().address, subject, detail)

    def _insert(
        self,
        connection: Connection,
        chain: Chain,
        event: str,
        outcome: Outcome,
        account_id: str | None,
        address: str,
        subject: str,
        detail: str,
    ) -> None:
        now = self._clock().astimezone(UTC)
        address, subject, detail = address[:64], subject[:128], detail[:255]
        if chain == "access":
            alike = self._alike(connection, event, account_id, address, subject, now)
            if alike == _PER_MINUTE - 1:
                detail = (f"{detail}; " if detail else "") + "more like this are not listed"
            elif alike >= _PER_MINUTE:
                return
        seq = 1 + int(connection.scalar(select(func.max(security_event.c.seq))) or 0)
        last = connection.execute(
            select(security_event.c.hash)
            .where(security_event.c.chain == chain)
            .order_by(security_event.c.seq.desc())
            .limit(1)
        ).scalar_one_or_none()
        salt = secrets.token_bytes(32)
        row: dict[str, Any] = {
            "seq": seq,
            "chain": chain,
            "at": now.strftime(INSTANT),
            "event": event,
            "outcome": outcome,
            "account_id": account_id,
            "subject": subject,
            "detail": detail,
            "origin_commitment": _commitment(salt, address),
            "previous": last or _START,
        }
        connection.execute(security_event.insert().values(**row, hash=_hash(row)))
        connection.execute(security_origin.insert().values(seq=seq, salt=salt, value=address))
        if seq % _PRUNE_EVERY == 0:
            self._prune(connection, chain, now)

    def _alike(
        self,
        connection: Connection,
        event: str,
        account_id: str | None,
        address: str,
        subject: str,
        now: datetime,
    ) -> int:
        """How many events like this there were just now; for a download, as good as enough."""
        # coalesce() also keeps the database from going by account or address, of which there may
        # be many thousand events: the few of the last minutes are found by time.
        same = (
            select(func.count())
            .select_from(security_event)
            .join(security_origin, security_origin.c.seq == security_event.c.seq)
            .where(
                security_event.c.event == event,
                func.coalesce(security_event.c.account_id, "") == (account_id or ""),
                func.coalesce(security_origin.c.value, "") == address,
            )
        )
        if event == "download":
            again = same.where(
                security_event.c.subject == subject,
                security_event.c.at > (now - _ONCE_IN).strftime(INSTANT),
            )
            if connection.scalar(again):
                return _PER_MINUTE
        minute = security_event.c.at > (now - timedelta(minutes=1)).strftime(INSTANT)
        return int(connection.scalar(same.where(minute)) or 0)

    def _prune(self, connection: Connection, chain: Chain, now: datetime) -> None:
        """Delete the oldest events of a chain beyond the limits, and never its newest."""
        seq, at = security_event.c.seq, security_event.c.at
        mine = security_event.c.chain == chain
        too_many = connection.scalar(
            select(seq).where(mine).order_by(seq.desc()).offset(self._limits.keep_events).limit(1)
        )
        too_old = connection.scalar(
            select(func.max(seq)).where(
                mine, at < (now - timedelta(days=self._limits.keep_days)).strftime(INSTANT)
            )
        )
        newest = int(connection.scalar(select(func.max(seq)).where(mine)) or 0)
        last = min(max(int(too_many or 0), int(too_old or 0)), newest - 1)
        if last <= 0:
            return
        gone = select(seq).where(mine, seq <= last)
        connection.execute(delete(security_origin).where(security_origin.c.seq.in_(gone)))
        connection.execute(delete(security_event).where(mine, seq <= last))

    # -- erasing ------------------------------------------------------------------------------

    def forget_origins(self, connection: Connection, account_id: str) -> None:
        """Erase from where an account acted, within the caller's transaction."""
        own = select(security_event.c.seq).where(security_event.c.account_id == account_id)
        connection.execute(delete(security_origin).where(security_origin.c.seq.in_(own)))

    # -- reading ------------------------------------------------------------------------------

    def events(
        self,
        *,
        limit: int = 100,
        before: int | None = None,
        event: str | None = None,
        account_id: str | None = None,
    ) -> list[SecurityEvent]:
        """The newest events first, below the number ``before``."""
        query = _SELECT.order_by(security_event.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(security_event.c.seq < before)
        if event is not None:
            query = query.where(security_event.c.event == event)
        if account_id is not None:
            query = query.where(security_event.c.account_id == account_id)
        with self._database.reading() as connection:
            return [_event(row) for row in connection.execute(query).mappings()]

    def export(self, ledger: Ledger) -> Iterator[dict[str, Any]]:
        """Every event kept, oldest first, then the result of the check; anchored in the ledger."""
        self.record("export", subject="security log")
        self.anchor(ledger)
        with self._database.reading() as connection:
            rows = connection.execute(_SELECT.order_by(security_event.c.seq)).mappings().all()
        yield from (_event(row).to_json() for row in rows)
        checked = self.check(ledger)
        yield {"checked": checked.ok, "fault": checked.fault, "events": checked.events}

    # -- proving ------------------------------------------------------------------------------

    def anchor(self, ledger: Ledger) -> None:
        """Put the newest hash of each chain into the ledger, unless it says so already."""
        heads = self._heads()
        known = ledger.entries(kind=_ANCHOR, newest_first=True, limit=1)
        if heads and not (known and known[0].body["chains"] == heads):
            ledger.append(_ANCHOR, {"chains": heads})

    def _heads(self) -> dict[str, dict[str, Any]]:
        newest = select(func.max(security_event.c.seq)).group_by(security_event.c.chain)
        query = select(security_event).where(security_event.c.seq.in_(newest))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(security_event.c.chain)).mappings().all()
        return {row["chain"]: {"seq": row["seq"], "hash": row["hash"].hex()} for row in rows}

    def check(self, ledger: Ledger) -> SecurityLogCheck:
        """Recompute every hash, and compare with what the ledger vouches for."""
        return check_log(ledger)


def check_log(ledger: Ledger) -> SecurityLogCheck:
    """Recompute every hash of the log beside ``ledger``, and compare with what that vouches for."""
    anchored = [entry.body["chains"] for entry in ledger.entries(kind=_ANCHOR)]
    with ledger.database.reading() as connection:
        rows = (
            connection.execute(
                select(security_event, security_origin.c.salt, security_origin.c.value)
                .outerjoin(security_origin, security_origin.c.seq == security_event.c.seq)
                .order_by(security_event.c.seq)
            )
            .mappings()
            .all()
        )
    fault = _broken(rows)
    known = {(row["chain"], row["seq"]): row["hash"].hex() for row in rows}
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row["chain"], row["seq"])
    vouched = 0
    for chains in anchored:
        for chain, head in chains.items():
            if chain not in first:
                fault = fault or f"the chain {chain} is gone"
            elif head["seq"] >= first[chain]:
                vouched += 1
                if known.get((chain, head["seq"])) != head["hash"]:
                    fault = fault or (
                        f"event {head['seq']} is not the one that the ledger vouches for"
                    )
    return SecurityLogCheck(events=len(rows), fault=fault, anchors=vouched)


_SELECT = (
    select(security_event, account.c.name, account.c.deleted_at, security_origin.c.value)
    .outerjoin(account, account.c.account_id == security_event.c.account_id)
    .outerjoin(security_origin, security_origin.c.seq == security_event.c.seq)
)


def _told(kind: str, body: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and detail of a mirrored entry: ids and closed words, no typed text."""
    match kind:
        case "account":
            role = body.get("role")
            return str(body["account"]), body["change"] + (f" ({role})" if role else "")
        case "erasure" if "fields" in body:
            return "", f"{len(body['fields'])} values"
        case "erasure":
            return f"entry {body['entry']}", str(body["field"])
        case "key-rotation":
            return f"{body['purpose']} {body['number']}", ""
        case "withdrawal":
            return str(body["output_id"]), f"grant {body['grant']}"
        case _:
            return str(body.get("grant", body.get("holder", ""))), str(body.get("admission", ""))


def _event(row: RowMapping) -> SecurityEvent:
    return SecurityEvent(
        seq=row["seq"],
        at=datetime.strptime(row["at"], INSTANT).replace(tzinfo=UTC),
        chain=row["chain"],
        event=row["event"],
        outcome=row["outcome"],
        account_id=row["account_id"],
        name=None if row["deleted_at"] is not None else row["name"],
        subject=row["subject"],
        detail=row["detail"],
        address=row["value"],
        hash=row["hash"].hex(),
    )


def _commitment(salt: bytes, address: str) -> str:
    return hashlib.sha256(_ORIGIN_DOMAIN + salt + address.encode()).hexdigest()


def _hash(row: Mapping[str, Any] | RowMapping) -> bytes:
    import rfc8785

    told = {
        key: row[key]
        for key in (
            "seq",
            "chain",
            "at",
            "event",
            "outcome",
            "account_id",
            "subject",
            "detail",
            "origin_commitment",
        )
    }
    return hashlib.sha256(_DOMAIN + row["previous"] + rfc8785.dumps(told)).digest()


def _broken(rows: Sequence[RowMapping]) -> str | None:
    """What is wrong with the first bad event, or None."""
    before: dict[str, bytes] = {}
    for row in rows:
        if row["hash"] != _hash(row):
            return f"event {row['seq']} was changed"
        expected = before.get(row["chain"])
        if expected is not None and row["previous"] != expected:
            return f"events before {row['seq']} were taken out"
        if (
            row["salt"] is not None
            and _commitment(row["salt"], row["value"]) != (row["origin_commitment"])
        ):
            return f"the origin of event {row['seq']} was changed"
        before[row["chain"]] = row["hash"]
    return None
