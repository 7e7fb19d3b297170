"""Signing in and out of the page, and changing one's password: small pages without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.passwords import MIN_LENGTH
from studio.core.errors import LedgerError, SignInError, UsageError
from studio.reports.formatting import asset, esc
from studio.web.middleware.auth import actor_of, address_of, cookie_of, token_of
from studio.web.ui.head import colours_of_the_system

if TYPE_CHECKING:
    from studio.app.gateway import Gateway

__all__ = ["login_routes"]

_MAX_FORM = 4096  # bytes

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title} – Consented Music Studio</title>
<link rel="icon" href="data:image/svg+xml,{icon}">
<style>{style}</style></head><body>
<main><header>{seal}<div><h1>Consented Music Studio</h1>
<p>Music from styles whose rights holders agreed.</p></div></header>
<section><h2>{title}</h2>{message}{form}</section></main></body></html>"""

_SIGN_IN = """<form method="post" action="login">
<label for="name">Account name</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false"
 maxlength="64" required {focus_name} value="{name}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 maxlength="256" required {focus_password}>
<button type="submit">Sign in</button></form>
<p class="soft">Whoever runs this studio hands out accounts and renews forgotten passwords.</p>"""

_PASSWORD = f"""<form method="post" action="password">
<label for="old">Present password</label>
<input id="old" name="old" type="password" autocomplete="current-password" maxlength="256" required
 autofocus>
<label for="new">New password</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="{MIN_LENGTH}"
 maxlength="256" required aria-describedby="rule">
<p class="soft" id="rule">At least {MIN_LENGTH} characters, of any kind. Every session of the
account ends, this one too.</p>
<button type="submit">Change password</button></form><p><a href="./">Back to the studio</a></p>"""


def login_routes(gateway: Gateway) -> APIRouter:
    """``/login``, ``/logout`` and ``/password``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def login_page(request: Request) -> Response:
        if not gateway.has_accounts() or actor_of(request.scope) is not None:
            return RedirectResponse("./", 303)
        return _page("Sign in", _sign_in_form())

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await _form(request)
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
            return _page("Sign in", _sign_in_form(name), error=str(exc), **_status_of(exc))
        except LedgerError:
            return _page(
                "Sign in", _sign_in_form(name), error="the studio cannot be reached", status=503
            )
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
        return _page("Change password", _PASSWORD)

    @router.post("/password")
    async def change_password(request: Request) -> Response:
        actor = actor_of(request.scope)
        if actor is None or actor.account_id is None:
            return RedirectResponse("./", 303)
        form = await _form(request)
        try:
            await run_in_threadpool(
                gateway.session(actor).accounts.change_own_password,
                form.get("old", ""),
                form.get("new", ""),
                address=address_of(request),
            )
        except SignInError as exc:
            wrong = "the present password is wrong" if exc.retry_after_s is None else str(exc)
            return _page("Change password", _PASSWORD, error=wrong, **_status_of(exc))
        except UsageError as exc:
            return _page("Change password", _PASSWORD, error=str(exc), status=422)
        return RedirectResponse("login", 303)

    return router


def _status_of(error: SignInError) -> dict[str, int]:
    if error.retry_after_s is None:
        return {"status": 401}
    return {"status": 429, "retry_after_s": int(error.retry_after_s) + 1}


def _sign_in_form(name: str = "") -> str:
    return _SIGN_IN.format(
        name=esc(name[:64]),
        focus_name="" if name else "autofocus",
        focus_password="autofocus" if name else "",
    )


def _page(
    title: str, form: str, *, error: str = "", status: int = 200, retry_after_s: int = 0
) -> HTMLResponse:
    message = ""
    if error:
        text = esc(f"{error[:1].upper()}{error[1:]}.")
        message = f'<p class="bad" role="alert">{text}</p>'
    body = _FRAME.format(
        title=title,
        style=colours_of_the_system() + asset("login.css"),
        seal=asset("seal.svg"),
        icon=quote(asset("seal.svg")),  # a stranger is given no file
        message=message,
        form=form,
    )
    headers = {"Cache-Control": "no-store"}
    if retry_after_s:
        headers["Retry-After"] = str(retry_after_s)
    return HTMLResponse(body, status, headers)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small urlencoded form; more than a form can hold reads as none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            return {}
    if b"\0" in body or b"%00" in body:
        return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
    return {name: values[0] for name, values in fields.items()}
