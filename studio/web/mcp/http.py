"""The MCP tools over HTTP at ``/mcp``, with a token as for the REST API.

Requests stand alone: there is no session to keep. Examinations stand in the same line as everybody
else's, and count as the account's own.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import Route

from studio.core.errors import AccessDeniedError, UsageError
from studio.web.errors import refuse
from studio.web.jobs.queue import Report, TooManyRequestsError, stoppable
from studio.web.mcp.tools import create_mcp
from studio.web.middleware.auth import account_of, actor_of
from studio.web.middleware.rate_limit import limiter_of

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from starlette.types import Receive, Scope, Send

    from studio.app.gateway import Gateway
    from studio.app.session import Session
    from studio.verification.report import VerifyReport
    from studio.web.jobs.queue import JobRunner

__all__ = ["PATH", "McpOverHttp"]

PATH = "/mcp"
_MAX_BODY = 32 << 20  # bytes of a request, as studio.web.middleware.body_limit has it


class McpOverHttp:
    """The route, an ASGI application, and the task group that it needs while the server runs."""

    def __init__(self, gateway: Gateway, checking: JobRunner) -> None:
        self._gateway = gateway
        self._checking = checking
        self._buckets = limiter_of(gateway, "mcp", gateway.config.accounts.requests_per_minute)
        server = create_mcp(self)
        # Authentication has checked the host by now, and a browser request's origin.
        server.streamable_http_app(
            streamable_http_path=PATH,
            json_response=True,
            stateless_http=True,
            max_request_body_size=_MAX_BODY,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._manager = server.session_manager

    def route(self) -> Route:
        """The route to add to the studio's application."""
        return Route(PATH, self, methods=["GET", "POST", "DELETE"], include_in_schema=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the server runs."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        wait_s = await self._buckets.ask(account_of(request, actor_of(scope)))
        if wait_s:
            error = TooManyRequestsError("too many requests; slow down", wait_s)
            await refuse(request, error)(scope, receive, send)
            return
        await self._manager.handle_request(scope, receive, send)

    # -- the host of the tools ------------------------------------------------------------------

    def session(self, context: Context) -> Session:
        actor = actor_of(self._request(context).scope)
        if actor is None:  # authentication refuses them already; this is a second check
            raise AccessDeniedError("sign in first")
        return self._gateway.session(actor)

    def examine(self, context: Context, source: bytes | str) -> VerifyReport:
        if isinstance(source, str):
            raise UsageError("a path names a file of the server; send content_base64")
        request, session = self._request(context), self.session(context)
        if len(source) > session.config.uploads.max_bytes:
            raise UsageError("the recording is too long; send it to POST /api/v1/verifications")

        def work(report: Report, cancel: threading.Event) -> VerifyReport:
            return session.verification.verify(source, progress=stoppable(report, cancel))

        account = account_of(request, actor_of(request.scope))
        return self._checking.submit(work, account=account).result()

    def _request(self, context: Context) -> Request:
        request = context.request_context.request
        if not isinstance(request, Request):
            raise AccessDeniedError("sign in first")
        return request
