"""Spectrograms of a suspect file, its original, and the difference, as small PNG pictures.

>>> import numpy as np
>>> from studio.verification.comparison import Spectra
>>> flat = np.zeros((96, 10), np.float32)
>>> sorted(pictures_of(Spectra(flat, flat, 0.0, 1.0)))
['difference', 'original', 'suspect']
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from studio.verification.comparison import Spectra

__all__ = ["PICTURES", "pictures_of"]

PICTURES = ("suspect", "original", "difference")

_FLOOR_DB = -70.0
_MOST_DB = 24.0  # difference from which the colour is full
_ROW = 2  # pixels of a band

# Colours between which is interpolated: quiet to loud, and less, equal, more than the original.
_LOUDNESS = ((12, 10, 34), (87, 21, 98), (188, 55, 84), (249, 142, 9), (252, 255, 190))
_DIFFERENCE = ((20, 83, 153), (146, 187, 222), (247, 247, 247), (239, 164, 126), (160, 30, 20))


def pictures_of(spectra: Spectra) -> dict[str, bytes]:
    """The three pictures as PNG, 192 pixels high: low frequencies at the bottom."""
    return {
        "suspect": _png(1 - spectra.suspect / _FLOOR_DB, _LOUDNESS),
        "original": _png(1 - spectra.original / _FLOOR_DB, _LOUDNESS),
        "difference": _png(0.5 + spectra.difference / (2 * _MOST_DB), _DIFFERENCE),
    }


def _png(shares: NDArray[np.float32], colours: tuple[tuple[int, int, int], ...]) -> bytes:
    """Shares from 0 to 1 as colours."""
    from PIL import Image

    places = np.linspace(0, 255, len(colours))
    palette = np.stack(
        [np.interp(np.arange(256), places, [colour[k] for colour in colours]) for k in range(3)],
        axis=1,
    )
    indices = np.round(255 * np.clip(shares[::-1], 0, 1)).astype(np.uint8).repeat(_ROW, axis=0)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
