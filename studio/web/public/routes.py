"""Routes of the public detector: page, API, rules for robots.

===========================  ====================================================================
``GET /detect``              the form
``POST /detect``             the form with a file; the answer as a page
``POST /api/public/detect``  the file as the body, or a form with one; the answer as JSON
``GET /robots.txt``          search engines may list the form, and nothing else
===========================  ====================================================================

Nobody signs in, no cookie is set, nothing of a question is kept: see
:mod:`studio.app.examination.public_detection`. While ``public_detector.enabled`` is false, all but
the rules for robots is 404.
"""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from studio.app.examination.public_detection import PublicAnswer
from studio.core.errors import DecodingRefusedError, StudioError, UsageError
from studio.web.errors import answer_of
from studio.web.http.uploads import Budget, WrongBodyError, receive_one, uploads_of
from studio.web.jobs.queue import JobRunner, TooLongError, TooManyRequestsError, stoppable
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.access_log import record_in
from studio.web.middleware.auth import address_of
from studio.web.middleware.rate_limit import limiter_of
from studio.web.public.limits import SimilarQuestions, network_of
from studio.web.public.line import Line, SharedShare
from studio.web.public.pages import Pages, sheet

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.verification.suspect import SuspectAudio

__all__ = ["public_line", "public_routes"]

_ROBOTS = "User-agent: *\n{allowed}Disallow: /\n"
_NO_FILE = "no file was sent; choose one first"
_CHANNELS_APART = 0.05  # from which the sound of each channel is counted too
_HEADERS = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}


def public_line(gateway: "Gateway") -> JobRunner:
    """What examines the public's questions, one at a time, apart from everybody else's work."""
    config = gateway.config.public_detector
    return JobRunner(running=1, waiting=config.waiting, longest_s=config.examination_s)


def _similar(gateway: "Gateway") -> SimilarQuestions:
    """What counts questions about nearly the same sound: here, or at all servers."""
    per_hour = gateway.config.public_detector.near_identical_per_hour
    if not gateway.config.server.workers:
        return SimilarQuestions(per_hour)
    return SimilarQuestions(
        per_hour, secret=gateway.shared_secret(), everywhere=gateway.shared_sounds()
    )


def _share(gateway: "Gateway") -> Callable[[str], AbstractAsyncContextManager[None]]:
    """What holds an address's part of the lines of all servers; nothing where there is one."""
    config = gateway.config.public_detector
    if not gateway.config.server.workers:
        return lambda _address: nullcontext()
    longest_s = config.upload_s + (2 + config.waiting) * config.examination_s
    return SharedShare(gateway.shared_places("public", config.per_address, longest_s)).place


def public_routes(gateway: "Gateway", runner: JobRunner) -> APIRouter:
    """The routes of the module."""
    router = APIRouter()
    config = gateway.config.public_detector
    pages = Pages(config)
    limiter = limiter_of(gateway, "public", config.requests_per_minute)
    similar = _similar(gateway)
    line = Line(places=1 + config.waiting, per_address=config.per_address)
    elsewhere = _share(gateway)
    uploads = uploads_of(
        gateway,
        "public uploads",
        Budget(
            max_bytes=config.max_bytes,
            held=config.per_address * config.max_bytes,
            hourly=60 * config.requests_per_minute * config.max_bytes,
        ),
    )

    def require_enabled() -> None:
        if not gateway.config.public_detector.enabled:
            raise HTTPException(404, "this studio offers no public detector")

    async def ask(request: Request) -> PublicAnswer:
        """Take the file in, examine it, forget it."""
        require_enabled()
        address = network_of(address_of(request))
        if wait_s := await limiter.ask(address):
            raise TooManyRequestsError("too many questions from your address", wait_s)
        with line.place(address):
            async with elsewhere(address):
                return await taken_in(request, address)

    async def taken_in(request: Request, address: str) -> PublicAnswer:
        try:
            async with asyncio.timeout(config.upload_s):
                upload = await receive_one(
                    uploads,
                    "public",
                    "recording",
                    request.headers.get("content-type", ""),
                    request.stream(),
                    account=address,
                )
        except TimeoutError:
            raise UsageError(
                f"the file was not here within {config.upload_s:g} s; send a shorter piece"
            ) from None
        try:
            if upload.size == 0:
                raise UsageError(_NO_FILE)
            job = runner.submit(
                lambda report, cancel: examine(upload.path, report, cancel), account=address
            )
            return await while_connected(request, job)
        finally:
            uploads.discard(upload.path)

    def examine(
        path: Path, report: Callable[[object], None], cancel: threading.Event
    ) -> PublicAnswer:
        with line.timed():
            return gateway.answer_stranger(
                path, opened=count_sound, progress=stoppable(report, cancel)
            )

    def count_sound(recording: "SuspectAudio") -> None:
        prints = [] if recording.print is None else [recording.print]
        if recording.apart > _CHANNELS_APART:
            prints += recording.other_prints()
        waits = [similar.ask(each.words) for each in prints]
        if wait_s := max(waits, default=0.0):
            raise TooManyRequestsError(
                "nearly the same sound was asked about too often; its answer does not change",
                wait_s,
            )

    @router.api_route("/detect", methods=["GET", "HEAD"])
    def form() -> Response:
        """The form."""
        require_enabled()
        return pages.form()

    @router.post("/detect")
    async def answer_page(request: Request) -> Response:
        """The answer as a page."""
        try:
            return pages.answer(await ask(request))
        except WrongBodyError:
            return refused(request, UsageError(_NO_FILE))
        except (UsageError, TooManyRequestsError, TooLongError) as exc:
            return refused(request, exc)
        except StudioError as exc:
            if answer_of(exc)[0] != 503 or isinstance(exc, DecodingRefusedError):
                raise
            return refused(request, exc)

    def refused(request: Request, error: StudioError) -> Response:
        record_in(request.scope).error = error
        wait_s = getattr(error, "retry_after_s", None)
        status = answer_of(error)[0]
        return pages.refusal(
            str(error),
            429 if wait_s is not None and status != 503 else status,
            None if wait_s is None else math.ceil(wait_s),
        )

    @router.post("/api/public/detect")
    async def answer_json(request: Request) -> Response:
        """The answer as JSON."""
        answer = await ask(request)
        body = {**answer.to_json(), **pages.about()}
        return JSONResponse(body, headers=_HEADERS)

    @router.api_route("/detect/style.css", methods=["GET", "HEAD"])
    def style() -> Response:
        require_enabled()
        return sheet()

    @router.api_route("/robots.txt", methods=["GET", "HEAD"])
    def robots() -> Response:
        """Search engines may list the form, and nothing else."""
        allowed = "Allow: /detect$\n" if gateway.config.public_detector.enabled else ""
        return PlainTextResponse(_ROBOTS.format(allowed=allowed))

    return router
