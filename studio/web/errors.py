"""Which answer each of the studio's errors becomes: one table for every route of the REST layer."""

from __future__ import annotations

import math

from fastapi import Request
from fastapi.responses import JSONResponse

from studio.core.errors import (
    AccessDeniedError,
    ConsentFileError,
    ConsentRefusedError,
    DecodingRefusedError,
    GenerationCancelledError,
    LedgerError,
    ModelError,
    NotYoursError,
    OutputGoneError,
    OutputWithdrawnError,
    QuotaExceededError,
    RequestRefusedError,
    SealingError,
    SignInError,
    StudioError,
    UsageError,
)
from studio.web.jobs import BusyError, TooLongError, TooManyRequestsError
from studio.web.middleware.auth import error_body
from studio.web.uploads import UploadTooLargeError

__all__ = ["answer_of", "refuse"]


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
    (UsageError, 422, "impossible"),
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


def refuse(_request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that raised one of our errors."""
    status, code = answer_of(error)
    wait_s = getattr(error, "retry_after_s", None)
    headers = {}
    if wait_s is not None:
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
