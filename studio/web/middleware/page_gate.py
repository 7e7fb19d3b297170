"""The few Gradio routes that the page needs, with checked bodies.

Gradio serves more than a page needs (files of the server by path, a proxy, calls of a component's
own functions, an editor of the app) and believes the file paths in what a browser sends. So a
request for the page passes here first:

- only the routes in the tables below exist, everything else is 404;
- an event names a function that the page has, with as many values as it takes, and a session of the
  page that the same caller opened;
- a file in it is one that **the same caller uploaded**, letter for letter; any other path is
  refused before Gradio looks at it, so that nothing is opened, hashed or copied;
- uploads are received here, within the account's budget (:mod:`studio.web.http.uploads`);
- events and uploads are bounded per account and minute.

Refusals never repeat a value that was sent.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.accounts.permissions import Actor
from studio.core.errors import UsageError
from studio.web.http.strict_json import NotStrictJsonError, parse
from studio.web.http.uploads import UploadBudgetError, Uploads, UploadTooLargeError, receive
from studio.web.http.visitors import TooManyStreamsError, Visitors
from studio.web.middleware.auth import account_of, actor_of, token_of
from studio.web.middleware.rate_limit import Limiter

__all__ = ["PageGate", "PageRules", "owner_of"]

_API = "/gradio_api/"
_ASSETS = re.compile(
    r"/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt"
    r"|(?:static|assets|svelte)/[A-Za-z0-9._/@+-]+)?"
)
_READ = re.compile(
    r"(?:info|app_id|startup-events|theme\.css|queue/data|upload_progress"
    r"|heartbeat/[A-Za-z0-9]{1,64})"
)
_EVENT = re.compile(r"(?:queue/join|run/[A-Za-z0-9_]{1,64}|run)")
_OURS = (
    "/api/v1",
    "/api/public",
    "/detect",
    "/share",
    "/robots.txt",
    "/outputs",
    "/examinations",
    "/making",
    "/cases",
    "/healthz",
    "/readyz",
    "/metrics",
    "/mcp",
    "/login",
    "/logout",
    "/password",
)
_SESSION = re.compile(r"[A-Za-z0-9]{1,64}")

_FILE_FIELDS = frozenset(
    {"path", "url", "orig_name", "size", "mime_type", "is_stream", "meta", "_type"}
)


class _RefusedError(Exception):
    """Ends the request with this answer."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s


class PageRules:
    """What the gate knows of the page and of its visitors."""

    def __init__(self, uploads: Uploads, *, events: Limiter) -> None:
        self.uploads = uploads
        self.functions: Mapping[int, int] = {}
        """Number of an event handler -> how many values it takes; set when the page is built."""
        self.visitors = Visitors()
        self._events = events

    async def take(self, caller: str) -> None:
        """Count one request of the caller. Raises where it has to wait."""
        wait_s = await self._events.ask(caller)
        if wait_s:
            raise _RefusedError(429, "too-many", "too many requests; slow down", wait_s)

    def claim_session(self, session: object, owner: str) -> str:
        """The session of the page that the request names, if it is its caller's."""
        if not isinstance(session, str) or not _SESSION.fullmatch(session):
            raise _RefusedError(400, "malformed", "the request names no session of the page")
        if not self.visitors.claim(session, owner):
            raise _RefusedError(403, "not-yours", "this session of the page is another caller's")
        return session


@dataclass(frozen=True, slots=True)
class _Stream:
    """The request opens an event stream of a session."""

    session: str
    account: str


def owner_of(request: Request, actor: Actor) -> str:
    """Whose uploads and page sessions: the account and the very sign-in, as one text."""
    token, _ = token_of(request)
    signed_in = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{actor.account_id or 'local'}/{signed_in if actor.account_id else ''}"


class PageGate:
    """ASGI middleware, behind authentication. Plain ASGI: the event stream must not be buffered."""

    def __init__(self, app: ASGIApp, rules: PageRules) -> None:
        self.app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_ours(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer: Response | bytes | _Stream | None
        try:
            answer = await self._answer(request)
            if isinstance(answer, _Stream):
                with self._rules.visitors.stream(answer.session, answer.account):
                    await self.app(scope, receive, send)
                return
        except _RefusedError as exc:
            answer = _refusal(exc)
        except TooManyStreamsError as exc:
            answer = _refusal(_RefusedError(429, "too-many", str(exc), 10.0))
        except ClientDisconnect:
            return
        if isinstance(answer, Response):
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive if answer is None else _again(answer, receive), send)

    async def _answer(self, request: Request) -> Response | bytes | _Stream | None:
        """The answer; or the body to go on with; or None to go on as it is, a stream if one is."""
        path, method = request.scope["path"], request.method
        actor = actor_of(request.scope)
        if actor is None:
            raise _RefusedError(401, "sign-in", "sign in first")
        if not path.startswith(_API):
            if not _ASSETS.fullmatch(path) or ".." in path:
                raise _RefusedError(404, "not-found", "there is nothing here")
            if method not in ("GET", "HEAD"):
                raise _RefusedError(405, "wrong-method", "this can only be read")
            return None
        return await self._api(request, path.removeprefix(_API), actor)

    async def _api(
        self, request: Request, name: str, actor: Actor
    ) -> Response | bytes | _Stream | None:
        rules, owner = self._rules, owner_of(request, actor)
        account = account_of(request, actor)
        get = request.method == "GET"
        if get and _READ.fullmatch(name):
            if name == "queue/data":
                sessions = parse_qs(request.url.query).get("session_hash", [])
                named = sessions[0] if len(sessions) == 1 else None
                return _Stream(rules.claim_session(named, owner), account)
            if name.startswith("heartbeat/"):
                return _Stream(rules.claim_session(name.partition("/")[2], owner), account)
            if name == "upload_progress":  # how far it is, is not told; the page shows its name
                return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")
            return None
        if not get and request.method == "POST":
            if name == "upload":
                await rules.take(account)
                return await self._upload(request, owner, account)
            if _EVENT.fullmatch(name):
                await rules.take(account)
                return self._event(await _body(request), owner)
            if name == "cancel":
                body = await _body(request)
                rules.claim_session(body.get("session_hash"), owner)
                _check_types(body, {"session_hash": str, "fn_index": int, "event_id": str})
                return _json(body)
            if name == "reset":
                _check_types(body := await _body(request), {"event_id": str})
                return _json(body)
        raise _RefusedError(404, "not-found", "there is nothing here")

    async def _upload(self, request: Request, owner: str, account: str) -> Response:
        try:
            received = await receive(
                self._rules.uploads,
                owner,
                request.headers.get("content-type", ""),
                request.stream(),
                account=account,
            )
        except UploadTooLargeError as exc:
            raise _RefusedError(413, "too-large", str(exc)) from exc
        except UploadBudgetError as exc:
            raise _RefusedError(429, "too-many", str(exc), exc.retry_after_s) from exc
        except UsageError as exc:
            raise _RefusedError(400, "malformed", str(exc)) from exc
        return JSONResponse([str(upload.path) for upload in received])

    def _event(self, body: dict[str, Any], owner: str) -> bytes:
        number, data = body.get("fn_index"), body.get("data")
        if type(number) is not int or number not in self._rules.functions:
            raise _RefusedError(400, "malformed", "the page has no such event")
        if not isinstance(data, list) or len(data) != self._rules.functions[number]:
            raise _RefusedError(400, "malformed", "the event takes another number of values")
        self._rules.claim_session(body.get("session_hash"), owner)
        trigger = body.get("trigger_id")
        if trigger is not None and type(trigger) is not int:
            raise _RefusedError(400, "malformed", "the event names no trigger of the page")
        return _json(
            {
                "fn_index": number,
                "session_hash": body["session_hash"],
                "trigger_id": trigger,
                "data": [self._checked(value, owner) for value in data],
                "event_data": None,  # no handler asks for it
            }
        )

    def _checked(self, value: Any, owner: str) -> Any:
        """The value, its files as this caller uploaded them. Raises where one is not."""
        if isinstance(value, list):
            return [self._checked(each, owner) for each in value]
        if not isinstance(value, dict):
            return value
        if not {"path", "url", "meta", "_type"} & value.keys():
            return {name: self._checked(each, owner) for name, each in value.items()}
        path, name, size = value.get("path"), value.get("orig_name"), value.get("size")
        if (
            not isinstance(path, str)
            or not value.keys() <= _FILE_FIELDS
            or not self._rules.uploads.belongs_to(owner, path)
        ):
            raise _RefusedError(403, "not-uploaded", "only files that you uploaded are examined")
        return {
            "path": path,
            "orig_name": name if isinstance(name, str) else None,
            "size": size if type(size) is int else None,
            "meta": {"_type": "gradio.FileData"},
        }


def _is_ours(path: str) -> bool:
    return any(path == ours or path.startswith(f"{ours}/") for ours in _OURS)


async def _body(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # Gradio would answer with what was sent
        raise _RefusedError(415, "wrong-type", "send application/json")
    try:
        body = parse(await request.body())
    except NotStrictJsonError as exc:
        raise _RefusedError(400, "malformed", str(exc)) from exc
    if not isinstance(body, dict):
        raise _RefusedError(400, "malformed", "the body is no JSON object")
    return body


def _check_types(body: dict[str, Any], fields: Mapping[str, type]) -> None:
    if not body.keys() <= fields.keys() or any(
        value is not None and type(value) is not fields[name] for name, value in body.items()
    ):
        raise _RefusedError(400, "malformed", "the body has another shape")


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _again(body: bytes, receive: Receive) -> Receive:
    """A receiver that gives the checked body, then what the client does afterwards."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _refusal(error: _RefusedError) -> JSONResponse:
    headers = {}
    if error.retry_after_s:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    body = {"error": {"code": error.code, "message": str(error)}, "detail": str(error)}
    return JSONResponse(body, error.status, headers)
