"""The library: outputs with stars and names, found by words.

>>> words_of("  Waltz 2026-11 ")
('waltz', '2026-11')
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.provenance.release import Release
    from studio.provenance.shelf import Shelf

__all__ = ["LibraryView", "Listed", "search", "words_of"]

_MOST_WORDS = 12

LibraryView = str
"""``kept`` (all but the discarded ones), ``starred`` or ``discarded``."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An output as the library lists it."""

    release: Release
    title: str  # the one it was given later, or the release's
    starred: bool
    discarded: bool


def words_of(text: str) -> tuple[str, ...]:
    """What is searched for: small words, all of which must be found."""
    return tuple(text.casefold().split()[:_MOST_WORDS])


def search(
    releases: Iterable[Release],
    shelf: Shelf,
    *,
    text: str = "",
    view: LibraryView = "kept",
    limit: int = 50,
) -> list[Listed]:
    """The first ``limit`` of the releases that are in the view and have every word of ``text``.

    A word is looked for in title, tags, day (``2026-11-29``), format, seed, use and output id.
    """
    words = words_of(text)
    listed = (_listed(release, shelf) for release in releases)
    found = (each for each in listed if _in_view(each, view) and _has(each, words))
    return list(islice(found, limit))


def _listed(release: Release, shelf: Shelf) -> Listed:
    place = shelf.place(release.output_id)
    title = shelf.title(release.output_id) if place.titled is not None else None
    return Listed(release, title or release.title, place.starred, place.discarded)


def _in_view(each: Listed, view: LibraryView) -> bool:
    if view == "discarded":
        return each.discarded
    return not each.discarded and (view != "starred" or each.starred)


def _has(each: Listed, words: tuple[str, ...]) -> bool:
    request = each.release.request
    names = (tag.rpartition("/")[2].replace("-", " ") for tag in request.tags)
    text = " ".join(
        (
            each.title,
            *request.tags,
            *names,
            f"{each.release.created_at:%Y-%m-%d}",
            request.format,
            str(request.seed),
            request.use,
            each.release.output_id,
        )
    ).casefold()
    return all(word in text for word in words)
