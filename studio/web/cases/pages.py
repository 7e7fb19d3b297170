"""Pages of cases, without scripts: list, files, notes, downloads."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Permission
from studio.core.errors import StudioError, UsageError
from studio.reports.formatting import asset
from studio.reports.templating import page as rendered
from studio.reports.verification.comparison import Shown, side_by_side
from studio.reports.verification.texts import READING
from studio.verification.report import Verdict
from studio.web.cases.examining import CaseFiles
from studio.web.cases.parts import PART_FILES, part_file, part_response
from studio.web.cases.rest import TYPES
from studio.web.errors import answer_of
from studio.web.http.forms import read_form
from studio.web.middleware.auth import actor_of
from studio.web.public.pages import PAGE_POLICY, sheet

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.session import Session
    from studio.app.use_cases.cases import SideBySide

__all__ = ["case_page_routes"]

_MAX_FORM = 32 << 10  # bytes
_COMPARE_POLICY = (
    f"{PAGE_POLICY}; script-src 'self'; img-src 'self'; media-src 'self' blob:; connect-src 'self'"
)
_PRIVATE = {"Cache-Control": "private, no-store", "Content-Security-Policy": PAGE_POLICY}


def case_page_routes(gateway: "Gateway", files: CaseFiles) -> APIRouter:
    """``/cases`` and everything below it."""
    router = APIRouter(include_in_schema=False)

    def mine(request: Request) -> "Session":
        actor = actor_of(request.scope)
        if actor is None or not actor.may(Permission.VERIFY):
            raise HTTPException(404, "no such page, or not for your role")
        return gateway.session(actor)

    def page(template: str, status: int = 200, **values: object) -> HTMLResponse:
        html = rendered("studio.web.cases", template, **values)
        return HTMLResponse(html, status, _PRIVATE)

    def listing(request: Request, error: StudioError | None = None) -> HTMLResponse:
        status = 200 if error is None else answer_of(error)[0]
        cases = mine(request).cases.all()
        return page("list.html", status, cases=cases, error=None if error is None else str(error))

    def shown(request: Request, case_id: str, error: StudioError | None = None) -> HTMLResponse:
        return page(
            "one.html",
            200 if error is None else answer_of(error)[0],
            case=mine(request).cases.get(case_id),
            kinds=list(TYPES),
            checks=files.checks.of_case(case_id),
            headlines={str(verdict): READING[verdict].headline for verdict in Verdict},
            error=None if error is None else str(error),
        )

    @router.get("/cases")
    def list_page(request: Request) -> Response:
        return listing(request)

    @router.post("/cases")
    async def open_case(request: Request) -> Response:
        form, session = await read_form(request, _MAX_FORM), mine(request)
        try:
            opened = await run_in_threadpool(
                session.cases.open, form.get("reference", ""), form.get("title", "")
            )
        except UsageError as exc:
            return listing(request, exc)
        return RedirectResponse(f"/cases/{opened.case_id}", 303)

    @router.get("/cases/style.css")
    def style() -> Response:
        return sheet(asset("compare.css"))

    @router.get("/cases/compare.js")
    def script() -> Response:
        headers = {"Cache-Control": "max-age=3600"}
        return Response(asset("compare.js"), media_type="text/javascript", headers=headers)

    @router.get("/cases/{case_id}/files/{number}")
    def compared_page(request: Request, case_id: str, number: int) -> Response:
        session = mine(request)
        parts = session.cases.compared(case_id, number)
        case = session.cases.get(case_id)
        each = case.examinations[number - 1]
        html = rendered(
            "studio.web.cases",
            "compared.html",
            case=case,
            each=each,
            headline=READING[Verdict(each.verdict)].headline,
            compared=side_by_side(_shown(part, case_id, number) for part in parts),
            error=None,
        )
        return HTMLResponse(html, 200, _PRIVATE | {"Content-Security-Policy": _COMPARE_POLICY})

    @router.get("/cases/{case_id}/files/{number}/parts/{part}/{name}")
    def compared_file(
        request: Request, case_id: str, number: int, part: int, name: str
    ) -> Response:
        if name not in PART_FILES:
            raise HTTPException(404, "no such picture or sound")
        content = part_file(mine(request), case_id, number, part, name)
        return part_response(request, name, content)

    @router.get("/cases/{case_id}")
    def case_page(request: Request, case_id: str) -> Response:
        return shown(request, case_id)

    @router.post("/cases/{case_id}/files")
    async def add(request: Request, case_id: str) -> Response:
        try:
            await files.examine(request, mine(request), case_id, "")
        except StudioError as exc:
            if answer_of(exc)[0] >= 500 and answer_of(exc)[0] != 503:
                raise
            return await run_in_threadpool(shown, request, case_id, exc)
        return RedirectResponse(f"/cases/{case_id}", 303)

    @router.post("/cases/{case_id}/notes")
    async def note(request: Request, case_id: str) -> Response:
        form, session = await read_form(request, _MAX_FORM), mine(request)
        about = form.get("about", "")
        try:
            await run_in_threadpool(
                session.cases.note,
                case_id,
                form.get("text", ""),
                about=int(about) if about.isascii() and about.isdigit() else None,
            )
        except UsageError as exc:
            return await run_in_threadpool(shown, request, case_id, exc)
        return RedirectResponse(f"/cases/{case_id}", 303)

    @router.get("/cases/{case_id}/report.{kind}")
    def report(request: Request, case_id: str, kind: str) -> Response:
        if kind not in TYPES:
            raise HTTPException(404, "no such report")
        return Response(
            mine(request).cases.report(case_id, kind),
            media_type=TYPES[kind],
            headers={
                "Content-Disposition": f'attachment; filename="case-{case_id}.{kind}"',
                "Cache-Control": "private, no-store",
            },
        )

    return router


def _shown(part: "SideBySide", case_id: str, number: int) -> Shown:
    base = f"/cases/{case_id}/files/{number}/parts/{part.comparison.number}/"
    return Shown(
        part.comparison,
        base.__add__,
        original_pictures=part.sees_original,
        suspect_sound=part.has_sound,
        original_sound=part.hears_original,
    )
