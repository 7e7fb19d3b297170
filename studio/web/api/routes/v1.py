"""The REST API, version 1; ``docs/accounts.md`` has examples.

It is an application of its own under ``/api/v1``, with its OpenAPI description in
``/api/v1/openapi.json``. Callers sign in with a token (``POST /session``); each call goes through
the actor's :class:`~studio.app.session.Session`, so that no route has rights of its own. Every
refusal is ``{"error": {"code", "message"}}``.
"""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside create_v1.
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse

from studio.accounts.permissions import LOCAL_OWNER, Actor
from studio.app.session import Session
from studio.core.errors import SignInError
from studio.web.api.bodies import (
    Caller,
    Credentials,
    Token,
)
from studio.web.api.reference import describe, reference_page
from studio.web.api.routes.accounts import account_routes
from studio.web.api.routes.catalog import catalog_routes
from studio.web.api.routes.consent import consent_routes
from studio.web.api.routes.derivations import derivation_routes
from studio.web.api.routes.jobs import job_routes
from studio.web.api.routes.model_fetches import model_fetch_routes
from studio.web.api.routes.outputs import output_routes
from studio.web.api.routes.previews import preview_routes
from studio.web.api.routes.renditions import rendition_routes
from studio.web.api.routes.sheets import sheet_routes
from studio.web.api.routes.stems import stem_routes
from studio.web.api.routes.verification import verification_routes
from studio.web.api.strict_route import StrictRoute
from studio.web.cases.examining import CaseFiles
from studio.web.cases.rest import case_rest_routes
from studio.web.errors import allow_head, one_shape
from studio.web.jobs.long_checks import Checks
from studio.web.jobs.preview_feeds import PreviewFeeds
from studio.web.jobs.queue import JobRunner, TooManyRequestsError
from studio.web.jobs.shared import SharedJobs
from studio.web.jobs.store import Jobs, JobStore
from studio.web.middleware.auth import account_of, actor_of, address_of, token_of
from studio.web.middleware.rate_limit import limiter_of

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["create_v1"]


def create_v1(
    gateway: "Gateway",
    checks: Checks,
    *,
    making: JobRunner,
    fetching: JobRunner,
    feeds: PreviewFeeds,
) -> FastAPI:
    """The application to mount at ``/api/v1``, behind authentication."""
    limits = gateway.config.accounts
    app = FastAPI(
        title="Consented Music Studio",
        version="1",
        description="Generation on consented tags, verification, consent, accounts.",
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = StrictRoute
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # as FastAPI's docs have it
    one_shape(app)
    queue: Jobs = SharedJobs(feeds) if gateway.config.server.workers else JobStore(making)
    rate_limiter = limiter_of(gateway, "rest", limits.requests_per_minute)

    def bounded(request: Request) -> Actor | None:
        actor = actor_of(request.scope)
        wait_s = rate_limiter.take(account_of(request, actor))
        if wait_s:
            raise TooManyRequestsError("too many requests; slow down", wait_s)
        return actor

    def caller(actor: Annotated[Actor | None, Depends(bounded)]) -> Actor:
        if actor is None:  # authentication refuses these already; this is a second check
            raise SignInError("sign in first")
        return actor

    def session_of(actor: Annotated[Actor, Depends(caller)]) -> Session:
        return gateway.session(actor)

    Who = Annotated[Actor, Depends(caller)]

    @app.get("/docs", include_in_schema=False)
    def reference() -> HTMLResponse:
        """The description as a page."""
        return HTMLResponse(reference_page(describe(app)))

    # -- who ------------------------------------------------------------------------------------

    @app.post("/session", status_code=201, tags=["session"])
    def sign_in(
        request: Request, body: Credentials, _: Annotated[Actor | None, Depends(bounded)]
    ) -> Token:
        """Sign in; the token is for later calls."""
        signed_in = gateway.sign_in(
            body.name, body.password, address=address_of(request), kind="token"
        )
        return Token(token=signed_in.token, expires_at=signed_in.expires_at.isoformat())

    @app.delete("/session", status_code=204, tags=["session"])
    def sign_out(request: Request, actor: Who) -> None:
        """End the session whose token is sent."""
        gateway.sign_out(token_of(request)[0])

    @app.get("/me", tags=["session"])
    def me(actor: Who) -> Caller:
        """Who I am and what I may do."""
        return Caller(
            name=actor.name,
            role=actor.role,
            permissions=sorted(actor.role.permissions),
            single_user=actor is LOCAL_OWNER,
        )

    app.include_router(catalog_routes(session_of))
    app.include_router(job_routes(caller, session_of, queue))
    app.include_router(preview_routes(gateway, session_of, queue))
    app.include_router(derivation_routes(caller, session_of, queue))
    app.include_router(stem_routes(caller, session_of, making))
    app.include_router(rendition_routes(caller, session_of, making))
    app.include_router(sheet_routes(session_of))
    app.include_router(model_fetch_routes(session_of, fetching))
    app.include_router(case_rest_routes(session_of, CaseFiles(checks)))

    app.include_router(output_routes(session_of))
    app.include_router(verification_routes(caller, session_of, checks))
    app.include_router(consent_routes(session_of, gateway.config.consent.studio))
    app.include_router(account_routes(session_of))
    allow_head(app)
    return app
