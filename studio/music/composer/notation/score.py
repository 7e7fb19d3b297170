"""A score: every note of a piece, in four stems, at any tempo.

Times are whole **ticks**. A beat has 480 ticks, and the beat is the one a listener taps: a quarter
note in 4/4 and 3/4, a dotted quarter note in 6/8 and 12/8. ``bpm`` counts the same beats, so one
tick always lasts ``60 / (480 * bpm)`` seconds.

A score is plain data. It is recorded with a release and read back exactly:

>>> metre = METRES["6/8"]
>>> metre.beats, metre.bar_ticks, metre.eighth_ticks
(2, 960, 160)
>>> score = Score(
...     tags=("genre/waltz",), seed=1, genre="waltz", mood="calm", lead="flute", tempo="medium",
...     tonic=0, mode="major", bpm=96.5, metre="3/4", duration_s=4.0, sections=(), chords=(),
...     parts=(Part("lead", "lead", 73, 0.0, 0.0, (Note(0, 480, 72, 90),)),), mix=Mix(0.0, 0.2))
>>> Score.from_json(score.to_json()) == score
True
>>> round(score.seconds(480), 4)
0.6218
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from studio.core.errors import ConfigError
from studio.music.composer.notation.composition import Mix, Note

__all__ = [
    "METRES",
    "STEMS",
    "TICKS_PER_BEAT",
    "Chord",
    "Metre",
    "Mix",
    "Note",
    "Part",
    "Score",
    "Section",
]

TICKS_PER_BEAT = 480
"""Ticks of a beat: of a quarter note in 4/4 and 3/4, of a dotted quarter note in 6/8 and 12/8."""

STEMS = ("drums", "bass", "lead", "harmony")
"""The four stems; every part of a score belongs to one."""

FORMAT = "consented-music-studio/score"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Metre:
    """A time signature. ``beats`` are the beats one taps; each has two or three eighth notes."""

    name: str
    beats: int
    eighths: int

    @property
    def bar_ticks(self) -> int:
        return self.beats * TICKS_PER_BEAT

    @property
    def eighth_ticks(self) -> int:
        return TICKS_PER_BEAT // self.eighths

    @property
    def compound(self) -> bool:
        """Whether a beat divides into three."""
        return self.eighths == 3


METRES = {
    metre.name: metre
    for metre in (
        Metre("4/4", 4, 2),
        Metre("3/4", 3, 2),
        Metre("6/8", 2, 3),
        Metre("12/8", 4, 3),
    )
}
"""The metres that the composer writes in."""


@dataclass(frozen=True, slots=True)
class Part:
    """One instrument's notes, sorted by start.

    ``program`` counts from 0 (General MIDI). With ``percussion`` it names a drum kit and pitches
    are drum sounds. ``level_db`` is the part's place in the mix, 0 being a lead; ``pan`` goes from
    -1 (left) to 1 (right).
    """

    role: str
    stem: str
    program: int
    level_db: float
    pan: float
    notes: tuple[Note, ...]
    percussion: bool = False

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ConfigError(f"{self.stem!r} is not one of the stems {', '.join(STEMS)}")


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord and how long it lasts, in ticks.

    ``tones`` are pitch classes, the root first; ``scale`` the pitch classes a melody may use over
    it. ``symbol`` is spelled as musicians do in the key of the piece, for example ``F#m7``.
    ``bass`` is the lowest note's pitch class where it is not the root (``C/E``).
    """

    start: int
    length: int
    symbol: str
    tones: tuple[int, ...]
    scale: tuple[int, ...]
    bass: int | None = None

    @property
    def root(self) -> int:
        return self.tones[0]

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of the form in bars: ``intro``, ``verse``, ``chorus``, ``bridge`` or ``ending``.

    A section that differs from an earlier one of its kind has a number: ``verse2``.
    """

    name: str
    first_bar: int
    bars: int

    @property
    def kind(self) -> str:
        """The name without its number."""
        return self.name.rstrip("0123456789")


@dataclass(frozen=True, slots=True)
class Score:
    """A whole piece. The same request gives an equal score, on any machine.

    ``tags`` are the tags that were asked for. ``genre``, ``mood``, ``lead`` and ``tempo`` are the
    names that the composer followed: those of the tags, and where no tag says, what it chose
    (:func:`~studio.music.composer.planning.plan.names_of`).
    ``duration_s`` is the length of the piece with the last chord's ring; no note ends later.
    """

    tags: tuple[str, ...]
    seed: int
    genre: str
    mood: str
    lead: str
    tempo: str
    tonic: int
    mode: str
    bpm: float
    metre: str
    duration_s: float
    sections: tuple[Section, ...]
    chords: tuple[Chord, ...]
    parts: tuple[Part, ...]
    mix: Mix
    feel: str = "straight"

    def __post_init__(self) -> None:
        if self.metre not in METRES:
            raise ConfigError(f"{self.metre!r} is not one of the metres {', '.join(METRES)}")

    @property
    def bar_ticks(self) -> int:
        return METRES[self.metre].bar_ticks

    @property
    def beats_per_bar(self) -> int:
        return METRES[self.metre].beats

    @property
    def bars(self) -> int:
        return sum(section.bars for section in self.sections)

    @property
    def words(self) -> str:
        """Key, metre, tempo and form in one line of plain words."""
        from studio.music.composer.notation.spelling import tonic_name

        form = ", ".join(f"{section.kind} {section.bars}" for section in self.sections)
        return (
            f"{tonic_name(self.tonic, self.mode)} {self.mode}, {self.metre}, "
            f"{self.bpm:g} beats a minute; {form} bars"
        )

    def seconds(self, tick: float) -> float:
        """The instant of a tick, in seconds from the start."""
        return tick * 60.0 / (TICKS_PER_BEAT * self.bpm)

    def ticks(self, seconds: float) -> float:
        """The tick of an instant; the inverse of :meth:`seconds`."""
        return seconds * TICKS_PER_BEAT * self.bpm / 60.0

    def stem(self, name: str) -> tuple[Part, ...]:
        """The parts of a stem."""
        return tuple(part for part in self.parts if part.stem == name)

    def part(self, role: str) -> Part:
        """The part with this role. Raises :class:`KeyError`."""
        for part in self.parts:
            if part.role == role:
                return part
        raise KeyError(role)

    def chord_at(self, tick: int) -> Chord:
        """The chord that holds at a tick; the last one after the end."""
        for chord in self.chords:
            if tick < chord.end:
                return chord
        return self.chords[-1]

    def digest(self) -> str:
        """SHA-256 of :meth:`to_json`, hexadecimal: the identity of the score."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON of everything above; notes are rows of start, length, pitch, velocity."""
        data = asdict(self)
        for part, row in zip(self.parts, data["parts"], strict=True):
            row["notes"] = [[n.start, n.length, n.pitch, n.velocity] for n in part.notes]
        data = {"format": FORMAT, "version": VERSION, **data}
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Score:
        """Read :meth:`to_json`. Raises :class:`ConfigError` for anything else."""
        try:
            data = json.loads(text)
            if data.pop("format") != FORMAT or data.pop("version") != VERSION:
                raise ValueError("another format or version")
            return cls(**{**data, **_read(data)})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise ConfigError(f"this is no score: {exc}") from exc


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that JSON holds as lists and objects."""
    return {
        "tags": tuple(data["tags"]),
        "sections": tuple(Section(**row) for row in data["sections"]),
        "chords": tuple(
            Chord(**{**row, "tones": tuple(row["tones"]), "scale": tuple(row["scale"])})
            for row in data["chords"]
        ),
        "parts": tuple(
            Part(**{**row, "notes": tuple(Note(*note) for note in row["notes"])})
            for row in data["parts"]
        ),
        "mix": Mix(**data["mix"]),
    }
