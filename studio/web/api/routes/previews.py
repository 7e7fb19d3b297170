"""The REST route that streams a preview while an output is generated."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Permission
from studio.app.session import Session
from studio.core.errors import NotYoursError
from studio.generation.takes import MOST_TAKES
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.store import Jobs
from studio.web.middleware.auth import still_admitted
from studio.web.preview_stream import preview_response

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["preview_routes"]


def preview_routes(
    gateway: "Gateway", session_of: Callable[..., Session], queue: Jobs
) -> APIRouter:
    """The route; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Mine = Annotated[Session, Depends(session_of)]

    @router.get("/jobs/{job_id}/preview", tags=["making"], response_class=StreamingResponse)
    async def preview(
        request: Request,
        mine: Mine,
        job_id: str,
        take: Annotated[int, Query(ge=1, le=MOST_TAKES)] = 1,
    ) -> StreamingResponse:
        """What my job has made so far and goes on to make, as WAV; it was asked with `preview`.

        The answer begins with the first sound. 410 once the job has ended.
        """
        submitted = await run_in_threadpool(queue.find, mine, job_id)
        if take > len(submitted.previews):
            raise NotYoursError("no preview of this was asked for")
        return await preview_response(
            request,
            submitted.previews[take - 1],
            ended=lambda: submitted.ended,
            may_listen=lambda: still_admitted(gateway, request, Permission.GENERATE),
        )

    return router
