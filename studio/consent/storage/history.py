"""The consent history: every signed document in order, and what it implies.

The history is what admission asks (whose key is this, was this serial used, is there such a grant),
and it makes the :class:`~studio.consent.registry.ConsentRegistry` that the policy decides by. It
only grows; its ``version`` is the ledger entry of its last document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from studio.consent.registry import ConsentRegistry
from studio.consent.signed.documents import (
    GrantDocument,
    HolderDocument,
    KeyDocument,
    RevocationDocument,
    TagsDocument,
    TagTerms,
)
from studio.consent.signed.keys import PublicKey
from studio.consent.signed.signing import SignedDocument
from studio.consent.types import Grant, Revocation, RightsHolder

__all__ = ["Admission", "ConsentHistory", "ConsentRecord", "HolderRecord"]


class Admission(StrEnum):
    """Why a document was accepted; part of its ledger entry."""

    SIGNATURE = "signature"  # its holder's key, known from before
    SHIPPED = "shipped"  # came with the studio, at its first start
    REGISTRAR = "registrar"  # a registrar compared the new holder's fingerprint
    OVERRIDE_LOST = "override-lost"  # a registrar let a new key in: the old one is lost
    OVERRIDE_COMPROMISED = "override-compromised"  # ... or in other hands


OVERRIDES = (Admission.OVERRIDE_LOST, Admission.OVERRIDE_COMPROMISED)


@dataclass(frozen=True)
class ConsentRecord:
    """One document as it stands in the database."""

    signed: SignedDocument
    entry: int  # index of its ledger entry
    recorded_at: datetime  # UTC, of that entry
    admission: Admission


@dataclass
class HolderRecord:
    """A rights holder with every key it ever had, the present one last."""

    holder: RightsHolder
    keys: list[PublicKey]
    entry: int  # by which it became known
    highest_serial: int = 0
    serials: set[int] = field(default_factory=set)

    @property
    def key(self) -> PublicKey:
        return self.keys[-1]


class ConsentHistory:
    """See the module. Not for several threads at once: :mod:`studio.consent.storage.repository`
    sees to that."""

    def __init__(self) -> None:
        self.version = -1
        self._holders: dict[str, HolderRecord] = {}
        self._key_owner: dict[str, str] = {}  # key id -> holder id, retired keys included
        self._entries: dict[str, int] = {}  # document id and digest -> ledger entry
        self._tags: dict[str, TagTerms] = {}
        self._grants: dict[str, ConsentRecord] = {}
        self._revocations: dict[str, list[ConsentRecord]] = {}
        self._as_of: datetime | None = None
        self._registry: ConsentRegistry | None = None  # None: out of date
        self._last: ConsentRegistry | None = None
        self._touched: set[str] = set()  # tags that the last registry answers for no longer

    # -- growing ------------------------------------------------------------------------------

    def apply(self, record: ConsentRecord) -> None:
        """Take in a document that was admitted."""
        signed, document = record.signed, record.signed.document
        match document:
            case HolderDocument():
                key = PublicKey.parse(document.profile.public_key)
                self._holders[document.holder] = HolderRecord(
                    document.rights_holder(), [key], record.entry
                )
                self._key_owner[key.id] = document.holder
            case KeyDocument():
                key = PublicKey.parse(document.new_public_key)
                known = self._holders[document.holder]
                known.keys.append(key)
                known.holder = known.holder.model_copy(update={"public_key": key.text})
                self._key_owner[key.id] = document.holder
            case TagsDocument():
                self._tags.update({tag.id: tag for tag in document.tags})
            case GrantDocument():
                self._grants[document.grant.id] = record
                self._touched |= document.grant.tags
            case RevocationDocument():
                self._revocations.setdefault(document.revocation.grant, []).append(record)
                self._touched |= _grant(self._grants[document.revocation.grant]).tags
        holder = self._holders[document.holder]
        holder.serials.add(document.serial)
        holder.highest_serial = max(holder.highest_serial, document.serial)
        self._entries[document.id] = self._entries[signed.digest] = record.entry
        self.version, self._as_of = record.entry, record.recorded_at
        self._registry = None

    def copy(self) -> ConsentHistory:
        """A copy, to try out what a document would do."""
        other = ConsentHistory()
        other.version, other._as_of = self.version, self._as_of
        other._holders = {
            id_: replace(known, keys=list(known.keys), serials=set(known.serials))
            for id_, known in self._holders.items()
        }
        other._key_owner, other._entries = dict(self._key_owner), dict(self._entries)
        other._tags, other._grants = dict(self._tags), dict(self._grants)
        other._revocations = {id_: list(records) for id_, records in self._revocations.items()}
        return other

    # -- asking -------------------------------------------------------------------------------

    def registry(self) -> ConsentRegistry:
        """What the policy decides by; the same object until a document is added."""
        if self._registry is None:
            self._registry = ConsentRegistry(
                [known.holder for known in self._holders.values()],
                [_grant(record) for record in self._grants.values()],
                [
                    Revocation(grant=grant, at=_effective(record), reason=_reason(record))
                    for grant, records in self._revocations.items()
                    for record in records
                ],
                version=self.version,
                as_of=self._as_of,
                indexes={} if self._last is None else self._last.indexes_without(self._touched),
            )
            self._last, self._touched = self._registry, set()
        return self._registry

    @property
    def tags(self) -> Mapping[str, TagTerms]:
        return MappingProxyType(self._tags)

    @property
    def holders(self) -> Mapping[str, HolderRecord]:
        return MappingProxyType(self._holders)

    def grant_record(self, grant_id: str) -> ConsentRecord | None:
        return self._grants.get(grant_id)

    def revocation_record(self, grant_id: str) -> ConsentRecord | None:
        """The revocation that takes effect first."""
        return min(self._revocations.get(grant_id, ()), key=_effective, default=None)

    def revoked_at(self, grant_id: str) -> datetime | None:
        record = self.revocation_record(grant_id)
        return None if record is None else _effective(record)

    def revocation_reason(self, grant_id: str) -> str:
        """In the holder's words; empty where none was given."""
        record = self.revocation_record(grant_id)
        return "" if record is None else _reason(record)

    def owner_of(self, key_id: str) -> str | None:
        """Whose key it is or was."""
        return self._key_owner.get(key_id)

    def entry_of(self, identity: str) -> int | None:
        """The ledger entry of the document with this digest or id."""
        return self._entries.get(identity)


def _grant(record: ConsentRecord) -> Grant:
    assert isinstance(record.signed.document, GrantDocument)
    return record.signed.document.as_grant()


def _effective(record: ConsentRecord) -> datetime:
    """From when on a revocation holds: never before the studio had it."""
    assert isinstance(record.signed.document, RevocationDocument)
    wanted = record.signed.document.revocation.effective_at
    return record.recorded_at if wanted is None else max(wanted, record.recorded_at)


def _reason(record: ConsentRecord) -> str:
    assert isinstance(record.signed.document, RevocationDocument)
    return record.signed.document.revocation.reason
