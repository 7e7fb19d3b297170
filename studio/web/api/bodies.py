"""JSON bodies that the REST API accepts, and the state of a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.accounts.permissions import Permission, Role
from studio.generation.takes import MOST_TAKES

__all__ = [
    "AccountChange",
    "Caller",
    "Credentials",
    "Extension",
    "GenerationIn",
    "HeldUrl",
    "JobState",
    "NewAccount",
    "Scope",
    "Sheet",
    "TagSelection",
    "Token",
    "Variation",
]

_PREVIEW = "let it be heard while it is made: GET /jobs/ID/preview"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Credentials(_Body):
    """What signing in takes."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=256)


class HeldUrl(_Body):
    """An address whose recording is to be fetched, held and examined."""

    url: str = Field(max_length=2048, examples=["https://archive.example/song.mp3"])


class Token(BaseModel):
    """What signing in gives: send it as ``Authorization: Bearer``."""

    token: str
    expires_at: str


class Caller(BaseModel):
    """Who the caller is, and what the role permits."""

    name: str
    role: Role
    permissions: list[Permission]
    single_user: bool


class Scope(_Body):
    """What consent is asked for. Left out: the studio's defaults."""

    use: str | None = Field(None, max_length=32)
    territory: str | None = Field(None, max_length=8)
    model: str | None = Field(None, max_length=128)


class TagSelection(Scope):
    """Tags and their scope."""

    tags: list[Annotated[str, Field(max_length=64)]] = Field(max_length=16)


class GenerationIn(TagSelection):
    """A request for music."""

    duration_s: float | None = None
    seed: int | None = None
    guidance: float | None = None
    format: str | None = Field(None, max_length=8)
    title: str | None = Field(None, max_length=300, description="screened for artists' names")
    note: str | None = Field(None, max_length=300, description="as the title, and private")
    sheet: str | None = Field(
        None, max_length=8000, description="lead sheet: what is fixed of the score (docs/scores.md)"
    )
    human: list[Annotated[str, Field(max_length=16)]] = Field([], max_length=8)
    preview: bool = Field(False, description=_PREVIEW)
    takes: int = Field(
        1, ge=1, le=MOST_TAKES, description="made together, with the seeds that follow"
    )


class Sheet(_Body):
    """A lead sheet that is being written."""

    sheet: str = Field(max_length=8000, description="its text (docs/scores.md)")
    tags: list[Annotated[str, Field(max_length=64)]] = Field([], max_length=16)
    duration_s: float | None = Field(None, ge=3, le=600)
    transpose: int = Field(0, ge=-12, le=12, description="semitones to move it by first")


class _Derived(Scope):
    """What of a parent's request a derived one may change."""

    seed: int | None = None
    guidance: float | None = None
    format: str | None = Field(None, max_length=8)
    title: str | None = Field(None, max_length=300, description="screened for artists' names")
    note: str | None = Field(None, max_length=300, description="as the title, and private")
    human: list[Annotated[str, Field(max_length=16)]] | None = Field(None, max_length=8)
    preview: bool = Field(False, description=_PREVIEW)

    def changes(self, apart: set[str]) -> dict[str, Any]:
        """The changes to the request that were given, without those named."""
        return self.model_dump(exclude_unset=True, exclude=apart | {"preview"})


class Variation(_Derived):
    """A variation of an output: what differs from its request."""

    tags: list[Annotated[str, Field(max_length=64)]] | None = Field(None, max_length=16)
    duration_s: float | None = None
    keep: Literal["notes", "chords"] | None = Field(
        None, description="perform the same score anew, or keep its form and chords"
    )
    redo: Literal["drums", "bass", "lead", "harmony"] | None = Field(
        None, description="the stem to compose anew; the others keep their notes"
    )
    new: Literal["instruments"] | None = Field(
        None, description="have other instruments play the same notes"
    )
    lead: str | None = Field(
        None, max_length=32, description="with new or with chords kept: who leads, such as flute"
    )


class Extension(_Derived):
    """An extension of an output."""

    seconds: float = Field(description="of music after its end")


class JobState(BaseModel):
    """How a request for music stands."""

    id: str
    state: str = Field(description="queued, running, cancelling, done, cancelled or failed")
    ahead: int = Field(description="requests that start before this one")
    progress: float = Field(description="of the whole, from 0 to 1")
    text: str
    output_id: str | None = Field(description="of the first take")
    output_ids: list[str] = Field(description="of every take that was released")
    error: dict[str, str] | None


class NewAccount(_Body):
    """An account to be added."""

    name: str = Field(max_length=64)
    role: Role
    password: str = Field(max_length=256)


class AccountChange(_Body):
    """The changes to an account; the rest stays."""

    role: Role | None = None
    disabled: bool | None = None
    password: str | None = Field(None, max_length=256)
