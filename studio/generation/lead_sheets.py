"""Lead sheets for people: check a text, and chart an output.

A :class:`Chart` says what is played when, bar by bar, for a page that follows the sound. A
:class:`SheetAnswer` says what a sheet fixes, or where it is wrong: line, section and bar.

>>> answer = check("key: F# minor; chords: F#m | H7", ["genre/jazz"], duration_s=10)
>>> answer.problem.line, answer.problem.bar, answer.problem.message
(1, 2, "'H7' is no chord; chords are written like C, F#m7, Bbmaj7, E7")
>>> check("key: F# minor; form: verse 4, ending 2", ["genre/jazz"]).key
'F# minor'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from studio.core.errors import ConfigError, HouseError

if TYPE_CHECKING:
    from studio.music.composer.notation.score import Score, Section

__all__ = ["Bar", "Chart", "ChartSection", "Problem", "SheetAnswer", "chart_of", "check"]

_PLACE = re.compile(
    r"(?:line (?P<line>\d+)[,:] )?(?:(?P<section>[a-z]+[2-9]?), )?(?:bar (?P<bar>\d+): )?"
)
_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a sheet, and where, as far as it can be said. Counted from 1."""

    message: str
    line: int | None = None
    section: str | None = None
    bar: int | None = None


@dataclass(frozen=True, slots=True)
class SheetAnswer:
    """What a sheet says.

    Attributes:
        text: the sheet; transposed where that was asked for.
        key: the key that its music is in, such as ``F# minor``; None where nothing says.
        metre: that the piece will have.
        eighths: equal steps of a bar for a melody: 8 in 4/4.
        duration_s: of the form that it fixes; None where it fixes none.
        spelling: the names of the twelve pitch classes in the key, C first.
        problem: why no piece can be written from it.
    """

    text: str
    key: str | None = None
    metre: str | None = None
    eighths: int = 8
    duration_s: float | None = None
    spelling: tuple[str, ...] = _SHARPS
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: when it begins (seconds), and its chords with the beat of each, from 0.

    ``given``: a person's lead sheet fixed the chords; otherwise the composer chose them.
    """

    start_s: float
    chords: tuple[tuple[str, float], ...]
    given: bool


@dataclass(frozen=True, slots=True)
class ChartSection:
    """A section of the form with its bars."""

    name: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """The lead sheet of an output, and when each bar sounds; ``notes`` are those of the lead.

    A note is a row of start (s), length (s) and MIDI pitch. ``text`` is the sheet as it is typed.
    """

    key: str
    bpm: float
    metre: str
    beats: int
    duration_s: float
    sections: tuple[ChartSection, ...]
    notes: tuple[tuple[float, float, int], ...]
    text: str


def check(
    text: str,
    tags: Sequence[str],
    *,
    duration_s: float | None = None,
    steps: int = 0,
    longest_s: float = 600.0,
) -> SheetAnswer:
    """What a sheet says, ``steps`` semitones higher; a wrong sheet is an answer, no error."""
    from studio.music.composer.notation.sheet import read_sheet
    from studio.music.composer.notation.spelling import spell_pitch
    from studio.music.composer.planning.plan import heard_key, plan_piece
    from studio.music.composer.planning.transpose import transposed

    try:
        if steps:
            text = transposed(text, steps)
        fixed = read_sheet(text)
    except ConfigError as exc:
        return SheetAnswer(text, problem=problem_of(str(exc)))
    tonic, mode = fixed.tonic, fixed.mode or "major"
    if tonic is None and (fixed.chords or fixed.melodies):
        tonic, mode = heard_key(fixed, 0, "major")
    answer = SheetAnswer(text)
    if tonic is not None:
        spelling = tuple(spell_pitch(pitch, tonic, mode) for pitch in range(12))
        answer = replace(answer, key=_key(tonic, mode), spelling=spelling)
    try:
        plan = plan_piece(tags, 0, None if fixed.form else duration_s, fixed)
    except (ConfigError, HouseError) as exc:
        return replace(answer, problem=problem_of(str(exc)))
    answer = replace(
        answer,
        metre=plan.metre.name,
        eighths=plan.metre.beats * plan.metre.eighths,
        duration_s=plan.duration_s if fixed.form else None,
    )
    if plan.duration_s > longest_s:
        message = (
            f"the form lasts {plan.duration_s:.0f} s, and at most {longest_s:g} s can be made; "
            "take bars away or raise the tempo"
        )
        answer = replace(answer, problem=Problem(message))
    return answer


def problem_of(message: str) -> Problem:
    """Where a message says that a sheet is wrong.

    >>> problem_of("verse, bar 3: 5 places do not fit")
    Problem(message='5 places do not fit', line=None, section='verse', bar=3)
    >>> problem_of("it is too long").message
    'it is too long'
    """
    match = _PLACE.match(message)
    assert match is not None  # every part may be missing
    if match["section"] and not match["bar"]:
        return Problem(message)
    line, bar = (None if match[name] is None else int(match[name]) for name in ("line", "bar"))
    return Problem(message[match.end() :], line, match["section"], bar)


def chart_of(score: Score, asked: str | None = None) -> Chart:
    """The chart of a composed score; ``asked`` is the lead sheet it was asked for with."""
    from studio.music.composer.notation.sheet import read_sheet, sheet_of

    try:
        fixed = read_sheet(asked or "")
    except ConfigError:  # of another version of the studio
        fixed = read_sheet("")

    def place(section: Section, bar: int) -> Bar:
        first = (section.first_bar + bar) * score.bar_ticks
        beat = score.bar_ticks / score.beats_per_bar
        heard = [c for c in score.chords if c.start < first + score.bar_ticks and c.end > first]
        names: list[tuple[str, float]] = [
            (c.symbol, max(0.0, (c.start - first) / beat)) for c in heard
        ]
        rows = fixed.chords_of(section.name)
        given = bool(rows) and bool(rows[bar % len(rows)])
        return Bar(round(score.seconds(first), 4), tuple(names), given)

    return Chart(
        key=_key(score.tonic, score.mode),
        bpm=score.bpm,
        metre=score.metre,
        beats=score.beats_per_bar,
        duration_s=score.duration_s,
        sections=tuple(
            ChartSection(s.name, tuple(place(s, bar) for bar in range(s.bars)))
            for s in score.sections
        ),
        notes=tuple(
            (round(score.seconds(n.start), 3), round(score.seconds(n.length), 3), n.pitch)
            for part in score.stem("lead")
            if part.role == "lead"
            for n in part.notes
        ),
        text=sheet_of(score),
    )


def _key(tonic: int, mode: str) -> str:
    from studio.music.composer.notation.spelling import tonic_name

    return f"{tonic_name(tonic, mode)} {mode}"
