"""What a performance was: the tokens of every stem and the gain of its mix, to be kept.

A performance that is kept can be heard again without drawing a token, and any of its stems can be
played unchanged in another performance, though the language model, its settings or the rounding of
a processor are others by then. Only the codec must be the same, since tokens mean nothing without
it.

>>> import numpy as np
>>> played = Played(np.zeros((8, 3), np.int64), gain=0.5, codec="ab" * 32)
>>> Played.from_bytes(played.to_bytes()) == played
True
>>> Given.stems(played, ["bass"]).tokens[:, 0].tolist()
[-1, 0, -1, -1, -1, 0, -1, -1]
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import ConfigError
from studio.music.models.house.language_model import CODEBOOKS
from studio.music.models.house.notes import STEMS
from studio.music.models.house.token_stream import DRAWN

__all__ = ["Given", "Played"]

_ROWS = len(STEMS) * CODEBOOKS
_FORMAT = 1
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """Tokens (8, frames), the linear gain of the mix before the limiter, the codec's SHA-256."""

    tokens: NDArray[np.int64]
    gain: float
    codec: str

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Played)
            and np.array_equal(self.tokens, other.tokens)
            and (self.gain, self.codec) == (other.gain, other.codec)
        )

    def __hash__(self) -> int:
        return hash((self.tokens.tobytes(), self.gain, self.codec))

    def to_bytes(self) -> bytes:
        """A line of JSON and the tokens as 16-bit numbers, compressed; about 0.5 kB a second."""
        about = {"format": _FORMAT, "gain": self.gain.hex(), "codec": self.codec}
        head = json.dumps(about, sort_keys=True).encode("ascii") + b"\n"
        return zlib.compress(head + self.tokens.astype("<u2").tobytes(), 9)

    @classmethod
    def from_bytes(cls, content: bytes) -> Played:
        """Read what :meth:`to_bytes` wrote. Raises :class:`ConfigError`."""
        try:
            text = zlib.decompressobj().decompress(content, _MAX_BYTES)
            head, _, rest = text.partition(b"\n")
            about = json.loads(head)
            if about["format"] != _FORMAT or len(rest) % (2 * _ROWS):
                raise ConfigError("this kept performance is of another format")
            gain, codec = float.fromhex(about["gain"]), str(about["codec"])
        except (zlib.error, ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"this kept performance is damaged: {exc}") from exc
        if not (math.isfinite(gain) and gain > 0):
            raise ConfigError("this kept performance is damaged: its gain cannot be")
        tokens = np.frombuffer(rest, "<u2").reshape(_ROWS, -1).astype(np.int64)
        return cls(tokens, gain, codec)


@dataclass(frozen=True, slots=True)
class Given:
    """What of a performance is fixed before it is played.

    ``tokens`` (8, frames) hold :data:`DRAWN` where one is to be drawn; frames beyond them are
    drawn. ``gain`` None: as loud as the score makes it.
    """

    tokens: NDArray[np.int64]
    gain: float | None = None

    @classmethod
    def whole(cls, played: Played) -> Given:
        """Everything as it was played."""
        return cls(played.tokens, played.gain)

    @classmethod
    def stems(cls, played: Played, names: Iterable[str]) -> Given:
        """The named stems as they were played, at the loudness of then; the others are drawn."""
        kept = np.array([name in set(names) for name in STEMS] * CODEBOOKS)
        return cls(np.where(kept[:, None], played.tokens, DRAWN), played.gain)

    @classmethod
    def beginning(cls, played: Played, frames: int) -> Given:
        """The first frames as they were played, and what follows drawn."""
        return cls(played.tokens[:, :frames])
