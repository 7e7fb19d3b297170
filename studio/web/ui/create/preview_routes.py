"""The music of a request of the page, heard while it is made: ``GET /making/{job}/preview``."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Permission
from studio.core.errors import OutputGoneError
from studio.generation.takes import MOST_TAKES
from studio.web.jobs.making import PageJobs
from studio.web.middleware.auth import actor_of, still_admitted
from studio.web.preview_stream import preview_response

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["making_routes", "preview_path"]


def preview_path(job_id: str, take: int, attempt: int = 1) -> str:
    """The path of a take's preview below the studio's root; ``take`` counts from 1.

    ``attempt`` names it anew where a worker was lost and another one begins again.

    >>> preview_path("9f2c00a1b2c3d4e5", 2), preview_path("9f2c00a1b2c3d4e5", 2, 3)
    ('making/9f2c00a1b2c3d4e5/preview?take=2', 'making/9f2c00a1b2c3d4e5/preview?take=2&attempt=3')
    """
    again = f"&attempt={attempt}" if attempt > 1 else ""
    return f"making/{job_id}/preview?take={take}{again}"


def making_routes(gateway: "Gateway", making: PageJobs) -> APIRouter:
    """The route, for the account whose request it is."""
    router = APIRouter()

    @router.get("/making/{job_id}/preview", response_class=StreamingResponse)
    async def preview(
        request: Request,
        job_id: str,
        take: Annotated[int, Query(ge=1, le=MOST_TAKES)] = 1,
        attempt: Annotated[int, Query(ge=1)] = 1,
    ) -> StreamingResponse:
        actor = actor_of(request.scope)
        made = None
        if actor is not None:
            made = await run_in_threadpool(making.find, gateway.session(actor), job_id)
        if made is None or take > len(made.previews) or attempt > made.attempt:
            raise HTTPException(404, "no such request, or not yours")
        try:
            return await preview_response(
                request,
                made.previews[take - 1],
                ended=lambda: not made.state.live,
                may_listen=lambda: still_admitted(gateway, request, Permission.GENERATE),
            )
        except OutputGoneError as exc:
            raise HTTPException(410, str(exc)) from exc

    return router
