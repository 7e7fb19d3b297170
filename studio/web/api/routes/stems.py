"""The REST route of an output's stems, as one ZIP file."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import threading
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Actor, Permission
from studio.app.outputs.downloads import zip_of
from studio.app.session import Session
from studio.core.config import OutputFormat
from studio.web.api.lookup import of_output
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.queue import JobRunner, Report
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.auth import account_of

__all__ = ["stem_routes"]


def stem_routes(
    caller: Callable[..., Actor], session_of: Callable[..., Session], making: JobRunner
) -> APIRouter:
    """The route; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    @router.post(
        "/outputs/{output_id}/stems",
        tags=["outputs"],
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}}},
    )
    async def stems(
        request: Request,
        mine: Mine,
        actor: Who,
        output_id: str,
        format: Annotated[OutputFormat | None, Query()] = None,
    ) -> Response:
        """The sealed stems of my output, made again and recorded: a ZIP file with `stems.json`.

        Consent is asked again; it counts as one request. The answer takes some seconds; the work
        is cancelled when the client leaves.
        """
        mine.require(Permission.OWN_OUTPUTS)
        await run_in_threadpool(of_output, output_id, mine.outputs.get)

        def work(report: Report, cancel: threading.Event) -> bytes:
            made = mine.generation.stems(output_id, format=format, progress=report, cancel=cancel)
            return zip_of(made)

        job = making.submit(work, account=account_of(request, actor))
        return Response(
            await while_connected(request, job),
            media_type="application/zip",
            headers={
                "Content-Disposition": f'attachment; filename="{output_id}.stems.zip"',
                "Cache-Control": "private, no-store",
            },
        )

    return router
