"""The HTTP application beside the page, with its middleware.

=========================  ======================================================================
``GET /healthz``           ``{"status": "ok", "warnings": []}``: the process answers
``GET /readyz``            whether it can do its work, check by check; 503 where it cannot
``GET /metrics``           counts and times for Prometheus, for administrators
``GET /outputs/ID``        the record of an output (JSON): what a verdict would show as well
``GET /outputs/ID/audio``  the released file, byte for byte
``/api/v1``                the REST layer, :mod:`studio.web.api.routes.v1`
=========================  ======================================================================

An output is named by its id and nothing else: no route takes a path, and the file that is sent is
the one the ledger names, if it lies in the studio's folder of released outputs. Its audio is for
the account that made it; in a studio without accounts it needs the ``?claim=`` of the page that
made it, because any copy of a file gives its id away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission
from studio.app.operation.readiness import Check
from studio.core.errors import LedgerError, NotYoursError, StudioError, UsageError
from studio.core.isolation import weakness
from studio.reports.formatting import file_name
from studio.reports.record import record_of
from studio.web.api.routes.v1 import create_v1
from studio.web.api.schemas import MEDIA_TYPES, OUTPUT_ID
from studio.web.errors import allow_head, answer_of, one_shape
from studio.web.http.download_tokens import DownloadTokens
from studio.web.http.uploads import Budget, uploads_of
from studio.web.jobs.long_checks import Checks
from studio.web.jobs.preview_feeds import PreviewFeeds
from studio.web.jobs.queue import JobRunner
from studio.web.metrics import CONTENT_TYPE_LATEST, Metrics
from studio.web.middleware.access_log import AccessLog, RequestRecord
from studio.web.middleware.auth import AuthMiddleware, actor_of
from studio.web.middleware.body_limit import BodyLimit, limits_of
from studio.web.middleware.page_frame import PageFrame
from studio.web.middleware.page_gate import PageGate, PageRules
from studio.web.middleware.proxy_headers import TrustedProxies
from studio.web.middleware.rate_limit import limiter_of
from studio.web.middleware.security_headers import SecurityHeadersMiddleware
from studio.web.ui.head import page_head

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["create_api"]

_READY_S = 2.0  # for so long an answer of /readyz is given again
_NOT_FOUND = "no such output, or not yours"


def create_api(
    gateway: Gateway,
    download_tokens: DownloadTokens,
    *,
    making: JobRunner,
    checking: JobRunner,
    long: JobRunner | None = None,
    metrics: Metrics | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The routes over one studio. The page is mounted on the result by :mod:`studio.web.server`.

    ``making`` and ``checking`` run the two kinds of work, the page's and the REST layer's alike;
    ``long`` (default: ``checking``) examines long recordings.
    """
    app = FastAPI(
        title="Consented Music Studio",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    one_shape(app)
    limits = gateway.config.uploads
    uploads = uploads_of(
        gateway,
        "uploads",
        Budget(max_bytes=limits.max_bytes, held=limits.held_bytes, hourly=limits.hourly_bytes),
    )
    app.state.page_rules = rules = PageRules(
        uploads,
        events=limiter_of(gateway, "page", gateway.config.accounts.page_events_per_minute),
    )
    # The last one added is the first to see a request.
    app.add_middleware(PageFrame, head=page_head())
    app.add_middleware(PageGate, rules=rules)
    app.add_middleware(AuthMiddleware, gateway=gateway)
    app.add_middleware(
        BodyLimit, limits=lambda: limits_of(gateway.config.uploads, gateway.config.public_detector)
    )
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(TrustedProxies, proxies=gateway.config.server.trusted_proxies)
    metrics = metrics or Metrics()
    metrics.follow("making", making)
    metrics.follow("checking", checking)

    def count(record: RequestRecord, method: str, status: int, seconds: float) -> None:
        metrics.request(method, status, seconds)
        if record.error is not None:
            metrics.refused(record.error)

    app.add_middleware(AccessLog, on_end=count, proxies=gateway.config.server.trusted_proxies)
    app.state.fetching = JobRunner(running=1, waiting=3)  # of models; closed by the server
    app.state.checks = checks = Checks(
        limits, uploads, checking, long or checking, gateway.check_records
    )
    app.state.previews = feeds = PreviewFeeds(gateway.preview_pieces)
    v1 = create_v1(gateway, checks, making=making, fetching=app.state.fetching, feeds=feeds)
    app.mount("/api/v1", v1)

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        weak = weakness(gateway.config.uploads)
        return {"status": "ok", "warnings": [] if weak is None else [weak]}

    readiness = _Remembered(gateway.readiness)

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        checks = readiness.answer()
        ready = all(check.ok for check in checks.values())
        body = {name: check.to_json() for name, check in checks.items()}
        return JSONResponse({"ready": ready, "checks": body}, 200 if ready else 503)

    @app.get("/metrics")
    def exposition(request: Request) -> Response:
        actor = actor_of(request.scope)
        if actor is None or not actor.may(Permission.ADMINISTER):
            raise HTTPException(403, "metrics are for administrators")
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/outputs/{output_id}")
    def record(request: Request, output_id: str) -> dict[str, Any]:
        actor = _admitted(request, output_id)
        try:
            return record_of(gateway.session(actor).outputs.get(output_id))
        except StudioError as exc:
            raise _refused(exc) from exc

    @app.get("/outputs/{output_id}/peaks")
    def peaks(
        request: Request, output_id: str, claim: Annotated[str, Query(max_length=64)] = ""
    ) -> list[int]:
        actor = _admitted(request, output_id)
        if actor is LOCAL_OWNER and not download_tokens.accepts(output_id, claim):
            raise HTTPException(404, _NOT_FOUND)
        try:
            return list(gateway.session(actor).outputs.peaks(output_id))
        except StudioError as exc:
            raise _refused(exc) from exc

    @app.get("/outputs/{output_id}/audio")
    def audio(
        request: Request, output_id: str, claim: Annotated[str, Query(max_length=64)] = ""
    ) -> FileResponse:
        actor = _admitted(request, output_id)
        # Checked first: without a claim, an id that exists and one that does not look alike.
        if actor is LOCAL_OWNER and not download_tokens.accepts(output_id, claim):
            raise HTTPException(404, _NOT_FOUND)
        try:
            outputs = gateway.session(actor).outputs
            path, name = outputs.audio_file(output_id), file_name(outputs.get(output_id))
        except StudioError as exc:
            raise _refused(exc) from exc
        return FileResponse(
            path,
            media_type=MEDIA_TYPES[path.suffix.removeprefix(".")],
            filename=name,
            headers={"Cache-Control": "private, no-store"},
        )

    allow_head(app)
    return app


class _Remembered:
    """The last answer for a while, so that nobody keeps the disk busy by asking."""

    def __init__(self, ask: Callable[[], dict[str, Check]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._last: tuple[float, dict[str, Check]] | None = None

    def answer(self) -> dict[str, Check]:
        with self._lock:
            now = time.monotonic()
            if self._last is None or now - self._last[0] > _READY_S:
                self._last = (now, self._ask())
            return self._last[1]


def _admitted(request: Request, output_id: str) -> Actor:
    actor = actor_of(request.scope)
    if actor is None or not OUTPUT_ID.fullmatch(output_id):
        raise HTTPException(404, _NOT_FOUND)
    return actor


def _refused(error: StudioError) -> HTTPException:
    if type(error) is UsageError or isinstance(error, NotYoursError):
        return HTTPException(404, _NOT_FOUND)
    if isinstance(error, LedgerError):
        return HTTPException(503, "the ledger cannot be read")
    return HTTPException(answer_of(error)[0], str(error))
