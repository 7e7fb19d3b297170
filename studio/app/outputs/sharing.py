"""Share links: whoever holds one sees one output, without an account.

A link holds a token: a keyed hash, under a secret of the site, of the output's id and the index of
the ledger entry that shared it. So nobody can make one, the token of one output opens no other, and
an output that is shared again after its link was withdrawn has another token.

>>> token(b"secret", "9f2c00a1b2c3d4e5", 7) == token(b"secret", "9f2c00a1b2c3d4e5", 8)
False
>>> len(token(b"secret", "9f2c00a1b2c3d4e5", 7))
43
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from studio.accounts.permissions import Permission
from studio.app.outputs.receipts import ReceiptParts, receipt_file
from studio.core.errors import (
    NotYoursError,
    OutputGoneError,
    OutputWithdrawnError,
    RequestRefusedError,
)
from studio.core.home import locked
from studio.provenance.sharing import Shares
from studio.reports.record import record_of
from watermark.util.files import create_file

if TYPE_CHECKING:
    from studio.accounts import Accounts
    from studio.core.paths import StudioPaths
    from studio.provenance.release import Release
    from studio.provenance.shelf import Shelf

__all__ = ["Share", "SharedOutput", "Sharing", "SharingParts", "token"]

_PURPOSE = b"consented-music-studio/share/1\x00"
_OUTPUT_ID = re.compile(r"[0-9a-f]{16}")
_UNKNOWN = "there is no such link"


@dataclass(frozen=True, slots=True)
class Share:
    """How an output is shared."""

    output_id: str
    path: str | None  # of the link, relative to the studio's address; None: it is not shared
    entry_index: int | None  # that shared it

    def url(self, address: str) -> str | None:
        """The whole link; ``address`` is the studio's, with a slash at its end."""
        return None if self.path is None else f"{address}{self.path}"


@dataclass(frozen=True, slots=True)
class SharedOutput:
    """What the holder of a link may see."""

    release: Release
    title: str
    file: Path

    def record(self) -> dict[str, Any]:
        """The public record, without the lead sheet, which is the artist's own."""
        body = record_of(self.release)
        body["request"].pop("sheet", None)
        return body | {"title": self.title}


def token(secret: bytes, output_id: str, entry_index: int) -> str:
    """The token of an output that the entry of this index shares."""
    told = _PURPOSE + f"{output_id}\x00{entry_index}".encode()
    digest = hmac.new(secret, told, hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


class SharingParts(ReceiptParts, Protocol):
    """The parts of a studio that know its outputs and their owners."""

    paths: StudioPaths

    def accounts(self) -> Accounts: ...
    def shelf(self) -> Shelf: ...


class Sharing:
    """Makes links and opens what they lead to."""

    def __init__(self, studio: SharingParts) -> None:
        self._studio = studio
        self._shares = Shares(studio.ledger())
        self._secret: bytes | None = None

    def state(self, output_id: str) -> Share:
        """How an output is shared now."""
        return self._share(output_id, self._shares.entry_of(output_id))

    def change(self, output_id: str, *, shared: bool) -> Share:
        """Share an output or withdraw its link; recorded.

        Raises :class:`RequestRefusedError` where this studio shares nothing.
        """
        if shared and not self._studio.config.sharing.enabled:
            raise RequestRefusedError("this studio shares no outputs (setting sharing.enabled)")
        return self._share(output_id, self._shares.change(output_id, shared=shared))

    def open(self, output_id: str, given: str) -> SharedOutput:
        """What the holder of a token may see.

        Raises:
            NotYoursError: no output was ever shared by this token, or this studio shares nothing.
            OutputGoneError: it was, and is not any more; the text says why.
            OutputWithdrawnError: a rights holder's revocation stops its distribution.
        """
        if self._admitted(output_id, given) != self._shares.entry_of(output_id):
            raise OutputGoneError("its maker has withdrawn this link")
        releases = self._studio.releases()
        try:
            releases.require_distribution(output_id)
        except OutputWithdrawnError:  # whose grant it was is no matter of the holder's
            raise OutputWithdrawnError("a rights holder has withdrawn this music") from None
        accounts = self._studio.accounts()
        owner = accounts.owner_of(output_id)
        if owner is not None and not accounts.may(owner, Permission.OWN_OUTPUTS):
            raise OutputGoneError("the account that shared this music is closed")
        if self._studio.shelf().place(output_id).discarded:
            raise OutputGoneError("its maker has put this music away")
        release = releases.get(output_id)
        title = self._studio.shelf().title(output_id) or release.title
        return SharedOutput(release, title, releases.file_of(release))

    def receipt(self, output_id: str, given: str) -> bytes:
        """The receipt of what :meth:`open` shows, as HTML; raises as it does."""
        return receipt_file(self._studio, self.open(output_id, given).release, "html")

    def _admitted(self, output_id: str, given: str) -> int:
        """The entry whose token was given, also one that was withdrawn since."""
        if not self._studio.config.sharing.enabled or not _OUTPUT_ID.fullmatch(output_id):
            raise NotYoursError(_UNKNOWN)
        found = None
        # All are compared, each in constant time, so that the time tells nothing of the token.
        for index in self._shares.entries_of(output_id):
            if hmac.compare_digest(self._token(output_id, index).encode(), given.encode()):
                found = index
        if found is None:
            raise NotYoursError(_UNKNOWN)
        return found

    def _share(self, output_id: str, entry_index: int | None) -> Share:
        if entry_index is None:
            return Share(output_id, None, None)
        path = f"share/{output_id}/{self._token(output_id, entry_index)}"
        return Share(output_id, path, entry_index)

    def _token(self, output_id: str, entry_index: int) -> str:
        if self._secret is None:
            self._secret = self._read_secret()
        return token(self._secret, output_id, entry_index)

    def _read_secret(self) -> bytes:
        """32 bytes of the home, made at first use."""
        paths = self._studio.paths
        path = paths.keys / "sharing.key"
        if not path.exists():
            paths.create()
            with locked(paths.home):
                create_file(path, secrets.token_bytes(32))
        return path.read_bytes()
