"""Files that were fetched from an address to be examined, and are held as evidence.

Each lies under its SHA-256 in a folder of its own. Where it came from, when, and with which headers
stands in the ledger entry of its examination; the address itself as a commitment, since it may name
a person.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from studio.consent.types import format_instant
from studio.core.errors import BeyondLimitsError
from studio.core.outbound.fetch import Fetched, fetch
from studio.provenance.ledger.private_fields import Personal
from watermark.util.files import PRIVATE, replacing

if TYPE_CHECKING:
    from studio.core.outbound.hosts import AllowedHosts, Resolver

__all__ = ["HeldFile", "HeldFiles", "Origin"]

_HEADERS = ("content-type", "content-length", "last-modified", "etag", "date", "server")
_MOST_HEADER = 256  # characters of one


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a held file came from."""

    urls: tuple[str, ...]  # as asked for, then each redirect
    address: str
    fetched_at: datetime  # UTC; when the last byte was there
    headers: dict[str, str]
    size: int  # bytes

    @classmethod
    def of(cls, fetched: Fetched, at: datetime) -> Origin:
        kept = {
            name: "".join(c for c in fetched.headers[name] if " " <= c <= "~")[:_MOST_HEADER]
            for name in _HEADERS
            if name in fetched.headers
        }
        return cls(fetched.urls, fetched.address, at, kept, fetched.size)

    def to_json(self) -> dict[str, Any]:
        return {
            "url": self.urls[0],
            "redirects": list(self.urls[1:]),
            "address": self.address,
            "fetched_at": format_instant(self.fetched_at),
            "headers": dict(self.headers),
            "bytes": self.size,
        }

    def to_ledger(self) -> dict[str, Any]:
        """The same, with addresses that may name a person as commitments."""
        return self.to_json() | {
            "url": Personal(self.urls[0]),
            "redirects": [Personal(url) for url in self.urls[1:]],
        }


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that was fetched."""

    path: Path
    sha256: str
    name: str  # to be shown
    origin: Origin


class HeldFiles:
    """The folder of held files.

    Args:
        folder: its owner's alone; made where it is not there.
        most_bytes: of all files together.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def fetch(
        self,
        url: str,
        allowed: AllowedHosts,
        *,
        max_bytes: int,
        deadline_s: float,
        progress: Callable[[float], None] | None = None,
        resolver: Resolver | None = None,
        context: ssl.SSLContext | None = None,
    ) -> HeldFile:
        """Fetch an address and hold what is there. Raises as :func:`studio.core.outbound.fetch`'s.

        A content that is held already is kept once. ``progress`` is called with each piece, and
        may raise to end it.
        """
        allowed.target(url)  # refused before anything is made
        self._folder.mkdir(mode=0o700, exist_ok=True)
        left = self._most_bytes - sum(each.stat().st_size for each in self._folder.iterdir())
        if left <= 0:
            raise BeyondLimitsError(
                f"the held files have reached {self._most_bytes:,} bytes; remove some from "
                f"{self._folder.name}/ in the studio's home, or raise verify.held_bytes"
            )
        digest = hashlib.sha256()
        incoming = self._folder / f"incoming-{secrets.token_hex(8)}"
        with replacing(incoming, mode=PRIVATE) as file:

            def sink(piece: bytes) -> None:
                if progress is not None:
                    progress(0.0)  # no second of it was read yet
                digest.update(piece)
                file.write(piece)

            fetched = fetch(
                url,
                allowed,
                sink,
                max_bytes=min(max_bytes, left),
                deadline_s=deadline_s,
                resolver=resolver,
                context=context,
            )
        at, sha256 = datetime.now(UTC), digest.hexdigest()
        path = incoming.replace(self._folder / sha256)
        return HeldFile(path, sha256, _name_of(fetched.urls[-1]), Origin.of(fetched, at))


def _name_of(url: str) -> str:
    """The last part of an address, to be shown; without it the host.

    >>> _name_of("https://a.example/x/my%20song%0A.mp3?b=1"), _name_of("https://a.example/")
    ('my song.mp3', 'a.example')
    """
    parts = urlsplit(url)
    last = unquote(parts.path.rsplit("/", 1)[-1])
    shown = "".join(char for char in last if char.isprintable() and char not in "/\\").strip()
    return shown[:128] or str(parts.hostname)
