"""Normalise text: case, accents and look-alike characters.

"Ｔаyl0r—SWIFT" reads as "taylor swift" to a person and as something else to a program. Here a text
becomes a row of :class:`Word`; each keeps whether it had been written with letters of another
script (`foreign`) or with digits and signs in place of letters (:func:`unleet`), because nobody
disguises an ordinary word. Look-alikes of other scripts are those of Unicode's confusables table
(UTS #39), as packaged in `confusable-homoglyphs`.

>>> [word.text for word in words("Ｔаylor — SWIFT's “Ké$ha” (live!)")]
['taylor', 'swifts', 'ke$ha', 'live']
>>> unleet("ke$ha") == unleet("kesha")
True
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Word", "letters", "unleet", "words"]

_SPELLED = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th"}
_SPELLED |= {"ı": "i", "×": "x"}

# Digits and signs read as letters. Upright strokes are one class: 1, i, l, ! and | look alike.
_LEET = str.maketrans("0134567892@$!|+€i£", "oleasgtbgzaslltell")

_SIGNS = frozenset("@$!|+€*£")  # within a word they stand for a letter
_FINAL_SIGNS = frozenset("@$€*")  # and these at its end as well; "live!" ends with a mark
_APOSTROPHES = frozenset("'’‘`´ʼ")
_SMALL_CAPITAL = re.compile(r"^LATIN LETTER SMALL CAPITAL ([A-Z])$")
_HUMP = re.compile(r"(?<=[a-zà-þ])(?=[A-ZÀ-Þ])")


@dataclass(frozen=True, slots=True)
class Word:
    """One word as it reads. ``gap`` is what stood between it and the word before."""

    text: str  # lower case ASCII letters and digits, and signs that stand for letters
    foreign: bool  # had letters of other scripts or styles that look like Latin ones
    gap: str
    possessive: bool = False  # ended in an apostrophe and s, which `text` keeps


def words(text: str, *, humps: bool = False) -> list[Word]:
    """The words of a text; with ``humps`` "TaylorSwift" is two of them."""
    if humps:
        text = _HUMP.sub(" ", text)
    found: list[Word] = []
    gap, current, foreign, apostrophe = "", "", False, False
    folded = list(_folded(text))
    for position, (char, odd) in enumerate(folded):
        after = folded[position + 1][0] if position + 1 < len(folded) else " "
        if char.isalnum() or (
            char in _SIGNS and (_in_word(after) or (bool(current) and char in _FINAL_SIGNS))
        ):
            current += char
            foreign |= odd
            continue
        if char in _APOSTROPHES and current and _in_word(after):
            apostrophe = True
            continue
        if current:
            found.append(Word(current, foreign, gap, apostrophe and current.endswith("s")))
            gap, current, foreign, apostrophe = "", "", False, False
        gap += char
    if current:
        found.append(Word(current, foreign, gap, apostrophe and current.endswith("s")))
    return found


def letters(text: str) -> str:
    """A text without anything but its letters and digits, folded.

    >>> letters("Guns N’ Roses"), letters("Beyoncé"), letters("Ke$ha")
    ('gunsnroses', 'beyonce', 'ke$ha')
    """
    return "".join(word.text for word in words(text))


def unleet(text: str) -> str:
    """Folded text with digits and signs read as letters, in the class of each.

    Two texts that look alike give the same; the result itself is not for reading.
    """
    return text.translate(_LEET)


def _in_word(char: str) -> bool:
    return char.isalnum() or char in _SIGNS


def _folded(text: str) -> Iterator[tuple[str, bool]]:
    """Each character as lower case ASCII where it can be, and whether it was a look-alike."""
    for char in unicodedata.normalize("NFC", text):
        if char.isascii():
            yield char.lower(), False
            continue
        if unicodedata.category(char) in ("Cf", "Mn", "Me"):  # zero width, stray accents
            continue
        plain, odd = _plain(char)
        for part in plain:
            yield part, odd


@lru_cache(maxsize=4096)
def _plain(char: str) -> tuple[str, bool]:
    """What one character that is not ASCII reads as, and whether that is a disguise."""
    lower = char.lower()
    if lower in _SPELLED:
        return _SPELLED[lower], False
    base = _bare(unicodedata.normalize("NFD", lower))  # é is e
    if base.isascii() and base:
        return base, False
    base = _bare(unicodedata.normalize("NFKD", lower))  # a bold mathematical e is e as well
    if base.isascii() and base:
        return base, any(part.isalnum() for part in base)
    alike = _look_alike(char) or _look_alike(lower)
    if alike:
        return alike, True
    return lower, False


def _bare(decomposed: str) -> str:
    return "".join(part for part in decomposed if not unicodedata.combining(part)).lower()


def _look_alike(char: str) -> str | None:
    """The Latin letter or letters that a character of another script looks like."""
    from confusable_homoglyphs import confusables

    small = _SMALL_CAPITAL.match(unicodedata.name(char, ""))
    if small:
        return small[1].lower()
    for entry in confusables.confusables_data.get(char, ()):
        base = "".join(c for c in unicodedata.normalize("NFD", entry["c"]) if c.isascii())
        if base.isalpha() and len(base) <= 2:
            return base.lower()
    return None
