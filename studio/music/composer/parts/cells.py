"""Rhythms of melodies by style and density, and phrase endings.

``x`` strikes, ``-`` holds, ``.`` rests; a bar of 16 is made for 4/4, one of 12 for the metre of its
style. Each style has three densities.

>>> sorted(RHYTHMS)[:3]
['dotted', 'flowing', 'jig']
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RHYTHMS", "Rhythm"]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The bars that melodies of a style are made of, all for one metre.

    ``densities`` are bars that open a motif, from quiet to busy; ``endings`` close a phrase;
    ``pickups`` are last halves of a bar that lead into the next phrase.
    """

    metre: str
    densities: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    endings: tuple[str, ...]
    pickups: tuple[str, ...]


_ENDINGS = (
    "x-----------....",
    "x---x-------....",
    "x-x-x-------....",
    "x-------x---....",
    "x--xx-------....",
    "..x-x-------....",
)
_PICKUPS = ("....x-x-", "......xx", "....x---", "..x-x-x-")

RHYTHMS = {
    "straight": Rhythm(
        "4/4",
        (
            ("x-------x-------", "x-----x-x-------", "x-------x---x---", "x---x-----------"),
            (
                "x---x---x-x-x---",
                "x---x-x-x-------",
                "x-x-x---x---x---",
                "x---x-x-x-x-x---",
                "..x-x-x-x---x---",
                "x-----x-x-x-x---",
            ),
            (
                "x-x-x-x-x-x-x---",
                "x-x-x---x-x-x-x-",
                "x-x-xxx-x-x-x---",
                "..x-x-x-x-x-x-x-",
                "x-xxx-x-x-x-x-x-",
            ),
        ),
        _ENDINGS,
        _PICKUPS,
    ),
    "sparse": Rhythm(
        "4/4",
        (
            (
                "x---------------",
                "x-------x-------",
                "....x-------x---",
                "x-----------x---",
                "..x-------------",
            ),
            (
                "x-------x-------",
                "x-----x---------",
                "....x---x-------",
                "x---x-----x-----",
                "..x---x-x-------",
            ),
            ("x---x---x-------", "x---x---x---x---", "..x-x---x-x-x---", "x-x-x-----x-x---"),
        ),
        ("x---------------", "x-------x-------", "x-----x---------"),
        ("....x---", "......x-"),
    ),
    "flowing": Rhythm(
        "4/4",
        (
            ("x---x---x---x---", "x-------x---x---", "x---x---x-------", "x-----x-x---x---"),
            ("x-x-x-x-x---x---", "x---x-x-x-x-x-x-", "x-xxx-x-x-x-x---", "x-x-x---x-x-x-x-"),
            ("x-xxx-xxx-x-x-x-", "xxx-xxx-x-x-x-x-", "xxxxx-x-xxxxx-x-", "x-xxxxx-x-xxx-x-"),
        ),
        _ENDINGS,
        ("....x-x-", "..x-x-x-", "....xxxx"),
    ),
    "syncopated": Rhythm(
        "4/4",
        (
            (
                "x-----x---------",
                "x--x--x---------",
                "..x---x-x-------",
                "....x--x--x-----",
                "x-----x-----x---",
            ),
            (
                "x--x--x---x-x---",
                "..x-x-x---x-x---",
                "x-x--x--x--x----",
                "x--x--x-..x-x---",
                "x-----xx--x-----",
                "..x-x--x--x-x---",
            ),
            (
                "x--x--x-x--x--x-",
                "x-xx--x-x-xx--x-",
                "..x-xxx---x-xxx-",
                "x-x-xx-x--x-x-x-",
                ".xx-x-x-.xx-x-x-",
            ),
        ),
        (*_ENDINGS, "x--x--x-----....", "..x-..x-----...."),
        ("....x-x-", "...x--x-", "..x-x--x"),
    ),
    "dotted": Rhythm(
        "4/4",
        (
            ("x-----x-x-------", "x-----x-----x---", "x--x----x-------", "x-------x--xx---"),
            ("x--xx---x--xx---", "x--x--x-x---x---", "x-----xxx---x---", "x--xx--xx-------"),
            ("x--xx--xx--xx---", "x-xxx-xxx---x-x-", "x--x--x-x-x-x-xx", "x--xx-x-x--xx-x-"),
        ),
        (*_ENDINGS, "x--xx-------...."),
        ("....x--x", "......xx", "....x-x-"),
    ),
    "repetitive": Rhythm(
        "4/4",
        (
            ("x-------x-------", "x-----x---------", "x-----x-----x---", "..x---..x---...."),
            ("x--x--x---x-----", "x--x--x-x--x--x-", "x-x---x-x-x-----", "x-x-x---x-x-x---"),
            ("x-xx-xx-x-xx-xx-", "x--x--x-x--x--xx", "xxx-x-x-xxx-x-x-", "xx-xx-x-xx-xx-x-"),
        ),
        ("x-----------....", "x--x--x-----....", "x-x-x-------...."),
        ("....x-x-", "....xxxx"),
    ),
    "swing": Rhythm(
        "4/4",
        (
            ("x-----x---------", "x---x-x---------", "..x---x---------", "x-------x-x-----"),
            (
                "x-x-x-x---x-----",
                "x---x-x-x-------",
                "..x-x-x-x-x-----",
                "x-----x-x-x-x---",
                "..x-x---x-x-x---",
            ),
            (
                "x-x-x-x-x-x-x---",
                "x-x-x-x-x-x-x-x-",
                "..x-x-x-x-x-x-x-",
                "x-x-xxx-x-x-x-x-",
                "..xxx-x-x-x-x---",
            ),
        ),
        ("x-x-x-------....", "x---x-x-........", "x-x-----........", "..x-x-x-....x-x-"),
        ("....x-x-", "..x-x-x-", "......x-"),
    ),
    "waltz": Rhythm(
        "3/4",
        (
            ("x-----------", "x-------x---", "x-----x-----"),
            ("x-------x---", "x---x---x---", "x-----x-x---", "x---x-------", "..x-x---x---"),
            ("x---x-x-x-x-", "x-x-x-x-x---", "x-x-x---x-x-", "..x-x-x-x-x-"),
        ),
        ("x-----------", "x-------....", "x---x---....", "x-x-x-------"),
        ("..x---", "..x-x-"),
    ),
    "jig": Rhythm(
        "6/8",
        (
            ("x-----x-----", "x-----x---x-", "x---x-x-----"),
            ("x---x-x---x-", "x-x-x-x---x-", "x---x-x-x-x-", "x-x-x-x-----"),
            ("x-x-x-x-x-x-", "x-xxx-x-x-x-", "x-x-x-x-xxx-"),
        ),
        ("x-----x-----", "x-x-x-x-----", "x---x-x-....", "x-----------"),
        ("x-x-x-", "....x-"),
    ),
    "triplet": Rhythm(
        "12/8",
        (
            ("x-----x-----", "x--x--x-----", "...x--x-----", "x----xx-----"),
            ("x--x-xx--x--", "x-xx--x-----", "..xx-xx-x---", "x--x-xx-....", "..x--xx--x--"),
            ("x-xx-xx-xx--", "x-xx-xx-xx-x", "..xx-xxxxx--", "xxxx-xx-x---", "..xxxxx-xx-x"),
        ),
        ("x--------...", "x--x-----...", "x-xx--......", "..xx--......"),
        ("...x-x", "..xx-x"),
    ),
}
"""Rhythms by the name that a genre gives its melodies."""
