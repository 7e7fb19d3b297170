"""The lead sheet as text: what an artist fixes of a piece, one thing a line.

::

    key: F# minor
    tempo: 96
    metre: 6/8
    form: intro 2, verse 4, chorus 4, ending 2
    chords verse: F#m | D A | Bm7 | E7 - D E7
    chords: F#m | D
    melody chorus: C#5 - B4 A4 | F#4 - . . | A4 B4 C#5 - | - - - .

Every line may be left out; the composer decides what no line fixes. Lines may be joined by ``;``.
Bars are parted by ``|``. The entries of a bar last equally long: a chord or a note (``C4`` is the
middle C), ``-`` for going on, ``.`` for a rest in a melody, ``%`` alone for the bar before again,
``?`` alone for a bar that the composer writes.
``chords`` and ``melody`` without a section hold for every section that has none of its own.

>>> fixed = read_sheet("key: F# minor; tempo: 96; chords: F#m | D A")
>>> fixed.tonic, fixed.mode, fixed.bpm, len(fixed.chords_of("verse"))
(6, 'minor', 96.0, 2)
>>> read_sheet("chords verse: C | H7")
Traceback (most recent call last):
studio.core.errors.ConfigError: line 1, bar 2: 'H7' is no chord; chords are written like C, F#m7, \
Bbmaj7, E7
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from studio.core.errors import ConfigError
from studio.music.composer.notation.fixed import (
    MAX_BARS,
    SECTION_KINDS,
    ChordBar,
    Fixed,
    PlacedChord,
    TypedBar,
    TypedNote,
)
from studio.music.composer.notation.score import Score
from studio.music.composer.notation.spelling import read_chord, read_pitch, tonic_name

__all__ = ["MAX_SHEET_CHARACTERS", "OPEN", "read_sheet", "sheet_of"]

MAX_SHEET_CHARACTERS = 8000
"""The longest text that is read."""

OPEN = "?"
"""A bar that is left to the composer."""

_MOST_PLACES = 24
_NAME = re.compile(r"(chords|melody)(?:\s+([a-z]+[2-9]?))?")
_NOTE = re.compile(r"([A-Ga-g][#b♯♭]{0,2})(-?\d)")
_SECTION = re.compile(r"([a-z]+[2-9]?)(?:\s+(\d{1,3}))?")
_LOWEST, _HIGHEST = 21, 108

Bar = TypeVar("Bar")


@dataclass(slots=True)
class _Read:
    """What the lines said so far."""

    values: dict[str, str] = field(default_factory=dict)
    form: tuple[tuple[str, int], ...] = ()
    chords: dict[str, tuple[ChordBar, ...]] = field(default_factory=dict)
    melodies: dict[str, tuple[TypedBar, ...]] = field(default_factory=dict)


def read_sheet(text: str) -> Fixed:
    """What a text fixes. Raises :class:`ConfigError` that names the line and the bar."""
    if len(text) > MAX_SHEET_CHARACTERS:
        raise ConfigError(f"a lead sheet has at most {MAX_SHEET_CHARACTERS} characters")
    read = _Read()
    for number, line in _lines(text):
        name, colon, value = line.partition(":")
        try:
            if not colon:
                raise ConfigError(f"expected a name and a colon, not {line[:30]!r}")
            _take(read, " ".join(name.lower().split()), value.strip())
        except ConfigError as exc:
            where = f"line {number}"
            raise ConfigError(f"{where}{_after(str(exc))}") from None
    tonic, mode = _key(read.values.get("key"))
    return Fixed(
        tonic=tonic,
        mode=mode,
        bpm=_tempo(read.values.get("tempo")),
        metre=read.values.get("metre"),
        feel=read.values.get("feel"),
        form=read.form,
        chords=tuple(read.chords.items()),
        melodies=tuple(read.melodies.items()),
    )


def _after(message: str) -> str:
    return f", {message}" if message.startswith("bar ") else f": {message}"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(text.splitlines(), start=1):
        for line in row.split(";"):
            if line.strip():
                yield number, line.strip()


def _take(read: _Read, name: str, value: str) -> None:
    if name in ("key", "tempo", "metre", "feel"):
        if name in read.values:
            raise ConfigError(f"{name} is given twice")
        read.values[name] = value
        if name == "key":
            _key(value)
        elif name == "tempo":
            Fixed(bpm=_tempo(value))
        elif name == "metre":
            Fixed(metre=value)
        else:
            Fixed(feel=value)
    elif name == "form":
        if read.form:
            raise ConfigError("form is given twice")
        read.form = _form(value)
    elif match := _NAME.fullmatch(name):
        section = match[2] or ""
        _known(section)
        if match[1] == "chords":
            _once(read.chords, section, "chords", _bars(value, _chord_bar))
        else:
            _once(read.melodies, section, "melody", _melody(value))
    else:
        raise ConfigError(
            f"{name[:30]!r} is not known; lines are key, tempo, metre, feel, form, chords, melody"
        )


def _once(rows: dict[str, tuple[Bar, ...]], section: str, what: str, bars: tuple[Bar, ...]) -> None:
    if section in rows:
        raise ConfigError(f"{what} {section} is given twice".replace("  ", " "))
    rows[section] = bars


def _known(section: str) -> None:
    if section and section.rstrip("23456789") not in SECTION_KINDS:
        raise ConfigError(
            f"{section[:20]!r} is not a section; sections are {', '.join(SECTION_KINDS)}, and "
            "verse2 to verse9 for a different one of a kind"
        )


def _key(value: str | None) -> tuple[int | None, str | None]:
    if value is None:
        return None, None
    tonic, _, mode = value.partition(" ")
    if not mode and len(tonic) > 1 and tonic.endswith("m"):
        tonic, mode = tonic[:-1], "minor"
    fixed = Fixed(tonic=read_pitch(tonic), mode=mode.strip().lower() or "major")
    return fixed.tonic, fixed.mode


def _tempo(value: str | None) -> float | None:
    if value is None:
        return None
    if not re.fullmatch(r"\d{2,3}(\.\d{1,3})?", value):
        raise ConfigError(f"a tempo is a number of beats a minute, not {value[:20]!r}")
    return float(value)


def _form(value: str) -> tuple[tuple[str, int], ...]:
    rows = []
    for item in value.lower().split(","):
        match = _SECTION.fullmatch(item.strip())
        if match is None:
            raise ConfigError(
                f"{item.strip()[:30]!r} is no part of a form; write `verse 8` or `verse`"
            )
        _known(match[1])
        rows.append((match[1], int(match[2] or 0)))
    return Fixed(form=tuple(rows)).form


# Bars -----------------------------------------------------------------------------------------


def _bars(value: str, read: Callable[[list[str]], Bar]) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    for number, text in _numbered(value):
        words = text.split()
        if words == ["%"] and bars:
            bars.append(bars[-1])
            continue
        try:
            bars.append(read(_places(words)))
        except ConfigError as exc:
            raise ConfigError(f"bar {number}: {exc}") from None
    return tuple(bars)


def _numbered(value: str) -> Iterator[tuple[int, str]]:
    bars = value.strip().strip("|").split("|")
    if len(bars) > MAX_BARS:
        raise ConfigError(f"there are {len(bars)} bars, and at most {MAX_BARS}")
    return enumerate(bars, start=1)


def _places(words: list[str]) -> list[str]:
    if not words:
        raise ConfigError("it is empty")
    if len(words) > _MOST_PLACES:
        raise ConfigError(f"it has {len(words)} entries, and at most {_MOST_PLACES}")
    return words


def _chord_bar(words: list[str]) -> ChordBar:
    if words == [OPEN]:
        return ()
    if words[0] == "-":
        raise ConfigError("it begins with a chord")
    return tuple(
        PlacedChord(read_chord(word), slot, len(words))
        for slot, word in enumerate(words)
        if word != "-"
    )


def _melody(value: str) -> tuple[TypedBar, ...]:
    """Bars of notes; a note goes on over a bar line where the next bar begins with ``-``."""
    bars: list[list[TypedNote] | None] = []
    held: tuple[int, int] | None = None  # bar and place of the note that sounds
    for number, text in _numbered(value):
        words = text.split()
        if words == ["%"] and bars:
            again = bars[-1]
            bars.append(None if again is None else list(again))
            held = None
            continue
        if words == [OPEN]:
            bars.append(None)
            held = None
            continue
        try:
            words = _places(words)
            row: list[TypedNote] = []
            bars.append(row)
            for slot, word in enumerate(words):
                if word == "-":
                    held = _hold(bars, held, len(words))
                elif word == ".":
                    held = None
                else:
                    held = (len(bars) - 1, len(row))
                    row.append(TypedNote(slot, len(words), 1, _pitch(word)))
        except ConfigError as exc:
            raise ConfigError(f"bar {number}: {exc}") from None
    return tuple(None if bar is None else tuple(bar) for bar in bars)


def _hold(
    bars: list[list[TypedNote] | None], held: tuple[int, int] | None, places: int
) -> tuple[int, int]:
    if held is None:
        raise ConfigError("`-` goes on with a note, and none sounds here; write `.` for a rest")
    row, place = bars[held[0]], held[1]
    assert row is not None  # a note sounds in it
    note = row[place]
    if note.slots != places:
        raise ConfigError(
            f"a note of a bar with {note.slots} entries goes on into one with {places}; give both "
            "bars as many"
        )
    row[place] = TypedNote(note.slot, note.slots, note.length + 1, note.pitch)
    return held


def _pitch(word: str) -> int:
    match = _NOTE.fullmatch(word)
    if match is None:
        raise ConfigError(f"{word[:20]!r} is no note; notes are written like C4, F#5, Bb3")
    # B#4 is C5 and Cb5 is B4: the octave goes with the letter.
    letter = read_pitch(match[1][0])
    shift = (read_pitch(match[1]) - letter + 6) % 12 - 6
    pitch = 12 * (int(match[2]) + 1) + letter + shift
    if not _LOWEST <= pitch <= _HIGHEST:
        raise ConfigError(f"{word} lies outside A0 to C8")
    return pitch


# Writing --------------------------------------------------------------------------------------


def sheet_of(score: Score) -> str:
    """The lead sheet of a composed score: key, tempo, metre, form and the chords of each section.

    :func:`read_sheet` reads it, so that an artist can take what the composer wrote and change it.
    """
    lines = [
        f"key: {tonic_name(score.tonic, score.mode)} {score.mode}",
        f"tempo: {score.bpm:g}",
        f"metre: {score.metre}",
    ]
    if score.feel != "straight":
        lines.append(f"feel: {score.feel}")
    lines.append("form: " + ", ".join(f"{s.name} {s.bars}" for s in score.sections))
    done = set()
    for section in score.sections:
        if section.name in done:
            continue
        done.add(section.name)
        bars = [_written(score, section.first_bar + k) for k in range(section.bars)]
        lines.append(f"chords {section.name}: " + " | ".join(bars))
    return "\n".join(lines) + "\n"


def _written(score: Score, bar: int) -> str:
    """The chords of a bar; one that goes on is written again."""
    first = bar * score.bar_ticks
    beats = score.beats_per_bar
    step = score.bar_ticks // beats
    heard = [score.chord_at(first + step * beat) for beat in range(beats)]
    if all(chord == heard[0] for chord in heard):
        return heard[0].symbol
    words = [heard[0].symbol]
    words += ["-" if b == a else b.symbol for a, b in pairwise(heard)]
    return " ".join(words)
