"""Types of consent: rights holders, grants, revocations, decisions.

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_serializer,
    model_validator,
)

from studio.core.territories import TERRITORY_PATTERN, WORLD, covers

__all__ = [
    "ANY_MODEL",
    "GENERATION_USES",
    "WORLD",
    "Decision",
    "Grant",
    "GrantId",
    "GrantTerms",
    "GrantVerdict",
    "HolderId",
    "HolderKind",
    "Id",
    "Instant",
    "OnRevocation",
    "Reason",
    "Record",
    "Revocation",
    "RightsHolder",
    "TagDecision",
    "TagId",
    "Terms",
    "Text",
    "Use",
    "format_instant",
]

HolderId = NewType("HolderId", str)
GrantId = NewType("GrantId", str)

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
    CLOSED = "closed"  # restored from a backup, and nobody has confirmed what was revoked since
    MODEL_LICENCE = "model-licence"
    NO_GRANT = "no-grant"
    NAME = "name"
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
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("the instant lies outside the years 1 to 9999") from exc


def _is_written_out(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("an instant is written like 2026-01-02T00:00:00Z")
    return value


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_is_written_out),
    AfterValidator(_to_utc),
    PlainSerializer(format_instant, return_type=str, when_used="json"),
]
Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
TagId = Annotated[
    str, Field(pattern=r"^(genre|mood|lead|tempo)/[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)
]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=500)]
"""One line for people: no control characters."""

_Territory = Annotated[str, Field(pattern=TERRITORY_PATTERN)]
_ModelId = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=128)]
HolderKind = Literal["artist", "label", "distributor", "project", "demonstration"]


class Record(BaseModel):
    """Immutable, and without room for a field that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RightsHolder(Record):
    """A rights holder. A `demonstration` holder only shows how refusals look."""

    id: Id
    name: Annotated[Text, Field(min_length=1)]
    kind: HolderKind
    public_key: str | None = None  # Ed25519, 32 bytes in base64; without it nothing can be signed
    note: Text = ""


class Terms(Record):
    """The text a holder agreed to, by digest, and where it can be read."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    url: Annotated[Text, Field(min_length=1)]  # a URL, or a path below configs/consent/


class GrantTerms(Record):
    """What is permitted: scope, term, consequence of a revocation, share, the text agreed to."""

    id: Id
    tags: frozenset[TagId] = Field(min_length=1)
    uses: frozenset[Use] = Field(min_length=1)
    territories: frozenset[_Territory] = Field(min_length=1)
    models: frozenset[_ModelId] = Field(min_length=1)
    valid_from: Instant
    valid_until: Instant | None  # None: until revoked
    on_revocation: OnRevocation
    share: Annotated[Decimal, Field(ge=0, le=1, max_digits=6, decimal_places=5)]
    """Of what the studio earns with an output."""
    terms: Terms

    @model_validator(mode="after")
    def _term_is_not_empty(self) -> Self:
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("valid_until must be later than valid_from")
        return self

    @field_serializer("tags", "uses", "territories", "models")
    def _in_order(self, values: frozenset[str]) -> list[str]:
        return sorted(values)

    def covers_territory(self, territory: str) -> bool:
        return covers(self.territories, territory)

    def covers_model(self, model: str) -> bool:
        return ANY_MODEL in self.models or model in self.models


class Grant(GrantTerms):
    """One permission of one rights holder."""

    holder: Id


class Revocation(Record):
    """A grant revoked permanently from an instant on."""

    grant: Id
    at: Instant
    reason: Text = ""


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
    """The answer for one tag: the grant that covers it, or the reason why none does."""

    tag: str
    granted: bool
    grant: Grant | None
    holder: RightsHolder | None
    reason: Reason | None
    explanation: str
    examine_all: Callable[[], tuple[GrantVerdict, ...]] = field(
        default=tuple, repr=False, compare=False
    )

    @property
    def considered(self) -> tuple[GrantVerdict, ...]:
        """Every grant that names the tag, best first, so that a person can see what stands in the
        way of each. Worked out only when asked for: a tag can have thousands."""
        return self.examine_all()

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
    consent_entry: int = -1  # the ledger entry that had changed consent last
    is_policys_own: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether the policy took it. Not kept by a copy: see :mod:`studio.consent.enforcement`."""

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
            "consent_entry": self.consent_entry,
            "tags": [tag.to_json() for tag in self.tags],
        }
