"""The preview stream: a WAV file that grows while music is generated.

Whoever listens is asked again every two seconds whether they still may. What is sent is never a
file: a length is not known, nothing keeps it, and there is none once the request has ended.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from studio.core.errors import OutputGoneError, StudioError

if TYPE_CHECKING:
    from studio.generation.preview import Hearable, Listener

__all__ = ["preview_response", "wav_header"]

_POLL_S = 0.03
_ASK_S = 2.0  # how often it is asked whether the listener still may
_OVER = "this request has ended, and its preview with it; an output that was released is there"


async def preview_response(
    request: Request,
    preview: Hearable,
    *,
    ended: Callable[[], bool],
    may_listen: Callable[[], bool],
) -> StreamingResponse:
    """The answer to who asks for a preview; it begins with the first sound.

    Args:
        request: is looked at for a client that left.
        preview: what is listened to, from its beginning.
        ended: whether the request for music has ended.
        may_listen: whether the client may still listen; called in a thread.

    Raises:
        OutputGoneError: the request for music has ended.
        ClientDisconnect: the client left before there was a sound.
    """
    listener = preview.listen()
    while listener is not None and not preview.has_begun and not ended():
        if await request.is_disconnected():
            raise ClientDisconnect
        await asyncio.sleep(_POLL_S)
    if listener is None or not preview.has_begun:
        raise OutputGoneError(_OVER)
    return StreamingResponse(
        _sound(wav_header(preview.rate, preview.channels), listener, ended, may_listen),
        media_type="audio/wav",
        headers={"Cache-Control": "private, no-store", "Content-Disposition": "inline"},
    )


async def _sound(
    header: bytes, listener: Listener, ended: Callable[[], bool], may_listen: Callable[[], bool]
) -> AsyncIterator[bytes]:
    yield header
    asked = time.monotonic()
    while True:
        if time.monotonic() - asked > _ASK_S:
            if not await run_in_threadpool(_answer, may_listen):
                return
            asked = time.monotonic()
        if part := listener.read():
            yield part
        elif listener.ended or ended():
            return
        else:
            await asyncio.sleep(_POLL_S)


def _answer(may_listen: Callable[[], bool]) -> bool:
    try:
        return may_listen()
    except StudioError:  # the database cannot be read: nobody knows, so nobody listens
        return False


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
