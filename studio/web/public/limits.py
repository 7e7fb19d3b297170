"""Limits of the public detector: by address, and by recording.

Whoever wants to learn how to remove a watermark asks again and again about nearly the same sound.
So questions are counted by sound too, from whatever addresses they come. The sound of a question is
remembered for an hour as a **sketch**: 256 numbers that say how alike two sets of fingerprint words
are (MinHash, A. Broder, "On the resemblance and containment of documents", 1997) under random
functions of this process. No sound and no fingerprint can be made from it. One server keeps it in
memory only; several share sketches through their database, under functions that they alone know.

>>> import numpy as np
>>> words = np.random.default_rng(1).integers(1, 2**32, 400, dtype=np.uint32)
>>> questions = SimilarQuestions(per_hour=2, clock=lambda: 0.0)
>>> [questions.ask(words), questions.ask(words), questions.ask(words[8:])]
[0.0, 0.0, 3600.0]
>>> questions.ask(words[::-1] ^ np.uint32(12345))
0.0
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from studio.core.db.limits import SharedSounds

__all__ = ["ALIKE", "SimilarQuestions", "network_of"]

_HOUR_S = 3600.0
_FUNCTIONS = 256
ALIKE = 0.02
"""Share of equal numbers from which two sketches are of nearly the same sound: what one change
leaves, and what different pieces have, is measured in docs/public-detector.md. A speed changed by
1 % is another sound to it."""

_REMEMBERED = 5_000  # questions; the oldest are forgotten first (5 MB)


class SimilarQuestions:
    """Counts questions about nearly the same sound. Safe to share between threads."""

    def __init__(
        self,
        per_hour: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        secret: bytes | None = None,
        everywhere: SharedSounds | None = None,
    ) -> None:
        self._per_hour = per_hour
        self._clock = clock
        self._everywhere = everywhere
        self._seen = 0  # number of the latest question that is here, of those at all servers
        self._lock = threading.Lock()
        drawn = secrets.token_bytes(32) if secret is None else secret
        expanded = hashlib.shake_256(b"sketches of sounds" + drawn).digest(16 * _FUNCTIONS)
        random = np.frombuffer(expanded, np.uint64)
        self._factors, self._terms = random[:_FUNCTIONS] | np.uint64(1), random[_FUNCTIONS:]
        self._sketches = np.empty((0, _FUNCTIONS), np.uint32)
        self._at = np.empty(0)  # when each was asked

    def ask(self, words: NDArray[np.uint32]) -> float:
        """Count a question about a sound by its fingerprint's words; 0 if it may be answered.

        Else the seconds after which it may. A question that may not be answered is not counted.
        Raises :class:`LedgerError` where several servers count and the database is away.
        """
        heard = np.unique(words[words != 0])
        if not len(heard):  # silence: there is nothing to learn from the answer
            return 0.0
        sketch = self.sketch(heard)
        with self._lock:
            if self._everywhere is None:
                now = self._clock()
                wait_s = self._judge(sketch, now)
                if not wait_s:
                    self._remember([sketch], [now])
                return wait_s
            with self._everywhere.turn() as turn:
                if new := turn.since(self._seen):
                    self._seen = new[-1][0]
                    self._remember(
                        [np.frombuffer(other, "<u4") for _, _, other in new],
                        [at for _, at, _ in new],
                    )
                wait_s = self._judge(sketch, turn.now)
                if not wait_s:  # it comes back with the next turn's
                    turn.add(sketch.astype("<u4").tobytes())
            return wait_s

    def _judge(self, sketch: NDArray[np.uint32], now: float) -> float:
        kept = self._at > now - _HOUR_S
        self._sketches, self._at = self._sketches[kept], self._at[kept]
        alike = (self._sketches == sketch).mean(axis=1) >= ALIKE
        times = np.sort(self._at[alike])
        if len(times) >= self._per_hour:
            return float(times[-self._per_hour] + _HOUR_S - now)
        return 0.0

    def _remember(self, sketches: Sequence[NDArray[np.uint32]], at: Sequence[float]) -> None:
        self._sketches = np.vstack([self._sketches, *sketches])[-_REMEMBERED:]
        self._at = np.append(self._at, at)[-_REMEMBERED:]

    def sketch(self, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The least value of each function over the words, uint32 ``(256,)``."""
        wide = words.astype(np.uint64)
        pairs = zip(self._factors, self._terms, strict=True)
        least = [((factor * wide + term) >> np.uint64(32)).min() for factor, term in pairs]
        return np.array(least, np.uint64).astype(np.uint32)


def network_of(address: str) -> str:
    """Whom questions of an address are counted to: it, or an IPv6 host's /64 network.

    >>> network_of("192.0.2.7"), network_of("2001:db8:1:2:3::4"), network_of("unknown")
    ('192.0.2.7', '2001:db8:1:2::/64', 'unknown')
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ip_network((ip, 64), strict=False))
    return address
