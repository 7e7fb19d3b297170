"""The name screen: refuse artists' names in typed texts.

Music is asked for by tags. A title or a note is never given to a model; but "in the style of" a
living artist in a title claims what nobody granted, so both are screened: against the rights
holders of the registry and an editable list (``configs/names/deny.txt``), through case, accents,
spacing, punctuation, digits for letters, other scripts, doubled letters and single typing errors.

Many artists have taken an ordinary word for a name (Prince, Queen, Kiss, Bush). Such a name, one
that stands in ``configs/names/ordinary.txt`` too, is refused only where it is used as a name: after
"in the style of", "feat." or "by", before "type beat" or "-esque", as the artist of an "Artist -
Title", or disguised, for nobody disguises an ordinary word. The rules, what they miss and what they
refuse wrongly: ``docs/name-screen.md``.

>>> screen = NameScreen(["Taylor Swift", "Prince"], ordinary=["prince"])
>>> [screen.find(text)[0].name for text in ("T4yl0r Sw1ft nights", "a ballad by Prince", "Pr1nce")]
['Taylor Swift', 'Prince', 'Prince']
>>> screen.find("The prince and the swift tailor")
()
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from studio.consent.name_screen.normalize import Word, letters, unleet, words
from studio.core.errors import ConfigError, NameRefusedError

if TYPE_CHECKING:
    from studio.consent.types import RightsHolder
    from studio.core.tags import Vocabulary

__all__ = ["Finding", "How", "NameScreen", "load_screen", "read_names"]

MAX_TEXT = 300
"""Longest text that is screened, characters; a title or note is shorter."""

_SOMEBODY = frozenset({"artist", "label", "distributor"})  # kinds of rights holder with a name
_INSIDE = 7  # letters from which a name counts inside a longer word
_SLIP = 8  # letters from which a name counts with a typing error in it
_SUFFIXES = ("esque", "ish", "like", "style", "styled", "vibes", "vibe", "type", "ian", "s")

# Asking for somebody's manner; what follows must be a style, even where the name is on no list.
_MANNER = (
    "in the style of", "in the manner of", "in the vein of", "in style of", "in the mould of",
    "in the mold of", "style of", "manner of", "a la", "alla maniera di", "im stil von",
    "dans le style de", "al estilo de", "in imitation of", "imitating", "impersonating",
    "mimicking",
)  # fmt: skip
# Words after which an ordinary word is used as a name.
_BEFORE = (
    *_MANNER, "by", "feat", "ft", "featuring", "inspired by", "reminiscent of", "tribute to",
    "homage to", "sounds like", "sound like", "sounding like", "sing like", "sings like",
    "play like", "plays like", "as sung by", "cover of", "remix of", "fan of", "fans of",
    "channelling", "channeling", "the artist", "the band", "the singer", "the rapper",
)  # fmt: skip
_AFTER = ("type beat", "style", "styled", "esque", "ish", "soundalike", "sound alike", "tribute",
          "cover", "impression", "impersonator", "fans")  # fmt: skip
# "learned by heart", "by train": idioms, not makers.
_IDIOMS = frozenset({("by", "heart"), ("by", "train"), ("by", "air"), ("by", "journey")})
# "Heart - demo", "Rush - part 2": a dash with nothing but this after it sets no artist apart.
_NO_TITLE = frozenset(
    ("take", "part", "demo", "version", "mix", "remix", "edit", "no", "number", "i", "ii", "iii",
     "iv", "v", "one", "two", "three", "instrumental", "live", "intro", "outro", "reprise", "loop",
     "draft", "sketch", "short", "long", "slow", "fast")
)  # fmt: skip
_ARTICLES = frozenset(
    ("a", "an", "the", "some", "my", "your", "our", "his", "her", "old", "new", "that", "this",
     "and", "or", "of", "for", "in", "with")
)  # fmt: skip


class How(StrEnum):
    """By what a name was recognised."""

    NAME = "name"  # as it is written, or nearly
    DISGUISE = "disguise"  # through digits, signs, other scripts, reversal
    CONTEXT = "context"  # an ordinary word used as a name
    MANNER = "manner"  # somebody's style asked for, whoever it is


@dataclass(frozen=True, slots=True)
class Finding:
    """One name in a text."""

    name: str  # as the list writes it; for `manner` what the text says
    found: str  # the folded words in which it was found
    how: How


@dataclass(frozen=True, slots=True)
class _Form:
    """One way a name may be written, folded."""

    text: str
    name: str
    ordinary: bool
    words: int


class NameScreen:
    """Looks for names in short texts. Immutable and safe to share between threads."""

    def __init__(
        self, names: Iterable[str], *, ordinary: Iterable[str] = (), styles: Iterable[str] = ()
    ) -> None:
        """``styles`` are words that may follow "in the style of": those of the tag vocabulary."""
        self._ordinary = frozenset(letters(word) for word in ordinary)
        self._styles = frozenset(
            word.text for style in styles for word in words(style)
        ) | frozenset(word.text for style in ordinary for word in words(style))
        forms = [form for name in names for form in _forms(name, self._ordinary)]
        self._plain = {form.text: form for form in forms}
        self._leet: dict[str, _Form] = {}
        self._squeezed: dict[str, _Form] = {}
        self._ends: dict[str, list[_Form]] = {}
        self._inside: dict[str, list[_Form]] = {}
        self._by_length: dict[int, list[_Form]] = {}
        for form in self._plain.values():
            self._by_length.setdefault(len(form.text), []).append(form)
        for form in forms:
            self._leet.setdefault(unleet(form.text), form)
            if len(form.text) >= 4:
                self._squeezed.setdefault(_squeeze(form.text), form)
            if form.ordinary:
                continue
            if len(form.text) >= _SLIP:  # a slip leaves the beginning or the end as it was
                self._ends.setdefault(form.text[:4], []).append(form)
                self._ends.setdefault("$" + form.text[-4:], []).append(form)
            if len(form.text) >= _INSIDE:
                self._inside.setdefault(form.text[:4], []).append(form)
        self._max_length = max((len(form.text) for form in forms), default=0) + 1

    def find(self, text: str) -> tuple[Finding, ...]:
        """Every name found, each once, in the order of the text. The empty tuple: none."""
        found: dict[str, Finding] = {}
        text = text[:MAX_TEXT]
        readings: list[list[Word]] = []
        for row in (words(text), words(text, humps=True)):
            for joint in (("and",), ("and", "n")):
                reading = [word for word in row if word.text not in joint]
                if reading not in readings:
                    readings.append(reading)
        for reading in readings:
            for finding in self._in_row(reading):
                found.setdefault(finding.name, finding)
        return tuple(found.values())

    def check(self, text: str, *, what: str) -> None:
        """Raise :class:`NameRefusedError` for a text with a name; ``what`` says which text."""
        if len(text) > MAX_TEXT:
            raise NameRefusedError(f"the {what} is longer than {MAX_TEXT} characters")
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise NameRefusedError(f"the {what} is one line of text without control characters")
        findings = self.find(text)
        if not findings:
            _check_visible(text, what)
            return
        if findings[0].how is How.MANNER:
            raise NameRefusedError(
                f"the {what} asks for somebody's manner (“{findings[0].found}”); say it with tags, "
                "which the rights holders have granted"
            )
        named = ", ".join(f"“{finding.name}”" for finding in findings)
        raise NameRefusedError(
            f"the {what} names {named}; without that artist's consent no output may carry the "
            "name, in any spelling"
        )

    def named_by(self, tag_name: str) -> str | None:
        """The name that a tag (``genre/…``, without its kind) spells, or None.

        >>> NameScreen(["Taylor Swift", "Prince"], ordinary=["prince"]).named_by("taylor-swift")
        'Taylor Swift'
        """
        plain = letters(tag_name)
        form = self._plain.get(plain) or self._leet.get(unleet(plain))
        return None if form is None or form.ordinary else form.name

    def named_tags(
        self, vocabulary: Vocabulary, holders: Iterable[RightsHolder]
    ) -> dict[str, frozenset[str]]:
        """Of each tag that spells a name: the ids of the rights holders who have that name."""
        named = {tag.id: self.named_by(tag.name) for tag in vocabulary.values()}
        if not any(named.values()):
            return {}
        by_name: dict[str, set[str]] = {}
        for holder in holders:
            by_name.setdefault(letters(holder.name), set()).add(holder.id)
        return {
            tag: frozenset(by_name.get(letters(name), ()))
            for tag, name in named.items()
            if name is not None
        }

    # -- one reading of the text --------------------------------------------------------------

    def _in_row(self, row: Sequence[Word]) -> Iterable[Finding]:
        yield from self._manner(row)
        for first in range(len(row)):
            joined = ""
            for last in range(first, len(row)):
                joined += row[last].text
                if len(joined) > self._max_length + 8:
                    break
                hit = self._at(row, first, last, joined)
                if hit is not None:
                    yield hit

    def _at(self, row: Sequence[Word], first: int, last: int, joined: str) -> Finding | None:
        span = row[first : last + 1]
        form = self._plain.get(joined)
        disguised = any(word.foreign for word in span)
        if form is None and span[-1].possessive:
            form = self._plain.get(joined[:-1])
        if form is None and not joined.isalpha() and _mixed(span):
            form, disguised = self._leet.get(unleet(joined.rstrip("*"))), True
            form = form or self._masked(joined)
        if form is None and re.search(r"(.)\1\1", joined):
            form = self._squeezed.get(_squeeze(joined))
            disguised = True
        if form is not None:
            return self._judge(row, first, last, joined, form, disguised)
        return self._nearly(row, first, last, joined)

    def _judge(
        self,
        row: Sequence[Word],
        first: int,
        last: int,
        joined: str,
        form: _Form,
        disguised: bool,
    ) -> Finding | None:
        """Whether a span that spells a name is one."""
        count = last - first + 1
        if count > form.words and not _spelled_out(row[first : last + 1], form):
            return None
        if disguised and (not form.ordinary or len(form.text) > 3):
            return Finding(form.name, joined, How.DISGUISE)
        if not form.ordinary:
            return Finding(form.name, joined, How.NAME)
        if count <= form.words and _used_as_name(row, first, last):
            return Finding(form.name, joined, How.CONTEXT)
        return None

    def _nearly(self, row: Sequence[Word], first: int, last: int, joined: str) -> Finding | None:
        """A name with an ending, backwards, inside a longer word, or with one typing error."""
        if first == last:
            finding = self._ending(joined)
            if finding is not None:
                return finding
        if len(joined) < 6 or joined in self._ordinary:
            return None
        form = self._plain.get(joined[::-1])
        if form is not None and not form.ordinary:
            return Finding(form.name, joined, How.DISGUISE)
        if first == last:
            for start in range(len(joined) - _INSIDE + 1):
                for form in self._inside.get(joined[start : start + 4], ()):
                    if joined.startswith(form.text, start):
                        return Finding(form.name, joined, How.NAME)
        if len(joined) < _SLIP or any(word.possessive for word in row[first:last]):
            return None
        for form in (*self._ends.get(joined[:4], ()), *self._ends.get("$" + joined[-4:], ())):
            if abs((last - first + 1) - form.words) <= 1 and _one_slip(joined, form.text):
                return Finding(form.name, joined, How.NAME)
        return None

    def _ending(self, word: str) -> Finding | None:
        """One word that is a name with an ending: "Coldplayish", "princesque"."""
        for suffix in _SUFFIXES:
            form = self._plain.get(word.removesuffix(suffix)) if word.endswith(suffix) else None
            if form is None or len(form.text) < 4:
                continue
            if not form.ordinary:
                return Finding(form.name, word, How.NAME)
            if suffix == "esque":
                return Finding(form.name, word, How.CONTEXT)
        return None

    def _masked(self, joined: str) -> _Form | None:
        """A name with stars for letters: ``T*yl*r Swift``."""
        if "*" not in joined[1:-1] or sum(char.isalnum() for char in joined) * 2 < len(joined):
            return None
        pattern = re.compile("".join("." if char == "*" else re.escape(char) for char in joined))
        hits = self._by_length.get(len(joined), ()) if len(joined) >= 4 else ()
        return next((form for form in hits if pattern.fullmatch(form.text)), None)

    def _manner(self, row: Sequence[Word]) -> Iterable[Finding]:
        """ "In the style of" and the like, with anything but a style after it."""
        for index in range(len(row)):
            for phrase in _MANNER:
                size = phrase.count(" ") + 1
                if [word.text for word in row[index : index + size]] != phrase.split():
                    continue
                object_: list[str] = []
                for word in row[index + size :]:
                    if object_ and any(mark in word.gap for mark in ",.;:()–—"):
                        break
                    object_.append(word.text)
                wanted = [text for text in object_ if text not in _ARTICLES and not _number(text)]
                if any(text not in self._styles for text in wanted):
                    yield Finding(" ".join(object_), f"{phrase} {' '.join(object_)}", How.MANNER)
                return


def load_screen(
    folder: Path, holders: Iterable[RightsHolder], vocabulary: Vocabulary
) -> NameScreen:
    """The screen over the lists in ``folder`` and the registry's holders.

    The project itself and demonstration holders are nobody's name. Made anew only when something
    has changed. Raises :class:`ConfigError`.
    """
    somebody = {holder.name for holder in holders if holder.kind in _SOMEBODY}
    styles = {word for tag in vocabulary.values() for word in (tag.name, tag.phrase)}
    return _screen(
        frozenset({*read_names(folder / "deny.txt"), *somebody}),
        frozenset(read_names(folder / "ordinary.txt")),
        frozenset({*read_names(folder / "styles.txt"), *styles}),
    )


@lru_cache(maxsize=4)
def _screen(names: frozenset[str], ordinary: frozenset[str], styles: frozenset[str]) -> NameScreen:
    return NameScreen(sorted(names), ordinary=ordinary, styles=styles)


def read_names(path: Path) -> tuple[str, ...]:
    """A list of names or words, one a line; ``#`` starts a comment. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the list of names {path}: {exc}") from exc
    stripped = (line.split("#", 1)[0].strip() for line in lines)
    return tuple(line for line in stripped if line)


def _forms(name: str, ordinary: frozenset[str]) -> Iterable[_Form]:
    """The name as it is, without a leading "the", and with its signs read as letters."""
    row = [word for word in words(name) if word.text not in ("and", "n")]
    rows = [row, row[1:]] if len(row) > 1 and row[0].text == "the" else [row]
    bare = "".join(word.text for word in rows[-1])
    glued = letters(name)  # BelleandSebastian
    if glued not in ("".join(word.text for word in parts) for parts in rows):
        yield _Form(glued, name, not ordinary.isdisjoint((glued, bare)), len(row))
    for parts in rows:
        text = "".join(word.text for word in parts)
        signs = {text, text.translate(str.maketrans("$!@+", "siat"))}
        for spelled in signs:
            if len(spelled) >= 2:
                yield _Form(spelled, name, not ordinary.isdisjoint((spelled, bare)), len(parts))


def _used_as_name(row: Sequence[Word], first: int, last: int) -> bool:
    """Whether what stands around an ordinary word makes it somebody."""
    before = [word.text for word in row[:first]]
    after = [word.text for word in row[last + 1 :]]
    for phrase in _BEFORE:
        parts = phrase.split()
        if before[-len(parts) :] == parts:
            return (parts[-1], row[first].text) not in _IDIOMS
    for phrase in _AFTER:
        parts = phrase.split()
        if after[: len(parts)] == parts:
            return True
    if first == 0 and after and re.fullmatch(r"\s+[-–—]+\s+", row[last + 1].gap):
        return any(text not in _NO_TITLE and not _number(text) for text in after)
    return False


def _spelled_out(span: Sequence[Word], form: _Form) -> bool:
    """Whether a name in more pieces than it has words was pulled apart on purpose."""
    if form.ordinary:
        return False
    if all(len(word.text) == 1 for word in span):
        return True
    if any(mark in word.gap for word in span[1:] for mark in (", ", "; ", ": ", ". ")):
        return False
    return len(form.text) >= 6 or all(word.gap.strip() for word in span[1:])


def _mixed(span: Sequence[Word]) -> bool:
    """Letters and digits or signs within one word, or a span of single characters."""
    if not any(char.isalpha() for word in span for char in word.text):
        return False
    if all(len(word.text) == 1 for word in span) and len(span) > 2:
        return True
    return any(not word.text.isalpha() and any(map(str.isalpha, word.text)) for word in span)


def _number(text: str) -> bool:
    return text.rstrip("s").isdigit()


def _squeeze(text: str) -> str:
    return re.sub(r"(.)\1+", r"\1", text)


def _one_slip(written: str, name: str) -> bool:
    """Whether one letter is missing, added, wrong or swapped with its neighbour."""
    if written == name or abs(len(written) - len(name)) > 1 or written + "s" == name:
        return False  # one Backstreet boy is no typing error
    start = 0
    while start < min(len(written), len(name)) and written[start] == name[start]:
        start += 1
    a, b = written[start:], name[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


_JOINERS = "\u200c\u200d"
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that are drawn as nothing


def _check_visible(text: str, what: str) -> None:
    """Raise :class:`NameRefusedError` where a text reads otherwise than it is stored.

    That is what invisible characters and changes of the writing direction do. The two joiners are
    part of how some languages are written, between two letters of them.
    """
    for place, char in enumerate(text):
        around = (text[place - 1 : place], text[place + 1 : place + 2])
        joins = all(
            each and not each.isascii() and unicodedata.category(each)[0] in "LM" for each in around
        )
        if char in _JOINERS and joins:
            continue
        if char in _BLANK or unicodedata.category(char) in ("Cf", "Cc", "Co", "Cs", "Zl", "Zp"):
            raise NameRefusedError(
                f"the {what} holds an invisible character, or one that changes the direction of "
                "writing; type it without"
            )
