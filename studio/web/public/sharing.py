"""Routes of share links: an output for whoever holds its link.

======================================  =========================================================
``GET /share/ID/TOKEN``                 player, credits, record, ways to check
``GET /share/ID/TOKEN/audio``           the released file
``GET /share/ID/TOKEN/receipt``         the receipt as a page
``GET /share/ID/TOKEN/record.json``     the record
======================================  =========================================================

Nobody signs in, no cookie is set, no script runs, search engines are told to stay away, and the
address of a page, which opens it, is told to no other site. A wrong link is 404, one that was
withdrawn 410 (:mod:`studio.app.outputs.sharing`).
"""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from studio.app.examination.public_detection import SYSTEM
from studio.core.errors import AccessDeniedError, OutputGoneError, OutputWithdrawnError, StudioError
from studio.reports.formatting import slug
from studio.web.errors import answer_of
from studio.web.middleware.access_log import record_in
from studio.web.middleware.auth import address_of
from studio.web.middleware.rate_limit import limiter_of
from studio.web.public.limits import network_of
from studio.web.public.pages import public_page, sheet

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["share_routes"]

_MEDIA_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "media-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_RECEIPT_POLICY = _POLICY.replace("style-src 'self'", "style-src 'unsafe-inline'; img-src data:")
_PRIVATE = {
    "Cache-Control": "private, no-store",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Referrer-Policy": "no-referrer",
}
_TITLES = {404: "There is nothing here", 410: "This music is no longer shared", 429: "Slow down"}


def share_routes(gateway: "Gateway") -> APIRouter:
    """The routes of the module."""
    router = APIRouter()
    limiter = limiter_of(gateway, "share", gateway.config.sharing.requests_per_minute)

    async def answered(request: Request, answer: Callable[[], Response]) -> Response:
        """The answer, or a page that says in words why there is none."""
        wait_s = await limiter.ask(network_of(address_of(request)))
        if wait_s:
            why = "Too many requests came from your address."
            return _refusal(request, 429, why, {"Retry-After": str(math.ceil(wait_s))})
        try:
            return await run_in_threadpool(answer)
        except (AccessDeniedError, OutputGoneError, OutputWithdrawnError) as exc:
            record_in(request.scope).error = exc
            return _refusal(request, answer_of(exc)[0], f"{str(exc)[:1].upper()}{str(exc)[1:]}.")
        except StudioError as exc:
            record_in(request.scope).error = exc
            return _refusal(request, 503, "The studio cannot read its records at the moment.")

    @router.api_route("/share/style.css", methods=["GET", "HEAD"])
    def style() -> Response:
        return sheet()

    @router.api_route("/share/{output_id}/{token}", methods=["GET", "HEAD"])
    async def page(request: Request, output_id: str, token: str) -> Response:
        """What is shared, as a page."""

        def answer() -> Response:
            shown = gateway.shared_output(output_id, token)
            root = request.scope.get("root_path", "")
            config = gateway.config.public_detector
            html = public_page(
                "shared.html",
                shown=shown,
                release=shown.release,
                root=root,
                here=f"{root}/share/{output_id}/{token}",
                provider=config.provider or SYSTEM,
                system=SYSTEM,
                detector=config.enabled,
            )
            return HTMLResponse(html, headers={**_PRIVATE, "Content-Security-Policy": _POLICY})

        return await answered(request, answer)

    @router.api_route("/share/{output_id}/{token}/audio", methods=["GET", "HEAD"])
    async def audio(request: Request, output_id: str, token: str) -> Response:
        """The released file, for the player of the page."""

        def answer() -> Response:
            shown = gateway.shared_output(output_id, token)
            return FileResponse(
                shown.file,
                media_type=_MEDIA_TYPES.get(shown.file.suffix, "audio/mp4"),
                filename=f"{slug(shown.title, shown.release.output_id)}{shown.file.suffix}",
                content_disposition_type="inline",
                headers=_PRIVATE,
            )

        return await answered(request, answer)

    @router.api_route("/share/{output_id}/{token}/receipt", methods=["GET", "HEAD"])
    async def receipt(request: Request, output_id: str, token: str) -> Response:
        """The receipt as a page."""

        def answer() -> Response:
            content = gateway.shared_receipt(output_id, token)
            policy = {"Content-Security-Policy": _RECEIPT_POLICY}
            return HTMLResponse(content, headers={**_PRIVATE, **policy})

        return await answered(request, answer)

    @router.api_route("/share/{output_id}/{token}/record.json", methods=["GET", "HEAD"])
    async def record(request: Request, output_id: str, token: str) -> Response:
        """The record of what is shared."""

        def answer() -> Response:
            return JSONResponse(gateway.shared_output(output_id, token).record(), headers=_PRIVATE)

        return await answered(request, answer)

    return router


def _refusal(
    request: Request, status: int, why: str, further: dict[str, str] | None = None
) -> HTMLResponse:
    html = public_page(
        "not_shared.html",
        title=_TITLES.get(status, "Not now"),
        why=why,
        provider=SYSTEM,
        root=request.scope.get("root_path", ""),
    )
    headers = {**_PRIVATE, "Content-Security-Policy": _POLICY, **(further or {})}
    return HTMLResponse(html, status, headers)
