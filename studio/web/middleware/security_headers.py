"""Security headers on every response.

No site may read an answer from a browser: no header of CORS leaves. Over TLS browsers are told to
come back over TLS only.

The content security policy makes the promise "no outside request" one that the browser enforces,
not only one that we keep: a font, script or picture of another host is refused even if a dependency
starts asking for one. Gradio can also fetch a URL for a client (``/gradio_api/file=http://…``,
``/gradio_api/proxy=…``); a studio that promises to stay at home refuses those.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.web.middleware.auth import error_body

__all__ = ["CONTENT_SECURITY_POLICY", "SecurityHeadersMiddleware"]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # 'unsafe-eval' has to stay: Gradio 6 draws every gr.HTML by compiling its template to a
        # function in the browser. Inline scripts are its start-up and its stored configuration.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'self'",
        "object-src 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}
_CORS = "access-control-"
_NUL = b"%00"


class SecurityHeadersMiddleware:
    """ASGI middleware. Plain ASGI, because the page's event stream must not be buffered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        over_tls = _OVER_TLS if scope["scheme"] == "https" else {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (_HEADERS | over_tls).items():
                    headers.setdefault(name, value)
                for name in {name for name in headers if name.startswith(_CORS)}:
                    del headers[name]  # Gradio lets any site read its routes
            await send(message)

        if _asks_us_to_fetch(scope["path"]):
            refusal = PlainTextResponse("This studio fetches nothing from elsewhere.", 404)
            await refusal(scope, receive, send_with_headers)
            return
        if "\0" in scope["path"] or _NUL in scope["query_string"]:
            # No name has one, and PostgreSQL takes none.
            body = error_body("malformed", "the address holds a NUL character")
            await JSONResponse(body, 400)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


def _asks_us_to_fetch(path: str) -> bool:
    """Whether the path makes Gradio open a URL of the client's choice.

    >>> _asks_us_to_fetch("/gradio_api/file=http://127.0.0.1:22/")
    True
    >>> _asks_us_to_fetch("/gradio_api/file=/tmp/gradio/abc/song.wav")
    False
    """
    for marker in ("/file=", "/proxy="):
        _, found, target = path.partition(marker)
        if found and (marker == "/proxy=" or "://" in unquote(target) or ":/" in unquote(target)):
            return True
    return False
