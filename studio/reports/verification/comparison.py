"""Suspect and original side by side as HTML: pictures, what they show in words, both sounds."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.reports.formatting import clock
from studio.reports.templating import piece
from studio.reports.verification.texts import PART_WORDS
from studio.verification.comparison import MOST_PARTS, MOST_S

if TYPE_CHECKING:
    from markupsafe import Markup

    from studio.verification.comparison import Comparison

__all__ = ["Shown", "data_uri", "side_by_side"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a compared part is shown.

    ``address`` gives the address of ``suspect.png``, ``suspect.flac`` and so on.
    """

    comparison: Comparison
    address: Callable[[str], str]
    suspect_picture: bool = True
    original_pictures: bool = True
    suspect_sound: bool = True
    original_sound: bool = True


@dataclass(frozen=True, slots=True)
class _Picture:
    name: str
    src: str
    alt: str


def side_by_side(parts: Iterable[Shown]) -> Markup:
    """The card with every part."""
    card = piece("studio.reports", "verification/comparison.html", "side_by_side")
    return card([_part(shown) for shown in parts], MOST_S, MOST_PARTS)


def data_uri(picture: bytes) -> str:
    """A PNG in the page itself."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _part(shown: Shown) -> dict[str, object]:
    found = shown.comparison
    place = found.place
    here = f"{clock(place.start_s)} to {clock(place.end_s)}"
    there = f"{clock(max(0.0, place.original_start_s))} to {clock(place.original_end_s)}"
    pictures = []
    if shown.suspect_picture:
        alt = f"Spectrogram of the file, {here}"
        pictures.append(_Picture("File", shown.address("suspect.png"), alt))
    if shown.original_pictures:
        alt = f"Spectrogram of the original, {there}"
        pictures.append(_Picture("Original", shown.address("original.png"), alt))
        alt = f"Difference of the two spectrograms. {found.text()}"
        pictures.append(_Picture("Difference", shown.address("difference.png"), alt))
    return {
        "title": f"{PART_WORDS[place.kind].title}:",
        "places": f"{here} of the file, {there} of the original.",
        "pictures": pictures,
        "text": found.text() if shown.original_pictures else "",
        "note": " ".join(_notes(shown)),
        "seconds": f"{place.end_s - place.start_s:.3f}",
        "stretch": f"{place.stretch:.5f}",
        "gain": f"{found.gain:.4f}",
        "suspect": shown.address("suspect.flac") if shown.suspect_sound else "",
        "original": shown.address("original.flac") if shown.original_sound else "",
    }


def _notes(shown: Shown) -> Iterable[str]:
    place = shown.comparison.place
    if place.stem is not None:
        yield f"The file matches the stem {place.stem}; what is shown beside it is the mix."
    if place.speed != 1.0:
        yield f"The original is drawn at the file's speed, {place.speed:.3f} times its own."
    if not shown.original_pictures:
        yield "The original is another account's: your role may not see pictures of it."
    elif shown.suspect_sound and not shown.original_sound:
        yield "The original's sound is for its owner and for administrators."
