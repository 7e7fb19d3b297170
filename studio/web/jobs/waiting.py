"""Wait for a job; cancel it when the client disconnects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import ClientDisconnect, Request

if TYPE_CHECKING:
    from studio.web.jobs.queue import Job

__all__ = ["while_connected"]

_Result = TypeVar("_Result")
_POLL_S = 0.1  # how often a waiting request looks for its result, and for its client


async def while_connected(request: Request, job: Job[_Result]) -> _Result:
    """What the job returns. It is cancelled when the client leaves.

    Raises what the job raises, and :class:`starlette.requests.ClientDisconnect`.
    """
    while not job.ended:
        if await request.is_disconnected():
            job.cancel()
            raise ClientDisconnect
        await asyncio.sleep(_POLL_S)
    return job.result()
