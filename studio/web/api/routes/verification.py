"""REST routes that verify a recording, at once or as a long job."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Actor, Permission
from studio.app.session import Session
from studio.reports.verification.page import report_page
from studio.reports.verification.table import as_csv
from studio.verification.cases import Case
from studio.verification.holding import HeldFile
from studio.verification.report import VerifyReport
from studio.web.api.bodies import HeldUrl
from studio.web.api.checks import CheckState, accepted
from studio.web.api.schemas import FILE_BODY
from studio.web.api.strict_route import StrictRoute
from studio.web.http.uploads import file_name, receive_one
from studio.web.jobs.long_checks import Checks, LongCheck
from studio.web.middleware.auth import account_of

__all__ = ["verification_routes"]

_REPORTS = {"html": report_page, "csv": as_csv}
_TYPES = {"html": "text/html", "csv": "text/csv"}


def verification_routes(
    caller: Callable[..., Actor], session_of: Callable[..., Session], checks: Checks
) -> APIRouter:
    """The routes; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute, tags=["verification"])
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    @router.post(
        "/verifications",
        responses={
            200: {"content": {kind: {} for kind in ("application/json", *_TYPES.values())}},
            202: {"model": CheckState},
        },
        openapi_extra=FILE_BODY,
    )
    async def verify(
        request: Request,
        mine: Mine,
        actor: Who,
        name: Annotated[str, Query(max_length=128)] = "",
        report: Annotated[Literal["html", "csv"] | None, Query()] = None,
    ) -> Any:
        """Examine a recording: the body is the file, or a form with one file.

        The verdict becomes a ledger entry. It is answered as JSON or, with `report`, as the page
        to print or the table that the Verify tab gives. A recording over 20 minutes is answered
        with 202 and examined as a long job; `GET /verifications/ID` says how it stands.
        `comparisons` lays what matches beside its originals; a case keeps pictures and sounds too.
        """
        mine.require(Permission.VERIFY)
        account = account_of(request, actor)
        upload = await receive_one(
            checks.uploads,
            "rest",
            f"upload{Path(name).suffix[:8]}",
            request.headers.get("content-type", ""),
            request.stream(),
            account=account,
        )
        shown = file_name(name) if name else upload.path.name

        def work(path: Path, limits: Any, most: int, tell: Callable[[float], None]) -> VerifyReport:
            found = mine.verification.verify(path, limits=limits, max_values=most, progress=tell)
            return replace(compared(mine, path, found, limits), file=shown)

        found = await checks.run(request, mine, upload.path, work, name=shown, account=account)
        if isinstance(found, LongCheck):
            return accepted(found, _shown)
        if report is None:
            return _shown(found)
        return await run_in_threadpool(_written, found, report)

    @router.post("/verifications/url", responses={202: {"model": CheckState}})
    async def verify_url(request: Request, body: HeldUrl, mine: Mine, actor: Who) -> Any:
        """Fetch a recording from an address, hold it under its SHA-256 and examine it.

        Only from hosts that the studio's configuration allows (422 otherwise); 502 where nothing
        whole came. The answer is that of `POST /verifications`; `origin` has the address, the time
        and the headers.
        """
        mine.require(Permission.VERIFY)
        held: list[HeldFile] = []  # fetched once, also where it is examined again as a long job

        def work(_: Path, limits: Any, most: int, tell: Callable[[float], None]) -> VerifyReport:
            if not held:
                held.append(mine.verification.hold(body.url, progress=tell))
            found = mine.verification.verify(held[0], limits=limits, max_values=most, progress=tell)
            return compared(mine, held[0].path, found, limits)

        shown = body.url[:128]
        account = account_of(request, actor)
        found = await checks.run(request, mine, Path(), work, name=shown, account=account)
        return accepted(found, _shown) if isinstance(found, LongCheck) else _shown(found)

    @router.get(
        "/verifications/{check_id}",
        responses={
            200: {
                "model": CheckState,
                "content": {kind: {} for kind in ("application/json", *_TYPES.values())},
            }
        },
    )
    def check(
        mine: Mine,
        actor: Who,
        check_id: str,
        report: Annotated[Literal["html", "csv"] | None, Query()] = None,
    ) -> Any:
        """How my examination of a long recording stands, with the answer once there is one.

        With `report`, an answer that is no file of a case is given as page or table, by the server
        that examined it. A job can be asked for a day. A restart ends it, and its error says so
        (`interrupted`); its verdict stays in the ledger.
        """
        mine.require(Permission.VERIFY)
        found = checks.find(actor, check_id)
        if report is not None and found.state == "done" and isinstance(found, LongCheck):
            answer = found.job.result()
            if isinstance(answer, VerifyReport):
                return _written(answer, report)
        return found.to_json(_shown)

    @router.delete("/verifications/{check_id}")
    def cancel(mine: Mine, actor: Who, check_id: str) -> CheckState:
        """Stop my examination; it has ended when its state says so."""
        mine.require(Permission.VERIFY)
        found = checks.find(actor, check_id)
        found.cancel()
        return CheckState(**found.to_json(_shown))

    return router


def compared(mine: Session, path: Path, found: VerifyReport, limits: Any) -> VerifyReport:
    """The answer with the matched parts beside their originals, in words and numbers."""
    parts = mine.verification.compare(path, found, limits=limits) if found.matches else ()
    return replace(found, comparisons=tuple(part.comparison for part in parts))


def _shown(found: VerifyReport | Case) -> dict[str, Any]:
    """What was asked for: a verdict, or the newest file of a case."""
    if isinstance(found, Case):
        return dict(found.examinations[-1].to_json())
    return dict(found.to_json())


def _written(found: VerifyReport, kind: Literal["html", "csv"]) -> Response:
    return Response(
        _REPORTS[kind]([found]),
        media_type=_TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="verification.{kind}"'},
    )
