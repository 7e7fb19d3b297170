"""Authentication: every request gets an actor, or is refused.

It stands in front of the page and of every route, because Gradio's own sign-in covers Gradio's
routes only. A studio without accounts belongs to whoever sits at the machine: everyone is
:data:`~studio.accounts.permissions.LOCAL_OWNER`, and only requests to this machine's own names are
answered, so that no web site can reach in through a name that it points at 127.0.0.1. From the
first account on there is no such owner any more: a request carries the cookie of a browser session
or ``Authorization: Bearer`` with a token.

A request that changes something and comes from another site's page is refused in both cases; the
cookie is ``SameSite=Lax`` besides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.accounts.origin import calling
from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission
from studio.core.errors import StudioError
from studio.web.middleware.access_log import record_in

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = [
    "COOKIE",
    "LOCAL",
    "SECURE_COOKIE",
    "AuthMiddleware",
    "account_of",
    "actor_of",
    "address_in",
    "address_of",
    "cookie_of",
    "error_body",
    "is_account",
    "still_admitted",
    "token_of",
]

COOKIE = "studio_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Over TLS: a browser takes it from this very host over TLS only, never from a neighbour."""

_ACTOR = "studio.actor"
_ADDRESS = "address "
LOCAL = "local"
"""Who pays in a studio without accounts."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset(
    {"/login", "/healthz", "/readyz", "/api/v1/session", "/api/v1/openapi.json", "/api/v1/docs"}
)
_PUBLIC = frozenset({"/detect", "/detect/style.css", "/api/public/detect"})
_ROBOTS = "/robots.txt"
_SHARED = re.compile(
    r"/share/(?:style\.css|[^/]{1,64}/[^/]{1,128}(?:/(?:audio|record\.json|receipt))?)"
)
"""What a link of an owner leads to; the token in it opens it."""

_ANY_HOST = frozenset({"/healthz", "/readyz"})  # asked by address
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class AuthMiddleware:
    """ASGI middleware. Plain ASGI, because the page's event stream must not be buffered."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            address = address_in(scope)
            with calling(None, address):
                refusal = await self._admit(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            actor = actor_of(scope)
            record = record_in(scope)
            record.account_id, record.address = None if actor is None else actor.account_id, address
            with calling(None if actor is None else actor.account_id, address):
                await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            return  # nothing here speaks it
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Response | None:
        """Put the actor into the scope; or the answer that ends the request."""
        headers = Headers(scope=scope)
        host, hosts = _host_name(headers.get("host", "")), self._gateway.config.server.hosts
        if hosts and host not in hosts | _LOCAL_HOSTS and scope["path"] not in _ANY_HOST:
            return _refused(421, "wrong-host", "this studio does not answer under this name")
        if scope["method"] not in _SAFE and _from_another_site(headers):
            await run_in_threadpool(self._note, "cross-site")
            return _refused(403, "cross-site", "this request comes from another site's page")
        try:
            exist = await run_in_threadpool(self._gateway.has_accounts)
            if not exist:
                if host not in _LOCAL_HOSTS:
                    return _refused(421, "wrong-host", "this studio answers as localhost only")
                scope[_ACTOR] = LOCAL_OWNER
                return None
            scope[_ACTOR] = await run_in_threadpool(self._bearer, scope)
        except StudioError:
            return _refused(503, "unavailable", "the studio's database cannot be read")
        if scope[_ACTOR] is not None or self._is_open(scope["path"]):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{scope.get('root_path', '')}/login", 303)
        return _refused(401, "sign-in", "sign in first", {"WWW-Authenticate": "Bearer"})

    def _is_open(self, path: str) -> bool:
        """Whether the path is public."""
        if path in _OPEN or path == _ROBOTS or _SHARED.fullmatch(path):
            return True
        return self._gateway.config.public_detector.enabled and path in _PUBLIC

    def _bearer(self, scope: Scope) -> Actor | None:
        token, kind = token_of(HTTPConnection(scope))
        if not token:
            return None
        actor = self._gateway.actor_of(token, kind=kind)
        if actor is None and kind == "token":  # a cookie that has ended is everyday life
            self._note("token")
        return actor

    def _note(self, event: str) -> None:
        with suppress(StudioError):  # the database cannot be opened: the caller is told so
            self._gateway.record_refusal(event)


def actor_of(scope: Scope) -> Actor | None:
    """The authenticated actor; None on the few public paths."""
    return cast("Actor | None", scope.get(_ACTOR))


def token_of(connection: HTTPConnection) -> tuple[str, Literal["page", "token"]]:
    """The token the request carries (empty: none), and which kind of session it may be of."""
    scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip(), "token"
    return connection.cookies.get(cookie_of(connection), ""), "page"


def cookie_of(connection: HTTPConnection) -> str:
    """The name of the cookie of a browser session: another one over TLS."""
    return SECURE_COOKIE if connection.url.scheme == "https" else COOKIE


def still_admitted(gateway: Gateway, connection: HTTPConnection, permission: Permission) -> bool:
    """Whether who sent a request some time ago would be let in now, with the permission.

    For answers that take long. False after signing out and for an account that was disabled.
    """
    actor = actor_of(connection.scope)
    if actor is None:
        return False
    if actor.account_id is None:
        return not gateway.has_accounts()
    token, kind = token_of(connection)
    now = gateway.actor_of(token, kind=kind) if token else None
    return now is not None and now.account_id == actor.account_id and now.may(permission)


def account_of(connection: HTTPConnection, actor: Actor | None) -> str:
    """Who pays for a request: the account, or the address of one who is not signed in."""
    if actor is None:
        return f"{_ADDRESS}{address_of(connection)}"
    return actor.account_id or LOCAL


def is_account(payer: str) -> bool:
    """Whether what :func:`account_of` gave is the id of an account.

    >>> is_account("address 127.0.0.1"), is_account(LOCAL), is_account("0f1e2d3c4b5a6978")
    (False, False, True)
    """
    return payer != LOCAL and not payer.startswith(_ADDRESS)


def address_of(connection: HTTPConnection) -> str:
    """The client's address, for login throttling and the security log."""
    return address_in(connection.scope)


def address_in(scope: Mapping[str, Any]) -> str:
    """The client's address, from the ASGI scope."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def error_body(code: str, message: str) -> dict[str, dict[str, str]]:
    """The shape of every refusal of the REST layer."""
    return {"error": {"code": code, "message": message}}


def _refused(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(error_body(code, message), status, headers)


def _from_another_site(headers: Headers) -> bool:
    """Whether a browser says that another site's page sent this.

    ``Sec-Fetch-Site`` is set by every current browser and by no script; older ones send ``Origin``.
    A client without both is no browser and carries no cookie that it was not given on purpose.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _host_name(host: str) -> str:
    """The name without the port.

    >>> _host_name("localhost:7860"), _host_name("[::1]:7860")
    ('localhost', '::1')
    """
    return urlsplit(f"//{host}").hostname or ""
