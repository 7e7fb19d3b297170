"""The waveform outline that a player draws before any sound is loaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

__all__ = ["COLUMNS", "outline"]

COLUMNS = 300
_KEPT = 512  # files whose outline is remembered


def outline(path: Path) -> tuple[int, ...]:
    """The peak, 0 to 100, of each of :data:`COLUMNS` equal parts of a released file."""
    at = path.stat()
    return _outline(path, at.st_size, at.st_mtime_ns)


@lru_cache(maxsize=_KEPT)
def _outline(path: Path, _size: int, _changed: int) -> tuple[int, ...]:
    from watermark.audio.waveform import read

    loudest = np.abs(read(path).samples).max(axis=0)  # (samples,)
    parts = np.array_split(loudest, COLUMNS)
    return tuple(round(100 * min(1.0, float(part.max(initial=0.0)))) for part in parts)
