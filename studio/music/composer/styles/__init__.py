"""The genres that the composer writes in, by name, in alphabetical order.

>>> len(STYLES) >= 24, STYLES["waltz"].metre, STYLES["celtic"].metre
(True, '3/4', '6/8')
"""

from __future__ import annotations

from studio.music.composer.styles import (
    beats,
    electronic,
    jazz_and_blues,
    latin_and_caribbean,
    orchestral,
    rock_and_country,
    traditional,
)
from studio.music.composer.styles.idiom import Bass, Drums, Harmony, Layer, Style

__all__ = ["STYLES", "Bass", "Drums", "Harmony", "Layer", "Style"]

_ALL = (
    *beats.STYLES,
    *electronic.STYLES,
    *jazz_and_blues.STYLES,
    *latin_and_caribbean.STYLES,
    *orchestral.STYLES,
    *rock_and_country.STYLES,
    *traditional.STYLES,
)

STYLES: dict[str, Style] = {style.name: style for style in sorted(_ALL, key=lambda s: s.name)}
