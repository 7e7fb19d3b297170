"""Results for the registrar: imports, holders, grants, revocations.

Every report has ``to_json``, the form in which the command line and the page show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from studio.consent import Grant, OnRevocation, RightsHolder
from studio.consent.administration.outputs import OutputRecord
from studio.consent.types import format_instant

__all__ = [
    "AffectedOutput",
    "Distribution",
    "DistributionState",
    "GrantState",
    "GrantStatus",
    "HolderStatus",
    "ImportReport",
    "ImportedDocument",
    "RevocationPreview",
]


@dataclass(frozen=True, slots=True)
class ImportedDocument:
    """One document of a file: recorded, or refused with the reason."""

    kind: str  # holder, key, tags, grant, revocation
    holder: str
    about: str  # one line of plain words
    digest: str
    entry: int | None  # its ledger entry; None: refused
    refusal: str | None = None  # a studio.consent.signed.admission.Refusal
    why: str | None = None
    advice: str | None = None  # how to get it right

    @property
    def accepted(self) -> bool:
        return self.entry is not None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "holder": self.holder,
            "about": self.about,
            "digest": self.digest,
            "accepted": self.accepted,
            "entry": self.entry,
            "refusal": self.refusal,
            "why": self.why,
            "advice": self.advice,
        }

    def line(self) -> str:
        """For a person."""
        if self.accepted:
            return f"recorded: {self.about} (ledger entry {self.entry})"
        return f"refused: {self.about}: {self.why}; {self.advice} [{self.refusal}]"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of each document of a file, in its order, and what revocations took away."""

    documents: tuple[ImportedDocument, ...]
    withdrawn: tuple[str, ...] = ()  # ids of outputs whose audio was removed by this import

    @property
    def ok(self) -> bool:
        """Nothing was refused."""
        return all(document.accepted for document in self.documents)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "documents": [document.to_json() for document in self.documents],
            "withdrawn": list(self.withdrawn),
        }


class GrantState(StrEnum):
    """What a grant is worth at an instant, before any question of scope."""

    LIVE = "live"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DEMONSTRATION = "demonstration"  # in its term, and permits nothing


@dataclass(frozen=True, slots=True)
class GrantStatus:
    """One grant as it stands."""

    grant: Grant
    holder: RightsHolder
    state: GrantState
    revoked_at: datetime | None  # from when; may lie ahead
    revocation_reason: str
    outputs: int  # made under it
    seconds: float  # of music made under it
    entry: int  # the ledger entry that recorded it
    digest: str  # of the signed document
    key: str  # id of the key that signed it

    def to_json(self) -> dict[str, Any]:
        return {
            **self.grant.model_dump(mode="json"),
            "holder": {
                "id": self.holder.id,
                "name": self.holder.name,
                "kind": self.holder.kind,
            },
            "state": str(self.state),
            "revoked_at": None if self.revoked_at is None else format_instant(self.revoked_at),
            "revocation_reason": self.revocation_reason,
            "outputs": self.outputs,
            "seconds": self.seconds,
            "entry": self.entry,
            "digest": self.digest,
            "key": self.key,
        }


@dataclass(frozen=True, slots=True)
class HolderStatus:
    """One rights holder as known here."""

    holder: RightsHolder
    key: str  # id of its present key
    fingerprint: str  # of that key, for reading aloud
    retired_keys: tuple[str, ...]
    grants: int
    live_grants: int
    entry: int  # the ledger entry that made it known

    def to_json(self) -> dict[str, Any]:
        return {
            **self.holder.model_dump(mode="json"),
            "key": self.key,
            "fingerprint": self.fingerprint,
            "retired_keys": list(self.retired_keys),
            "grants": self.grants,
            "live_grants": self.live_grants,
            "entry": self.entry,
        }


@dataclass(frozen=True, slots=True)
class AffectedOutput:
    """An output that rests on a grant."""

    output: OutputRecord
    distribution: DistributionState  # as it is now

    def to_json(self) -> dict[str, Any]:
        output = self.output
        return {
            "output_id": output.output_id,
            "title": output.title,
            "entry": output.entry_index,
            "created_at": format_instant(output.created_at),
            "duration_s": output.duration_s,
            "tags": list(output.tags),
            "distribution": str(self.distribution),
        }


@dataclass(frozen=True, slots=True)
class RevocationPreview:
    """What a revocation of a grant would do now. Nothing has happened."""

    grant: Grant
    holder: RightsHolder
    on_revocation: OnRevocation  # what happens to the outputs
    outputs: tuple[AffectedOutput, ...]
    seconds: float  # of music in them
    dark_tags: tuple[tuple[str, tuple[str, ...]], ...]
    """Tags that some request is granted today and none would be, with the uses that end."""

    def to_json(self) -> dict[str, Any]:
        return {
            "grant": self.grant.id,
            "holder": self.holder.id,
            "on_revocation": str(self.on_revocation),
            "outputs": [output.to_json() for output in self.outputs],
            "seconds": self.seconds,
            "dark_tags": {tag: list(uses) for tag, uses in self.dark_tags},
        }


class DistributionState(StrEnum):
    """Whether an output may be downloaded."""

    OPEN = "open"
    STOPPED = "no-new-distribution"  # a revoked grant's terms block further downloads
    WITHDRAWN = "withdrawn"  # a revoked grant's terms had its audio removed


@dataclass(frozen=True, slots=True)
class Distribution:
    """Whether one output may be downloaded now, and if not, why."""

    state: DistributionState
    why: str = ""  # plain words; empty where it is open
    grants: tuple[str, ...] = ()  # the revoked grants that stop it

    @property
    def open(self) -> bool:
        return self.state is DistributionState.OPEN
