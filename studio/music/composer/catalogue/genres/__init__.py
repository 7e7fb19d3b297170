"""The sixteen genres of the house catalogue by name, in alphabetical order.

>>> len(GENRES), GENRES["waltz"].beats_per_bar
(16, 3)
"""

from __future__ import annotations

from studio.music.composer.catalogue.genres.acoustic import ACOUSTIC
from studio.music.composer.catalogue.genres.electric import ELECTRIC
from studio.music.composer.catalogue.genres.idiom import Genre

__all__ = ["GENRES"]

GENRES: dict[str, Genre] = {
    genre.name: genre for genre in sorted((*ACOUSTIC, *ELECTRIC), key=lambda genre: genre.name)
}
