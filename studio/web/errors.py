"""The HTTP status and code of each error, for every route."""

from __future__ import annotations

import logging
import math

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from studio.core.errors import (
    AccessDeniedError,
    BeyondLimitsError,
    ConsentFileError,
    ConsentRefusedError,
    DecodingRefusedError,
    GenerationCancelledError,
    HostRefusedError,
    HostUnreachableError,
    LedgerError,
    ModelError,
    NotYoursError,
    OutputGoneError,
    OutputWithdrawnError,
    ProofError,
    QuotaExceededError,
    RequestRefusedError,
    SealingError,
    SignInError,
    StudioError,
    UnreadableProofError,
    UsageError,
)
from studio.web.http.uploads import UploadTooLargeError, WrongBodyError
from studio.web.jobs.queue import BusyError, TooLongError, TooManyRequestsError
from studio.web.middleware.access_log import record_in
from studio.web.middleware.auth import error_body
from studio.web.middleware.rate_limit import log_failure

__all__ = ["allow_head", "answer_of", "one_shape", "refuse"]

_logger = logging.getLogger(__name__)


_ANSWERS: tuple[tuple[type[StudioError], int, str], ...] = (
    (NotYoursError, 404, "not-found"),
    (AccessDeniedError, 403, "not-permitted"),
    (SignInError, 401, "sign-in"),
    (TooManyRequestsError, 429, "too-many"),
    (OutputWithdrawnError, 410, "withdrawn"),
    (OutputGoneError, 410, "gone"),
    (ConsentRefusedError, 409, "consent-missing"),
    (QuotaExceededError, 429, "quota"),
    (RequestRefusedError, 409, "declined"),
    (UploadTooLargeError, 413, "too-large"),
    (WrongBodyError, 415, "wrong-body"),
    (BeyondLimitsError, 413, "beyond-limits"),
    (HostRefusedError, 422, "host-not-allowed"),
    (UsageError, 422, "impossible"),
    (HostUnreachableError, 502, "not-fetched"),
    (ProofError, 422, "not-proven"),
    (UnreadableProofError, 422, "no-proof"),
    (ConsentFileError, 422, "not-consent"),
    (BusyError, 503, "busy"),
    (TooLongError, 422, "took-too-long"),
    (GenerationCancelledError, 409, "cancelled"),
    (SealingError, 500, "not-sealed"),
    (DecodingRefusedError, 503, "decoding-refused"),
    (ModelError, 503, "model-unavailable"),
    (LedgerError, 503, "ledger-unavailable"),
)
"""The first that fits counts."""


def answer_of(error: BaseException) -> tuple[int, str]:
    """Status and code of an error.

    >>> answer_of(NotYoursError("no such output, or not yours")), answer_of(StudioError("?"))
    ((404, 'not-found'), (500, 'failed'))
    """
    return next(
        ((status, code) for kind, status, code in _ANSWERS if isinstance(error, kind)),
        (500, "failed"),
    )


def refuse(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that raised one of our errors."""
    record_in(request.scope).error = error
    status, code = answer_of(error)
    wait_s = getattr(error, "retry_after_s", None)
    headers = {}
    if wait_s is not None:
        if status != 503:
            status, code = 429, "too-many"
        headers["Retry-After"] = str(math.ceil(wait_s))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    # What went wrong in the database or a model is for the operator's log, not for strangers.
    message = (
        "the ledger cannot be read or written"
        if status == 503 and code.startswith("ledger")
        else str(error)
    )
    return JSONResponse(error_body(code, message), status, headers)


def one_shape(app: FastAPI) -> None:
    """Give every refusal of ``app`` the shape ``{"error": {"code", "message"}}``."""
    app.add_exception_handler(StudioError, refuse)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(OSError, _of_the_disk)
    app.add_exception_handler(Exception, _fault)


def allow_head(app: FastAPI) -> None:
    """Answer HEAD wherever GET is answered, as HTTP has it; the server leaves the body out."""
    for route in _routes_of(app.router):
        if "GET" in (route.methods or ()):
            app.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                response_class=route.response_class,
                response_model=route.response_model,
                include_in_schema=False,
            )


def _routes_of(router: APIRouter) -> list[APIRoute]:
    """The routes of a router, and those of the routers included in it (all without a prefix)."""
    found: list[APIRoute] = []
    for route in router.routes:
        if isinstance(route, APIRoute):
            found.append(route)
        elif isinstance(included := getattr(route, "original_router", None), APIRouter):
            found += _routes_of(included)
    return found


_HTTP = {404: "not-found", 405: "wrong-method", 415: "wrong-body", 503: "ledger-unavailable"}


def _of_http(_request: Request, error: Exception) -> JSONResponse:
    """A refusal by the web framework: no such route, a wrong method."""
    assert isinstance(error, HTTPException)
    code = _HTTP.get(error.status_code, "refused")
    return JSONResponse(error_body(code, str(error.detail)), error.status_code, error.headers)


def _malformed(_request: Request, error: Exception) -> JSONResponse:
    """A body or a parameter of the wrong shape, without what was sent."""
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        if fault["type"] != "json_invalid"
        else fault["ctx"]["error"]  # of studio.web.http.strict_json, which repeats nothing
        for fault in error.errors()[:5]
    )
    return JSONResponse(error_body("malformed", faults), 422)


def _of_the_disk(_request: Request, error: Exception) -> JSONResponse:
    """A full disk and the like; what exactly is for the operator's log."""
    _logger.error("a request failed", exc_info=error)
    return JSONResponse(error_body("storage", "the studio cannot write or read its files"), 503)


def _fault(_request: Request, _error: Exception) -> JSONResponse:
    """A fault of ours: the log has it, the caller gets its reference."""
    reference = log_failure("a request")
    return JSONResponse(error_body("failed", f"our fault; reference {reference}"), 500)
