"""REST routes of cases."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from studio.app.session import Session
from studio.verification.cases import Case
from studio.web.api.checks import CheckState, accepted
from studio.web.api.records import CaseNoteRecord, CaseRecord, CaseSummary
from studio.web.api.schemas import FILE_BODY
from studio.web.api.strict_route import StrictRoute
from studio.web.cases.examining import CaseFiles
from studio.web.cases.parts import FILE_TYPES, part_file
from studio.web.jobs.long_checks import LongCheck

__all__ = ["TYPES", "NewCase", "NewNote", "case_rest_routes"]

TYPES = {
    "zip": "application/zip",
    "html": "text/html",
    "pdf": "application/pdf",
    "json": "application/json",
}


class NewCase(BaseModel):
    """A case to be opened."""

    model_config = ConfigDict(extra="forbid")

    reference: str = Field(max_length=120, description="your own number of it")
    title: str = Field(max_length=120)


class NewNote(BaseModel):
    """A note on a case."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=4000)
    about: int | None = Field(None, ge=1, description="number of a file of the case")


def case_answer(found: Case | LongCheck[Case]) -> Any:
    """What is answered about a file: its examination, or the long job."""
    if isinstance(found, LongCheck):
        return accepted(found, newest)
    return newest(found)


def newest(case: Case) -> dict[str, Any]:
    """The examination that was added last."""
    return dict(case.examinations[-1].to_json())


def case_rest_routes(session_of: Callable[..., Session], files: CaseFiles) -> APIRouter:
    """The routes; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute, tags=["cases"])
    Mine = Annotated[Session, Depends(session_of)]

    @router.post("/cases", status_code=201)
    def open_case(mine: Mine, body: NewCase) -> CaseRecord:
        """Open a case."""
        return CaseRecord(**mine.cases.open(body.reference, body.title).to_json())

    @router.get("/cases")
    def list_cases(mine: Mine) -> list[CaseSummary]:
        """The cases that I may see, newest first, without what is in them."""
        return [
            CaseSummary(
                case_id=case.case_id,
                reference=case.reference,
                title=case.title,
                opened_at=case.opened_at,
                examiner=case.examiner,
            )
            for case in mine.cases.all()
        ]

    @router.get("/cases/{case_id}")
    def case(mine: Mine, case_id: str) -> CaseRecord:
        """A case with files, verdicts, ledger entries and notes."""
        return CaseRecord(**mine.cases.get(case_id).to_json())

    @router.delete("/cases/{case_id}", status_code=204)
    def delete_case(mine: Mine, case_id: str) -> None:
        """Delete my case for good; the ledger keeps its verdicts."""
        mine.cases.delete(case_id)

    @router.post(
        "/cases/{case_id}/files",
        status_code=201,
        openapi_extra=FILE_BODY,
        responses={202: {"model": CheckState}},
    )
    async def add(
        request: Request,
        mine: Mine,
        case_id: str,
        name: Annotated[str, Query(max_length=128)] = "",
    ) -> Any:
        """Examine a recording for the case: the body is the file, or a form with one file.

        A recording over 20 minutes is answered with 202 and examined as a long job, which adds it
        to the case; `GET /verifications/ID` says how it stands.
        """
        return case_answer(await files.examine(request, mine, case_id, name))

    @router.get(
        "/cases/{case_id}/files/{number}/parts/{part}/{file}",
        response_class=Response,
        responses={
            200: {"content": {kind: {} for kind in sorted(set(FILE_TYPES.values()))}},
        },
    )
    def compared_file(
        mine: Mine,
        case_id: str,
        number: Annotated[int, Path(ge=1, le=1000)],
        part: Annotated[int, Path(ge=1, le=10)],
        file: Literal[
            "suspect.png", "original.png", "difference.png", "suspect.flac", "original.flac"
        ],
    ) -> Response:
        """A matched part beside its original: spectrograms, their difference, both sounds."""
        return Response(
            part_file(mine, case_id, number, part, file),
            media_type=FILE_TYPES[file],
            headers={"Cache-Control": "private, no-store"},
        )

    @router.post("/cases/{case_id}/notes", status_code=201)
    def note(mine: Mine, case_id: str, body: NewNote) -> CaseNoteRecord:
        """Add a note to the case, or to one of its files."""
        noted = mine.cases.note(case_id, body.text, about=body.about)
        return CaseNoteRecord(**noted.notes[-1].to_json())

    @router.get("/cases/{case_id}/report.{kind}")
    def report(mine: Mine, case_id: str, kind: Literal["zip", "html", "pdf", "json"]) -> Response:
        """The report: html, pdf or json alone, or all three with a signed list as zip."""
        return Response(
            mine.cases.report(case_id, kind),
            media_type=TYPES[kind],
            headers={
                "Content-Disposition": f'attachment; filename="case-{case_id}.{kind}"',
                "Cache-Control": "private, no-store",
            },
        )

    return router
