"""Fetching what an address holds: allowed hosts only, every redirect included."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from studio.core.errors import BeyondLimitsError, HostUnreachableError
from studio.core.outbound.exchange import exchange
from studio.core.outbound.hosts import AllowedHosts, Resolver

__all__ = ["Fetched", "fetch"]

_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """How something was fetched."""

    urls: tuple[str, ...]  # as asked for, then each redirect
    address: str  # of the machine that gave it
    headers: Mapping[str, str]  # names in lower case
    size: int  # bytes


def fetch(
    url: str,
    allowed: AllowedHosts,
    sink: Callable[[bytes], object],
    *,
    max_bytes: int,
    deadline_s: float,
    resolver: Resolver | None = None,
    context: ssl.SSLContext | None = None,
) -> Fetched:
    """Fetch an address piece by piece into ``sink``, which may raise to end it.

    Args:
        max_bytes: of the content.
        deadline_s: for everything, redirects included.
        resolver: looks a name up, in tests.
        context: TLS settings; none: the system's roots.

    Raises:
        HostRefusedError: the address or a redirect leads to a host that is not allowed.
        HostUnreachableError: there was no whole answer, or another one than the content.
        BeyondLimitsError: it is larger than it may be.
    """
    begun, urls = time.monotonic(), [url]
    while True:
        target = allowed.target(urls[-1])
        with exchange(
            "GET",
            target,
            allowed,
            headers={"Accept": "*/*", "Accept-Encoding": "identity"},
            deadline_s=deadline_s - (time.monotonic() - begun),
            resolver=resolver,
            context=context,
        ) as answer:
            if answer.status in _MOVED and "location" in answer.headers:
                if len(urls) > _REDIRECTS:
                    raise HostUnreachableError(f"{target.host} redirects without end")
                urls.append(urljoin(urls[-1], answer.headers["location"]).partition("#")[0])
                continue
            if answer.status != 200:
                raise HostUnreachableError(f"{target.host} answers {answer.status}")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise HostUnreachableError(f"{target.host} sends a compressed answer nobody asked")
            size = 0
            for piece in answer.chunks():
                size += len(piece)
                if size > max_bytes:
                    raise BeyondLimitsError(
                        f"what is at this address was not examined: it has more than "
                        f"{max_bytes:,} bytes"
                    )
                sink(piece)
            return Fetched(tuple(urls), answer.address, answer.headers, size)
