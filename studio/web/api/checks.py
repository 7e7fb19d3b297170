"""The REST state of a long verification, and the answer 202 that begins it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from studio.web.jobs.long_checks import LongCheck

__all__ = ["CheckState", "accepted"]

_Result = TypeVar("_Result")


class CheckState(BaseModel):
    """How the examination of a long recording stands."""

    id: str
    name: str = Field(description="of the file")
    case_id: str | None = Field(description="the case that it is added to")
    state: str = Field(description="queued, running, cancelling, done, cancelled or failed")
    ahead: int = Field(description="examinations that start before this one")
    read_s: float | None = Field(description="seconds of the recording read in this pass")
    elapsed_s: float
    answer: dict[str, Any] | None = Field(
        description="once done: what POST /verifications or POST /cases/ID/files answers"
    )
    error: dict[str, str] | None


def accepted(check: LongCheck[_Result], shown: Callable[[_Result], dict[str, Any]]) -> JSONResponse:
    """The answer 202, with the address of the job."""
    return JSONResponse(
        check.to_json(shown), 202, headers={"Location": f"/api/v1/verifications/{check.id}"}
    )
