"""Download tokens: who may fetch an output's audio without signing in.

An output's id is its seal id, and a seal id is no secret: verification reads it out of any copy.
So the id alone does not open the audio. The page hands the maker a link with a claim, a keyed hash
of the id under a secret of this process, which nobody can guess or derive. Tokens end with the
process: after a restart the page that showed the link has gone as well.

>>> download_tokens = DownloadTokens()
>>> download_tokens.accepts("9f2c00a1b2c3d4e5", download_tokens.claim("9f2c00a1b2c3d4e5"))
True
>>> download_tokens.accepts("9f2c00a1b2c3d4e5", download_tokens.claim("0000000000000000"))
False
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["DownloadTokens"]


class DownloadTokens:
    """Makes and checks download_tokens on outputs."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def claim(self, output_id: str) -> str:
        """The claim on one output: 64 hexadecimal digits."""
        return hmac.new(self._secret, output_id.encode(), hashlib.sha256).hexdigest()

    def accepts(self, output_id: str, claim: str) -> bool:
        return hmac.compare_digest(self.claim(output_id), claim)

    def audio_path(self, output_id: str) -> str:
        """The path, relative to the studio's root, under which the holder fetches the audio."""
        return f"outputs/{output_id}/audio?claim={self.claim(output_id)}"
