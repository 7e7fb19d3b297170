"""Forwarded headers, trusted only from proxies that the operator named.

Anybody can send ``X-Forwarded-Host``; links, the choice of a secure cookie and the slowing down of
failed logins must not follow a stranger's word. Headers of a trusted proxy are taken over into the
request itself; after that the headers are removed, so that nothing behind here (Gradio reads them
too) can be misled.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["TrustedProxies"]


class TrustedProxies:
    """ASGI middleware; ``proxies`` are addresses or networks."""

    def __init__(self, app: ASGIApp, proxies: Iterable[str] = ()) -> None:
        self.app = app
        self._networks = [ip_network(proxy, strict=False) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = self._resolved(scope)
        await self.app(scope, receive, send)

    def _resolved(self, scope: Scope) -> Scope:
        given = {
            name: value.decode("latin-1")
            for name, value in scope["headers"]
            if name.startswith(b"x-forwarded-")
        }
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if not name.startswith(b"x-forwarded-") and name != b"forwarded"
        ]
        scope = {**scope, "headers": headers}
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return scope
        if b"x-forwarded-for" in given:
            scope["client"] = (self._first_stranger(given[b"x-forwarded-for"], client[0]), 0)
        if given.get(b"x-forwarded-proto", "").strip() in ("http", "https"):
            scope["scheme"] = given[b"x-forwarded-proto"].strip()
        host = given.get(b"x-forwarded-host", "").split(",")[0].strip()
        if host:
            scope["headers"] = [
                *((name, value) for name, value in headers if name != b"host"),
                (b"host", host.encode("latin-1")),
            ]
        return scope

    def _first_stranger(self, forwarded_for: str, proxy: str) -> str:
        """The address nearest to us that is no proxy of ours: what stands left of it is hearsay."""
        for address in reversed([part.strip() for part in forwarded_for.split(",")]):
            if not self._trusts(address):
                return address
        return proxy

    def _trusts(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)
