"""The examination of one uploaded recording."""

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
from studio.web.api.schemas import content
from studio.web.api.strict_route import StrictRoute
from studio.web.http.uploads import Uploads, file_name, receive_one
from studio.web.jobs.queue import JobRunner, stoppable
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.auth import account_of

__all__ = ["verification_routes"]

_REPORTS = {"html": report_page, "csv": as_csv}
_MEDIA_TYPES = {"csv": "text/csv", "html": "text/html"}


def verification_routes(
    caller: Callable[..., Actor],
    session_of: Callable[..., Session],
    uploads: Uploads,
    checking: JobRunner,
) -> APIRouter:
    """The route; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    @router.post(
        "/verifications",
        tags=["verification"],
        responses=content("application/json", "text/html", "text/csv"),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {"file": {"type": "string", "format": "binary"}},
                        }
                    },
                },
            }
        },
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
        to print or the table that the Verify tab gives.
        """
        mine.require(Permission.VERIFY)
        account = account_of(request, actor)
        upload = await receive_one(
            uploads,
            "rest",
            f"upload{Path(name).suffix[:8]}",
            request.headers.get("content-type", ""),
            request.stream(),
            account=account,
        )
        try:
            job = checking.submit(
                lambda tell, cancel: mine.verification.verify(
                    upload.path, progress=stoppable(tell, cancel)
                ),
                account=account,
            )
            found = await while_connected(request, job)
        finally:
            uploads.discard(upload.path)
        found = replace(found, file=file_name(name) if name else upload.path.name)
        if report is None:
            return found.to_json()
        return Response(
            await run_in_threadpool(_REPORTS[report], [found]),
            media_type=_MEDIA_TYPES[report],
            headers={"Content-Disposition": f'attachment; filename="verification.{report}"'},
        )

    return router
