"""The access log: one line a request, with a request id.

The id is in the answer (``X-Request-ID``), so that a person can quote it. A trusted proxy may give
its own. Neither query nor headers nor the token of a shared link are logged.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watermark.util.logs import tagged

__all__ = ["AccessLog", "RequestRecord", "record_in"]

_logger = logging.getLogger("studio.access")

_RECORD = "studio.request"
_GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}")
_SECRET = re.compile(r"^(/share/[^/]*/)[^/]+")  # the token of a link
_PATH = 200  # characters of a path that are logged


@dataclass(slots=True)
class RequestRecord:
    """What the layers behind add to a request's line."""

    id: str
    account_id: str | None = None
    address: str = ""
    error: BaseException | None = None  # the refusal that it was answered with


def record_in(scope: Scope) -> RequestRecord:
    """The record of the request that is being answered."""
    return cast("RequestRecord", scope.get(_RECORD) or RequestRecord(""))


class AccessLog:
    """ASGI middleware, in front of all others.

    Args:
        on_end: called with the record, method, status and seconds.
        proxies: addresses or networks that may give a request its id.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_end: Callable[[RequestRecord, str, int, float], None],
        proxies: Iterable[str] = (),
    ) -> None:
        self.app = app
        self._on_end = on_end
        self._networks = [ip_network(proxy, strict=False) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        peer = (scope.get("client") or ("",))[0]
        record = RequestRecord(self._id_of(scope, peer), address=peer)
        began, status, sent = time.monotonic(), 500, 0

        async def noting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = record.id
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        with tagged(request=record.id):
            try:
                await self.app({**scope, _RECORD: record}, receive, noting)
            finally:
                seconds = time.monotonic() - began
                self._on_end(record, scope["method"], status, seconds)
                _log(record, scope, status, sent, seconds)

    def _id_of(self, scope: Scope, peer: str) -> str:
        given = Headers(scope=scope).get("x-request-id", "")
        return given if self._trusts(peer) and _GIVEN.fullmatch(given) else secrets.token_hex(8)

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _log(record: RequestRecord, scope: Scope, status: int, sent: int, seconds: float) -> None:
    if not _logger.isEnabledFor(logging.INFO):
        return
    fields = {
        "method": scope["method"],
        "path": _SECRET.sub(r"\1…", scope["path"])[:_PATH].encode("unicode_escape").decode(),
        "status": status,
        "bytes": sent,
        "ms": round(1000 * seconds, 1),
        "account": record.account_id,
        "address": record.address,
    }
    _logger.info("%s %s %d", fields["method"], fields["path"], status, extra={"fields": fields})
