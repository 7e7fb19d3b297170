"""Response models of the REST API, one for each resource.

A field that a resource does not have is an error here, so that no answer says more or less than
its description. Fields keep the order in which they are written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.accounts.permissions import Role

__all__ = [
    "AccountRecord",
    "AffectedOutputRecord",
    "CaseNoteRecord",
    "CaseRecord",
    "CaseSummary",
    "ChartRecord",
    "ConsentSite",
    "DecisionRecord",
    "FetchOfferRecord",
    "FetchState",
    "GrantRecord",
    "HolderRecord",
    "ImportRecord",
    "LineageRecord",
    "ModelRecord",
    "OutputRecord",
    "Publication",
    "RenditionOffer",
    "RevocationEffect",
    "SecurityEventRecord",
    "ShareRecord",
    "SheetRecord",
    "TagRecord",
]

Number = int | float


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class EntryReference(_Record):
    """The ledger entry that records something."""

    index: int
    hash: str


class OutputRecord(_Record):
    """The public record of an output."""

    output_id: str
    title: str
    created_at: str
    sha256: str = Field(description="of the released file")
    duration_s: Number
    rate: int = Field(description="samples a second")
    channels: int
    seal_id: str
    seal: dict[str, Any] = Field(description="how the watermark was made and read back")
    entry: EntryReference
    request: dict[str, Any] = Field(description="what was asked for")
    decision: dict[str, Any] = Field(description="the consent decision it rests on")
    model: dict[str, Any]
    credits: list[str]


class Publication(_Record):
    """Whether the public detector tells an output's title, credits and id."""

    output_id: str
    public: bool


class ShareRecord(_Record):
    """The link by which an output is shared; null where it is not."""

    output_id: str
    shared: bool
    url: str | None
    path: str | None = Field(description="relative to the address that the caller uses")
    entry: int | None = Field(description="of the ledger, which recorded it")


class Ancestor(_Record):
    """An output that another one was made from."""

    output_id: str
    entry: int
    title: str
    tags: list[str]
    duration_s: Number


class Child(Ancestor):
    """An output that was made from another one."""

    relation: str = Field(description="vary or extend")
    kept: str | None = None
    redone: str | None = None
    new: str | None = None


class LineageRecord(_Record):
    """The ancestors and children of an output."""

    output_id: str
    entry: int
    relation: str | None = Field(description="vary or extend; null where it has no parent")
    kept: str | None = Field(None, description="of the parent's score; left out where nothing was")
    redone: str | None = None
    new: str | None = None
    ancestors: list[Ancestor] = Field(
        alias="forebears", description="the parent, then its parent, and so on"
    )
    children: list[Child]


class RenditionOffer(_Record):
    """A format in which an output can be had, or why not."""

    format: str
    label: str
    media_type: str
    file: str
    available: bool
    why_not: str | None
    recorded: bool


class TagRecord(_Record):
    """A tag and its consent for a use."""

    tag: str
    kind: str
    granted: bool
    holders: list[str]
    grants: list[str]
    valid_until: datetime | None
    reason: str | None
    explanation: str
    known_to_model: bool


class ModelRecord(_Record):
    """A generation model, its licence and what it was trained on."""

    id: str
    title: str
    licence: str
    licence_uses: list[str]
    training_basis: str


class TagDecisionRecord(_Record):
    """The answer for one tag; fields without a value are left out."""

    tag: str
    granted: bool
    grant: str | None = None
    holder: str | None = None
    terms_sha256: str | None = None
    valid_until: str | None = None
    reason: str | None = None


class DecisionRecord(_Record):
    """What consent says of a selection of tags."""

    allowed: bool
    at: str
    model: str
    territory: str
    use: str
    consent_entry: int
    tags: list[TagDecisionRecord]


class AccountRecord(_Record):
    """An account, without its password."""

    account_id: str
    name: str
    role: Role
    disabled: bool
    created_at: str
    signed_in_at: str | None


class SecurityEventRecord(_Record):
    """One event of the security log."""

    seq: int
    at: str
    chain: str
    event: str
    outcome: str
    account_id: str | None
    account: str | None
    subject: str
    detail: str
    address: str | None = Field(alias="from")
    hash: str


class ConsentSite(_Record):
    """How rights holders address this studio."""

    site: str
    name: str | None


class HolderRecord(_Record):
    """A rights holder with its key."""

    id: str
    name: str
    kind: str
    public_key: str | None
    note: str
    key: str
    fingerprint: str
    retired_keys: list[str]
    grants: int
    live_grants: int
    entry: int


class TermsRecord(_Record):
    """The text that a holder agreed to."""

    sha256: str
    url: str


class GrantHolder(_Record):
    """Whose grant it is."""

    id: str
    name: str
    kind: str


class GrantRecord(_Record):
    """A grant, its state, and what was made under it."""

    id: str
    tags: list[str]
    uses: list[str]
    territories: list[str]
    models: list[str]
    valid_from: str
    valid_until: str | None
    on_revocation: str
    share: str
    terms: TermsRecord
    holder: GrantHolder
    state: str
    revoked_at: str | None
    revocation_reason: str
    outputs: int
    seconds: Number
    entry: int
    digest: str
    key: str


class AffectedOutputRecord(_Record):
    """An output that rests on a grant."""

    output_id: str
    title: str
    entry: int
    created_at: str
    duration_s: Number
    tags: list[str]
    distribution: str


class RevocationEffect(_Record):
    """What revoking a grant would do now."""

    grant: str
    holder: str
    on_revocation: str
    outputs: list[AffectedOutputRecord]
    seconds: Number
    dark_tags: dict[str, list[str]] = Field(description="tags that nobody else grants: their uses")


class ImportedDocumentRecord(_Record):
    """One signed document of a file: recorded, or why it was refused."""

    kind: str
    holder: str
    about: str
    digest: str
    accepted: bool
    entry: int | None
    refusal: str | None
    why: str | None
    advice: str | None


class ImportRecord(_Record):
    """What became of a file of signed documents."""

    ok: bool
    documents: list[ImportedDocumentRecord]
    withdrawn: list[str] = Field(description="outputs whose audio was withdrawn")


class FetchState(_Record):
    """How the fetch of a model stands; empty where none was begun."""

    state: Literal["queued", "running", "done", "failed", "cancelled"] | None = None
    progress: Number | None = None
    text: str | None = None


class FetchOfferRecord(_Record):
    """A hub model that is not on this machine."""

    model: str
    title: str
    licence: str
    licence_uses: list[str]
    training_basis: str
    megabytes: int | None
    fetch: FetchState | None


class SheetProblem(_Record):
    """What is wrong with a lead sheet, and where; counted from 1."""

    message: str
    line: int | None
    section: str | None
    bar: int | None


class SheetRecord(_Record):
    """What a lead sheet says."""

    text: str
    key: str | None
    metre: str | None
    eighths: int
    duration_s: Number | None
    spelling: list[str]
    problem: SheetProblem | None


class BarRecord(_Record):
    """One bar: when it begins, and its chords with the beat of each, from 0."""

    start_s: Number
    chords: list[tuple[str, Number]]
    given: bool


class SectionRecord(_Record):
    """A section of the form with its bars."""

    name: str
    bars: list[BarRecord]


class ChartRecord(_Record):
    """The lead sheet of an output, and when each bar sounds."""

    key: str
    bpm: Number
    metre: str
    beats: int
    duration_s: Number
    sections: list[SectionRecord]
    notes: list[tuple[Number, Number, int]] = Field(description="start and length (s), MIDI pitch")
    text: str


class CaseSummary(_Record):
    """A case without its files."""

    case_id: str
    reference: str
    title: str
    opened_at: str
    examiner: str


class ExaminationRecord(_Record):
    """A file of a case with its verdict."""

    number: int
    at: str
    examiner: str
    file: str
    report: dict[str, Any]
    comparisons: list[dict[str, Any]]


class CaseNoteRecord(_Record):
    """A note on a case."""

    at: str
    author: str
    text: str
    about: int | None


class CaseRecord(CaseSummary):
    """A case with files, verdicts and notes."""

    examinations: list[ExaminationRecord]
    notes: list[CaseNoteRecord]
