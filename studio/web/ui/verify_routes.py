"""Routes of the Verify tab: the HTML of a verdict, and its reports.

=================================  ============================================================
``GET /examinations/ID``           the answer about one file, as HTML to be put into the page
``GET /examinations/report.html``  every answer of the caller's list as a page to print
``GET /examinations/report.json``  the same as JSON
``GET /examinations/report.csv``   the same as a table
=================================  ============================================================

They show a caller's own list only; with ``?id=`` a report is about that file alone.
"""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from markupsafe import Markup

from studio.accounts.permissions import Permission
from studio.reports.verification import view as views
from studio.reports.verification.comparison import Shown, side_by_side
from studio.reports.verification.json import as_json
from studio.reports.verification.page import report_links, report_page
from studio.reports.verification.table import as_csv
from studio.web.cases.parts import PART_FILES, original_sound, part_response
from studio.web.jobs.examinations import Examination, Examinations, owner_key
from studio.web.middleware.auth import actor_of
from studio.web.ui.create.view import failure_panel, unexpected_panel

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.session import Session
    from studio.verification.verifier import VerifyReport

__all__ = ["verify_routes"]

_TYPES = {"html": "text/html", "json": "application/json", "csv": "text/csv"}
_PRIVATE = {"Cache-Control": "private, no-store"}


def verify_routes(gateway: "Gateway", examinations: Examinations) -> APIRouter:
    """The routes over the lists of all accounts."""
    router = APIRouter()

    def owner(request: Request) -> str:
        actor = actor_of(request.scope)
        if actor is None or not actor.may(Permission.VERIFY):
            raise HTTPException(404, "no such examination, or not yours")
        return owner_key(actor)

    def mine(request: Request) -> "Session":
        owner(request)
        actor = actor_of(request.scope)
        assert actor is not None
        return gateway.session(actor)

    @router.get("/examinations/report.{kind}")
    def report(
        request: Request,
        kind: Literal["html", "json", "csv"],
        id: Annotated[str, Query(max_length=32)] = "",
    ) -> Response:
        found = (
            examinations.reports(owner(request))
            if not id
            else _reports_of(examinations.find(owner(request), id))
        )
        if not found:
            raise HTTPException(404, "no such examination, or not yours")
        written = {"html": report_page, "json": as_json, "csv": as_csv}[kind](found)
        disposition = f'attachment; filename="verification.{kind}"'
        return Response(
            written,
            media_type=_TYPES[kind],
            headers={**_PRIVATE, "Content-Disposition": disposition},
        )

    @router.get("/examinations/{id_}")
    def answer(request: Request, id_: str) -> Response:
        item = examinations.find(owner(request), id_)
        if item is None or not item.state.ended:
            raise HTTPException(404, "no such examination, or not yours")
        names = examinations.kept.names(item.id)
        return Response(_body(item, names, mine(request)), media_type="text/html", headers=_PRIVATE)

    @router.get("/examinations/{id_}/parts/{part}/{name}")
    def part_file(request: Request, id_: str, part: int, name: str) -> Response:
        item = examinations.find(owner(request), id_)
        found = next((one for one in (item.compared if item else ()) if one.number == part), None)
        if item is None or found is None or name not in PART_FILES:
            raise HTTPException(404, "no such picture or sound, or not yours")
        if name == "original.flac":
            content: bytes | None = original_sound(mine(request), found.place)
        else:
            content = examinations.kept.file(item.id, f"{part}.{name}")
        if content is None:
            raise HTTPException(404, "no such picture or sound, or not yours")
        return part_response(request, name, content)

    return router


def _compared(item: Examination, names: frozenset[str], mine: "Session") -> Markup:
    """The matched parts beside their originals; nothing where none was compared."""
    if not item.compared:
        return Markup()
    base = f"examinations/{item.id}/parts/"
    return side_by_side(
        Shown(
            each,
            f"{base}{each.number}/".__add__,
            original_pictures=f"{each.number}.original.png" in names,
            original_sound=mine.outputs.may_hear(each.place.output_id),
        )
        for each in item.compared
    )


def _reports_of(item: Examination | None) -> "list[VerifyReport]":
    return [] if item is None or item.report is None else [item.report]


def _body(item: Examination, names: frozenset[str], mine: "Session") -> str:
    if item.report is not None:
        links = report_links(item.id, item.name)
        return views.report_view(item.report, _compared(item, names, mine)) + links
    if isinstance(item.failure, str):
        return unexpected_panel(item.failure)
    return "" if item.failure is None else failure_panel(item.failure)
