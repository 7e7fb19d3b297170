"""Pages to sign in, sign out and change a password, without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.passwords import MIN_LENGTH
from studio.core.errors import LedgerError, SignInError, UsageError
from studio.reports.formatting import asset
from studio.reports.templating import page
from studio.web.http.forms import read_form
from studio.web.middleware.auth import actor_of, address_of, cookie_of, token_of
from studio.web.ui.head import colours_of_the_system
from studio.web.ui.templating import our_own

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["login_routes"]

_MAX_FORM = 4096  # bytes


def login_routes(gateway: Gateway) -> APIRouter:
    """``/login``, ``/logout`` and ``/password``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def login_page(request: Request) -> Response:
        if not gateway.has_accounts() or actor_of(request.scope) is not None:
            return RedirectResponse("./", 303)
        return _sign_in()

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await read_form(request, _MAX_FORM)
        name, password = form.get("name", ""), form.get("password", "")
        try:
            session = await run_in_threadpool(
                gateway.sign_in,
                name,
                password,
                address=address_of(request),
                kind="page",
            )
        except SignInError as exc:
            return _sign_in(name, error=str(exc), **_status_of(exc))
        except LedgerError:
            return _sign_in(name, error="the studio cannot be reached", status=503)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            cookie_of(request),
            session.token,
            max_age=int(gateway.config.accounts.session_hours * 3600),
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    @router.post("/logout")
    def sign_out(request: Request) -> Response:
        token, _ = token_of(request)
        if token:
            gateway.sign_out(token)
        answer = RedirectResponse("login", 303)
        secure = request.url.scheme == "https"
        answer.delete_cookie(cookie_of(request), httponly=True, samesite="lax", secure=secure)
        return answer

    @router.get("/password")
    def password_page(request: Request) -> Response:
        actor = actor_of(request.scope)
        if actor is None or actor.account_id is None:
            return RedirectResponse("./", 303)
        return _change_password()

    @router.post("/password")
    async def change_password(request: Request) -> Response:
        actor = actor_of(request.scope)
        if actor is None or actor.account_id is None:
            return RedirectResponse("./", 303)
        form = await read_form(request, _MAX_FORM)
        try:
            await run_in_threadpool(
                gateway.session(actor).accounts.change_own_password,
                form.get("old", ""),
                form.get("new", ""),
                address=address_of(request),
            )
        except SignInError as exc:
            wrong = "the present password is wrong" if exc.retry_after_s is None else str(exc)
            return _change_password(error=wrong, **_status_of(exc))
        except UsageError as exc:
            return _change_password(error=str(exc), status=422)
        return RedirectResponse("login", 303)

    return router


class _Status(TypedDict, total=False):
    """With which status a form is shown again."""

    status: int
    retry_after_s: int


def _status_of(error: SignInError) -> _Status:
    if error.retry_after_s is None:
        return {"status": 401}
    return {"status": 429, "retry_after_s": int(error.retry_after_s) + 1}


def _sign_in(name: str = "", *, error: str = "", **status: Unpack[_Status]) -> HTMLResponse:
    return _page("sign_in.html", "Sign in", {"name": name[:64]}, error=error, **status)


def _change_password(*, error: str = "", **status: Unpack[_Status]) -> HTMLResponse:
    return _page(
        "password.html", "Change password", {"shortest": MIN_LENGTH}, error=error, **status
    )


def _page(
    template: str,
    title: str,
    values: dict[str, object],
    *,
    error: str = "",
    status: int = 200,
    retry_after_s: int = 0,
) -> HTMLResponse:
    body = page(
        "studio.web.ui",
        template,
        title=f"{title} – Consented Music Studio",
        sheet=colours_of_the_system() + our_own("login.css"),
        seal=our_own("seal.svg"),
        icon=quote(asset("seal.svg")),  # a stranger is given no file
        error=f"{error[:1].upper()}{error[1:]}." if error else "",
        **values,
    )
    headers = {"Cache-Control": "no-store"}
    if retry_after_s:
        headers["Retry-After"] = str(retry_after_s)
    return HTMLResponse(body, status, headers)
