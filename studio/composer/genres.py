"""The sixteen genres of the house catalogue by name, in alphabetical order.

>>> len(GENRES), GENRES["waltz"].beats_per_bar
(16, 3)
"""

from __future__ import annotations

from studio.composer.genres_acoustic import ACOUSTIC
from studio.composer.genres_electric import ELECTRIC
from studio.composer.idiom import Genre

__all__ = ["GENRES"]

GENRES: dict[str, Genre] = {
    genre.name: genre for genre in sorted((*ACOUSTIC, *ELECTRIC), key=lambda genre: genre.name)
}
