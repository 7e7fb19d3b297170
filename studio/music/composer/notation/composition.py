"""What a composition *is*: notes on the codec's grid, parts, chords and sections.

All times are whole **frames of 20 ms**, the frame of the house codec. A sixteenth note (or the
triplet of a shuffle) is a whole number of frames, so that every rhythm repeats exactly in codec
frames and a small language model can learn it.

>>> Note(start=50, length=10, pitch=69, velocity=90).end
60
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

__all__ = ["FRAMES_PER_SECOND", "Chord", "Composition", "Mix", "Note", "Part", "Section"]

FRAMES_PER_SECOND = 50
"""Frames of the grid per second; the frame rate of the house codec."""


@dataclass(frozen=True, slots=True)
class Note:
    """One note; ``start`` and ``length`` in frames (in ticks in a score), the rest as in MIDI."""

    start: int
    length: int
    pitch: int
    velocity: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Part:
    """One instrument's notes, sorted by start.

    ``program`` counts from 0 (General MIDI); with ``percussion`` it names a drum kit and pitches
    are drum sounds. ``level_db`` is the part's place in the mix, 0 being the lead.
    """

    role: str
    program: int
    level_db: float
    notes: tuple[Note, ...]
    percussion: bool = False


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord and how long it lasts: ``tones`` are pitch classes, the root first."""

    start: int
    length: int
    symbol: str
    tones: tuple[int, ...]
    scale: tuple[int, ...]

    @property
    def root(self) -> int:
        return self.tones[0]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of the form, such as ``A`` or ``B``, in bars."""

    name: str
    first_bar: int
    bars: int


@dataclass(frozen=True, slots=True)
class Mix:
    """How the rendering colours the whole: a shelf above 2 kHz and the share of reverberation."""

    brightness_db: float
    reverb: float


@dataclass(frozen=True, slots=True)
class Composition:
    """A whole piece. The same seed and tags give an equal composition, on any machine."""

    seed: int
    genre: str
    mood: str
    lead: str
    tempo: str
    tonic: int
    mode: str
    beat_frames: int
    ticks_per_beat: int
    beats_per_bar: int
    bars: int
    sections: tuple[Section, ...]
    chords: tuple[Chord, ...]
    parts: tuple[Part, ...]
    mix: Mix

    @property
    def tags(self) -> tuple[str, str, str, str]:
        """The four tag ids, one of each kind."""
        return (
            f"genre/{self.genre}",
            f"mood/{self.mood}",
            f"lead/{self.lead}",
            f"tempo/{self.tempo}",
        )

    @property
    def bpm(self) -> float:
        """Beats per minute."""
        return 60 * FRAMES_PER_SECOND / self.beat_frames

    @property
    def tick_frames(self) -> int:
        """Frames of the smallest regular step: a sixteenth, or a triplet where the piece swings."""
        return self.beat_frames // self.ticks_per_beat

    @property
    def bar_frames(self) -> int:
        return self.beat_frames * self.beats_per_bar

    @property
    def frames(self) -> int:
        """Length of the piece in frames."""
        return self.bars * self.bar_frames

    @property
    def duration_s(self) -> float:
        return self.frames / FRAMES_PER_SECOND

    def part(self, role: str) -> Part:
        """The part with this role. Raises :class:`KeyError`."""
        for part in self.parts:
            if part.role == role:
                return part
        raise KeyError(role)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of everything above: the identity of the composition."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()
