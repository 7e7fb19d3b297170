"""The music of a request of the page, heard while it is made: ``GET /making/{job}/preview``."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from studio.accounts.permissions import Permission
from studio.core.errors import OutputGoneError
from studio.generation.takes import MOST_TAKES
from studio.web.jobs.examinations import owner_key
from studio.web.jobs.making import Making
from studio.web.jobs.shared import NO_PREVIEW
from studio.web.middleware.auth import actor_of, still_admitted
from studio.web.preview_stream import preview_response

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["making_routes", "preview_path"]


def preview_path(job_id: str, take: int) -> str:
    """The path of a take's preview below the studio's root; ``take`` counts from 1.

    >>> preview_path("9f2c00a1b2c3d4e5", 2)
    'making/9f2c00a1b2c3d4e5/preview?take=2'
    """
    return f"making/{job_id}/preview?take={take}"


def making_routes(gateway: "Gateway", making: Making | None) -> APIRouter:
    """The route, for the account whose request it is; ``making`` is None where workers make it."""
    router = APIRouter()

    @router.get("/making/{job_id}/preview", response_class=StreamingResponse)
    async def preview(
        request: Request,
        job_id: str,
        take: Annotated[int, Query(ge=1, le=MOST_TAKES)] = 1,
    ) -> StreamingResponse:
        actor = actor_of(request.scope)
        if actor is not None and making is None:
            raise HTTPException(404, NO_PREVIEW)
        made = None if actor is None or making is None else making.find(owner_key(actor), job_id)
        if made is None or take > len(made.previews):
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
