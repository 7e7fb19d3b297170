"""REST routes of an output's formats: sound, stems, score, documents."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import threading
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Actor, Permission
from studio.app.outputs.downloads import FORMS, Download
from studio.app.session import Session
from studio.web.api.lookup import of_output
from studio.web.api.records import RenditionOffer
from studio.web.api.schemas import content
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.queue import JobRunner, Report
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.auth import account_of

__all__ = ["rendition_routes"]

_Format = Literal["wav", "flac", "mp3", "m4a", "stems", "score", "receipt", "record", "credits"]


def rendition_routes(
    caller: Callable[..., Actor], session_of: Callable[..., Session], making: JobRunner
) -> APIRouter:
    """The routes; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    @router.get("/outputs/{output_id}/renditions", tags=["outputs"])
    def renditions(mine: Mine, output_id: str) -> list[RenditionOffer]:
        """The formats in which my output can be had, and why not in others."""
        offers = of_output(output_id, mine.renditions.offers)
        return [RenditionOffer(**offer.to_json()) for offer in offers]

    @router.get(
        "/outputs/{output_id}/renditions/{format}",
        tags=["outputs"],
        response_class=Response,
        responses=content(*(form.media_type for form in FORMS)),
    )
    async def rendition(
        request: Request, mine: Mine, actor: Who, output_id: str, format: _Format
    ) -> Response:
        """My output in a format, named after its title; recorded when it is asked for first.

        Sound is transcoded from the released file, which is sealed, and signed. The work is
        cancelled when the client leaves. Stems that have to be made count as one request.
        """
        mine.require(Permission.OWN_OUTPUTS)
        made = await run_in_threadpool(
            of_output, output_id, lambda id_: mine.renditions.ready(id_, format)
        )
        if made is None:

            def work(report: Report, cancel: threading.Event) -> Download:
                return mine.renditions.make(output_id, format, progress=report, cancel=cancel)

            job = making.submit(work, account=account_of(request, actor))
            made = await while_connected(request, job)
        return Response(
            made.content,
            media_type=made.form.media_type,
            headers={
                "Content-Disposition": _attachment(made.file_name),
                "Cache-Control": "private, no-store",
            },
        )

    return router


def _attachment(name: str) -> str:
    """The header that names a downloaded file (RFC 6266).

    >>> _attachment("calm-waltz.mp3")
    'attachment; filename="calm-waltz.mp3"'
    """
    if name.isascii():
        return f'attachment; filename="{name}"'
    return f"attachment; filename*=utf-8''{quote(name)}"
