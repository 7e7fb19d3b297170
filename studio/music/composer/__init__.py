"""The procedural composer of the house catalogue: four tags and a seed in, a whole piece out.

Every piece is written by the rules in this package and by nothing else, so that the house model is
trained on music whose rights are known. The same seed and tags give the same notes on any machine.

>>> from studio.music.composer import compose
>>> piece = compose(seed=7, genre="jazz", mood="calm", lead="piano", tempo="medium")
>>> piece.tags
('genre/jazz', 'mood/calm', 'lead/piano', 'tempo/medium')
>>> {part.role for part in piece.parts} >= {"lead", "bass", "drums"}
True
"""

from studio.music.composer.catalogue.compose import TEMPI, compose
from studio.music.composer.catalogue.genres import GENRES
from studio.music.composer.catalogue.moods import LEADS, MOODS
from studio.music.composer.notation.composition import (
    FRAMES_PER_SECOND,
    Chord,
    Composition,
    Mix,
    Note,
    Part,
    Section,
)

__all__ = [
    "FRAMES_PER_SECOND",
    "GENRES",
    "LEADS",
    "MOODS",
    "TEMPI",
    "Chord",
    "Composition",
    "Mix",
    "Note",
    "Part",
    "Section",
    "compose",
]
