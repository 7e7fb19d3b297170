"""The route that streams a preview while an output is generated."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from studio.accounts.permissions import Actor
from studio.core.errors import NotYoursError, OutputGoneError
from studio.generation.preview import Listener
from studio.generation.takes import MOST_TAKES
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.store import JobStore, StoredJob

__all__ = ["preview_routes", "wav_header"]

_LOOK_S = 0.1
_OVER = "this request has ended, and its preview with it; an output that was released is there"


def preview_routes(caller: Callable[..., Actor], book: JobStore) -> APIRouter:
    """The route; ``caller`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]

    @router.get("/jobs/{job_id}/preview", tags=["making"], response_class=StreamingResponse)
    async def preview(
        request: Request,
        actor: Who,
        job_id: str,
        take: Annotated[int, Query(ge=1, le=MOST_TAKES)] = 1,
    ) -> StreamingResponse:
        """What my job has made so far and goes on to make, as WAV; it was asked with `preview`.

        The answer begins with the first sound. 410 once the job has ended.
        """
        booked = book.find(actor, job_id)
        if take > len(booked.previews):
            raise NotYoursError("no preview of this was asked for")
        heard = booked.previews[take - 1]
        listener = heard.listen()
        while listener is not None and not heard.has_begun and not booked.job.ended:
            if await request.is_disconnected():
                raise ClientDisconnect
            await asyncio.sleep(_LOOK_S)
        if listener is None or not heard.has_begun:
            raise OutputGoneError(_OVER)
        return StreamingResponse(
            _sound(wav_header(heard.rate, heard.channels), listener, booked),
            media_type="audio/wav",
            headers={"Cache-Control": "private, no-store", "Content-Disposition": "inline"},
        )

    return router


async def _sound(header: bytes, listener: Listener, booked: StoredJob) -> AsyncIterator[bytes]:
    yield header
    while True:
        if part := listener.read():
            yield part
        elif listener.ended or booked.job.ended:
            return
        else:
            await asyncio.sleep(_LOOK_S)


def wav_header(rate: int, channels: int) -> bytes:
    """The head of a WAV stream of 16-bit samples whose length nobody knows yet.

    >>> len(wav_header(48_000, 2))
    44
    """
    unknown = 0xFFFFFFFF
    frame = 2 * channels
    return b"".join(
        [
            struct.pack("<4sI4s", b"RIFF", unknown, b"WAVE"),
            struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame, frame, 16),
            struct.pack("<4sI", b"data", unknown),
        ]
    )
