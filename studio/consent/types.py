"""What consent is made of: rights holders, grants, revocations, and the answer to a request.

A :class:`Grant` is one rights holder's permission with its scope (tags, uses, territories, models),
its term, and what happens to earlier outputs when it is taken back. All instants are UTC; a term is
half open, ``valid_from <= at < valid_until``.

>>> from datetime import UTC, datetime
>>> grant = Grant.model_validate(
...     dict(id="g1", holder="h", tags=["genre/waltz"], uses=["experiment"], territories=["AT"],
...          models=["*"], valid_from="2026-01-01T00:00:00Z", valid_until=None,
...          on_revocation="keep", share="0", terms=dict(sha256="0" * 64, url="terms.md")))
>>> grant.covers_territory("AT"), grant.covers_territory("WORLD")
(True, False)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

__all__ = [
    "ANY_MODEL",
    "GENERATION_USES",
    "WORLD",
    "Decision",
    "Grant",
    "GrantId",
    "GrantVerdict",
    "HolderId",
    "OnRevocation",
    "Reason",
    "Revocation",
    "RightsHolder",
    "TagDecision",
    "Terms",
    "Use",
    "format_instant",
]

HolderId = NewType("HolderId", str)
GrantId = NewType("GrantId", str)

WORLD = "WORLD"
"""The territory that contains every other; a request for it needs a grant for it."""

ANY_MODEL = "*"
"""In a grant's list of models: whichever model the studio runs."""


class Use(StrEnum):
    """What the music is for. `training` is granted for catalogues, never requested by an artist."""

    EXPERIMENT = "experiment"
    NONCOMMERCIAL = "noncommercial"
    COMMERCIAL = "commercial"
    TRAINING = "training"


GENERATION_USES = (Use.EXPERIMENT, Use.NONCOMMERCIAL, Use.COMMERCIAL)
"""Uses a generation request may name."""


class OnRevocation(StrEnum):
    """What a revocation does to outputs made while the grant was live."""

    KEEP = "keep"
    NO_NEW_DISTRIBUTION = "no-new-distribution"
    WITHDRAW = "withdraw"


class Reason(StrEnum):
    """Why a tag is not granted. The order is the order in which conditions are checked."""

    UNKNOWN = "unknown"
    MODEL_LICENCE = "model-licence"
    NO_GRANT = "no-grant"
    REVOKED = "revoked"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    USE = "use"
    TERRITORY = "territory"
    MODEL = "model"
    DEMONSTRATION = "demonstration"


def format_instant(at: datetime) -> str:
    """RFC 3339 in UTC with a fixed number of digits, so that text order is time order.

    >>> format_instant(datetime(2026, 1, 2, tzinfo=UTC))
    '2026-01-02T00:00:00.000000Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _to_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


Instant = Annotated[
    AwareDatetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_instant, return_type=str, when_used="json"),
]
_Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
_TagId = Annotated[str, Field(pattern=r"^(genre|mood|lead|tempo)/[a-z0-9]+(-[a-z0-9]+)*$")]
_Territory = Annotated[str, Field(pattern=r"^(WORLD|[A-Z]{2})$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RightsHolder(_Record):
    """Somebody who can permit. A `demonstration` holder only shows how refusals look."""

    id: _Id
    name: str = Field(min_length=1)
    kind: Literal["artist", "label", "distributor", "project", "demonstration"]
    public_key: str | None = None  # Ed25519, base64; signed grants need it
    note: str = ""


class Terms(_Record):
    """The text a holder agreed to, by digest, and where it can be read."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    url: str = Field(min_length=1)  # a URL, or a path below configs/consent/


class Grant(_Record):
    """One permission of one rights holder: scope, term, consequence of revocation, share, terms."""

    id: _Id
    holder: _Id
    tags: frozenset[_TagId] = Field(min_length=1)
    uses: frozenset[Use] = Field(min_length=1)
    territories: frozenset[_Territory] = Field(min_length=1)
    models: frozenset[str] = Field(min_length=1)
    valid_from: Instant
    valid_until: Instant | None  # None: until revoked
    on_revocation: OnRevocation
    share: Annotated[Decimal, Field(ge=0, le=1)]  # of what the studio earns with an output
    terms: Terms

    @model_validator(mode="after")
    def _term_is_not_empty(self) -> Self:
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("valid_until must be later than valid_from")
        return self

    def covers_territory(self, territory: str) -> bool:
        return WORLD in self.territories or territory in self.territories

    def covers_model(self, model: str) -> bool:
        return ANY_MODEL in self.models or model in self.models


class Revocation(_Record):
    """A grant taken back from an instant on, for good."""

    grant: _Id
    at: Instant
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GrantVerdict:
    """One grant that names the tag, and every condition it does not meet (none: it covers)."""

    grant: Grant
    holder: RightsHolder
    failures: tuple[Reason, ...]

    @property
    def covers(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class TagDecision:
    """The answer for one tag: the grant that covers it, or the reason why none does.

    ``considered`` holds every grant that names the tag, best first, so that a person can see what
    stands in the way of each.
    """

    tag: str
    granted: bool
    grant: Grant | None
    holder: RightsHolder | None
    reason: Reason | None
    explanation: str
    considered: tuple[GrantVerdict, ...]

    def to_json(self) -> dict[str, Any]:
        """What the ledger keeps of it; canonical JSON can carry every value."""
        body: dict[str, Any] = {"tag": self.tag, "granted": self.granted}
        if self.grant is not None and self.holder is not None:
            body["grant"] = self.grant.id
            body["holder"] = self.holder.id
            body["terms_sha256"] = self.grant.terms.sha256
            if self.grant.valid_until is not None:
                body["valid_until"] = format_instant(self.grant.valid_until)
        if self.reason is not None:
            body["reason"] = str(self.reason)
        return body


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a whole request; allowed only if every tag is granted."""

    use: str
    territory: str
    model: str
    at: datetime
    tags: tuple[TagDecision, ...]

    @property
    def allowed(self) -> bool:
        return bool(self.tags) and all(tag.granted for tag in self.tags)

    @property
    def grants(self) -> tuple[Grant, ...]:
        """The grants relied on, each once, by id."""
        used = {tag.grant.id: tag.grant for tag in self.tags if tag.grant is not None}
        return tuple(used[grant_id] for grant_id in sorted(used))

    def explain(self) -> str:
        """Why it was refused, tag by tag; the empty string where it was allowed."""
        if not self.tags:
            return "a request names at least one tag"
        return "; ".join(tag.explanation for tag in self.tags if not tag.granted)

    def to_json(self) -> Mapping[str, Any]:
        return {
            "allowed": self.allowed,
            "at": format_instant(self.at),
            "model": self.model,
            "territory": self.territory,
            "use": self.use,
            "tags": [tag.to_json() for tag in self.tags],
        }
