"""The plan of a piece: style, key, tempo, form, and the chords of every bar.

A plan follows what the artist fixed and draws the rest by the seed. A piece ends with a chord that
rings: tempo and form are chosen together, so that it falls on the first beat of a bar and rings for
one and a half to three seconds. Where a fixed tempo leaves no choice, it falls on a later beat.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from studio.core.errors import ConfigError, HouseError
from studio.music.composer.notation.fixed import BPM_RANGE, Fixed
from studio.music.composer.notation.harmony import SCALES
from studio.music.composer.notation.rhythm import Feel
from studio.music.composer.notation.score import METRES, TICKS_PER_BEAT, Chord, Metre, Section
from studio.music.composer.planning.changes import Changes
from studio.music.composer.planning.palette import (
    LEADS,
    MOODS,
    PLAIN,
    Lead,
    Mood,
    plain_mood,
    usual_leads,
)
from studio.music.composer.styles import STYLES, Style

__all__ = [
    "DURATIONS_S",
    "TEMPO_BANDS",
    "Plan",
    "heard_key",
    "names_of",
    "plan_piece",
    "tempo_word",
]

TEMPO_BANDS = {"slow": (56.0, 72.0), "medium": (86.0, 114.0), "fast": (126.0, 170.0)}
"""Beats a minute of the tempo words; a genre may have a narrower range of its own."""

DURATIONS_S = (3.0, 600.0)
"""Shortest and longest piece, in seconds."""

_RING_S = {"hold": (1.6, 2.8), "button": (0.9, 1.9)}
_SEQUENCES = {
    1: "c", 2: "vc", 3: "vcc", 4: "vcvc", 5: "vvcbc", 6: "vcvcbc", 7: "vvcvcbc", 8: "vvcvcbcc",
}  # fmt: skip
_KINDS = {"v": "verse", "c": "chorus", "b": "bridge"}


def tempo_word(bpm: float) -> str:
    """The tempo word of a beat.

    >>> [tempo_word(bpm) for bpm in (60, 100, 140)]
    ['slow', 'medium', 'fast']
    """
    return "slow" if bpm < 79 else "medium" if bpm < 120 else "fast"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before a note is written.

    ``bars`` holds the chords of every bar; the last chord begins at ``final_tick`` and rings until
    ``end_tick``.
    """

    tags: tuple[str, ...]
    seed: int
    style: Style
    mood: Mood
    lead: Lead
    tempo: str
    tonic: int
    mode: str
    bpm: float
    metre: Metre
    feel: Feel
    duration_s: float
    sections: tuple[Section, ...]
    bars: tuple[tuple[Chord, ...], ...]
    final_tick: int
    end_tick: int
    fixed: Fixed

    @property
    def final_bar(self) -> int:
        return self.final_tick // self.metre.bar_ticks

    @property
    def short(self) -> bool:
        """Whether the piece has no time to build up and plays in full from the first bar."""
        return self.final_bar < 8 or self.duration_s < 16


def names_of(seed: int, tags: Iterable[str]) -> dict[str, str]:
    """Genre, mood and lead for a request.

    Where no tag says, the seed draws a genre and one of the genre's usual leads, and the mood is
    :data:`PLAIN`: a mood or an instrument that nobody asked for is never taken from its tag.

    Raises :class:`HouseError` for a tag that the composer does not know.

    >>> names_of(3, ["genre/waltz"])
    {'genre': 'waltz', 'mood': 'plain', 'lead': 'clarinet'}
    """
    rows: tuple[tuple[str, Iterable[str]], ...] = (
        ("genre", STYLES), ("mood", MOODS), ("lead", LEADS), ("tempo", TEMPO_BANDS),
    )  # fmt: skip
    known = {kind: frozenset(names) for kind, names in rows}
    asked: dict[str, str] = {}
    for tag in tags:
        kind, _, name = tag.partition("/")
        if name not in known.get(kind, ()):
            raise HouseError(f"the composer does not know {tag[:60]!r}")
        asked[kind] = name
    draw = random.Random(f"{seed}/names")
    genre = asked.get("genre") or draw.choice(tuple(STYLES))
    lead = random.Random(f"{seed}/lead").choice(usual_leads(genre))
    return {"genre": genre, "mood": PLAIN, "lead": lead, **asked}


def plan_piece(tags: Sequence[str], seed: int, duration_s: float | None, fixed: Fixed) -> Plan:
    """Plan a piece. Raises :class:`HouseError` or :class:`ConfigError` for what cannot be."""
    names = names_of(seed, tags)
    style, lead = STYLES[names["genre"]], LEADS[names["lead"]]
    draw = random.Random(f"{seed}/plan")
    mood = MOODS.get(names["mood"]) or plain_mood(random.Random(f"{seed}/mood").random() < 0.65)
    metre = METRES[fixed.metre or style.metre]
    feel = Feel("straight" if metre.compound else fixed.feel or style.feel)
    tonic = draw.choice(style.keys) if fixed.tonic is None else fixed.tonic
    major = mood.major if fixed.mode is None else 4 in SCALES[fixed.mode]
    harmony = style.major if major else style.minor
    mode = fixed.mode or harmony.mode
    if fixed.tonic is None and fixed.mode is None:
        tonic, mode = heard_key(fixed, tonic, mode)
        harmony = style.major if 4 in SCALES[mode] else style.minor
    _check_melodies(fixed, metre)
    bpm, duration, final_tick = _tempo(
        style, mood, names.get("tempo"), metre, fixed, duration_s, draw
    )
    end_tick = int(duration * bpm * TICKS_PER_BEAT / 60.0)
    sections = _form(style, metre, fixed, final_tick // metre.bar_ticks, duration)
    changes = Changes(style, harmony, tonic, mode, metre, fixed, draw)
    bars = changes.bars(sections, final_tick, end_tick)
    return Plan(
        tuple(tags), seed, style, mood, lead, names.get("tempo") or tempo_word(bpm), tonic, mode,
        bpm, metre, feel, duration, sections, bars, final_tick, end_tick, fixed,
    )  # fmt: skip


def _check_melodies(fixed: Fixed, metre: Metre) -> None:
    """Raise :class:`ConfigError` for a typed bar that no bar of the metre can be divided into."""
    for section, rows in fixed.melodies:
        for number, row in enumerate(rows, start=1):
            slots = row[0].slots if row else 1
            if metre.bar_ticks % slots:
                raise ConfigError(
                    f"{section or 'melody'}, bar {number}: {slots} places for notes do not fit a "
                    f"bar of {metre.name}"
                )


# Key ------------------------------------------------------------------------------------------

# How well a pitch class fits a key, by steps over the tonic (Krumhansl and Kessler 1982).
_PROFILES = {
    "major": (6.4, 2.2, 3.5, 2.3, 4.4, 4.1, 2.5, 5.2, 2.4, 3.7, 2.3, 2.9),
    "minor": (6.3, 2.7, 3.5, 5.4, 2.6, 3.5, 2.5, 4.8, 4.0, 2.7, 3.3, 3.2),
}


def heard_key(fixed: Fixed, tonic: int, mode: str) -> tuple[int, str]:
    """The key that the fixed chords and notes are in; the composer's choice where there are none.

    The first and the last root count most.
    """
    weights = [0.0] * 12
    for _, melody in fixed.melodies:
        for bar in melody:
            for note in bar or ():
                weights[note.pitch % 12] += note.length / note.slots
    roots = []
    for _, rows in fixed.chords:
        for row in rows:
            for chord in row:
                roots.append(chord.name.tones[0])
                for tone in chord.name.tones[:3]:
                    weights[tone] += 0.5
    if not any(weights):
        return tonic, mode
    for root in roots[:1] + roots[-1:]:
        weights[root] += 1.0

    def fit(key: tuple[int, str]) -> tuple[float, int, str]:
        profile = _PROFILES[key[1]]
        mean = sum(profile) / 12
        return (sum(w * (profile[(i - key[0]) % 12] - mean) for i, w in enumerate(weights)), *key)

    return max(((t, m) for t in range(12) for m in ("major", "minor")), key=fit)


# Tempo ----------------------------------------------------------------------------------------


def _tempo(
    style: Style,
    mood: Mood,
    word: str | None,
    metre: Metre,
    fixed: Fixed,
    duration_s: float | None,
    draw: random.Random,
) -> tuple[float, float, int]:
    """Beats a minute, seconds in all, and the tick of the last chord."""
    if duration_s is not None and not DURATIONS_S[0] <= duration_s <= DURATIONS_S[1]:
        raise ConfigError(f"a piece lasts {DURATIONS_S[0]:g} to {DURATIONS_S[1]:g} s")
    low, high = style.home if word is None else style.bands.get(word, TEMPO_BANDS[word])
    if fixed.bpm is not None:
        if word is not None and tempo_word(fixed.bpm) != word:
            raise ConfigError(
                f"{fixed.bpm:g} beats a minute are {tempo_word(fixed.bpm)}, but tempo/{word} is "
                f"asked for; ask for tempo/{tempo_word(fixed.bpm)} or leave the tempo tag out"
            )
        low = high = fixed.bpm
    steps = 60
    candidates = sorted({round(low + (high - low) * i / steps, 1) for i in range(steps + 1)})
    ring = _RING_S[style.ending]
    bars = sum(fixed.bars_of(name, bars) for name, bars in fixed.form)
    if bars:
        return _tempo_of_form(bars, metre, candidates, fixed, duration_s, ring, word)
    duration = 32.0 if duration_s is None else float(duration_s)
    best: tuple[float, float, int] | None = None
    for bpm in candidates:
        beat = 60.0 / bpm
        final = _final_beat(duration, beat, metre, ring)
        left = duration - final * beat
        full, rest = divmod(final, metre.beats)
        cost = 1.5 * max(0.0, left - ring[1], ring[0] - left) + (1.0 if rest else 0.0)
        if style.bars != 12:
            cost += (0.3 if full % 2 else 0.0) + (0.2 if full > 6 and full % 4 else 0.0)
        place = 0.5 if high == low else (bpm - low) / (high - low)
        cost += 0.6 * abs(place - mood.place) + 0.8 * draw.random()
        if best is None or cost < best[0]:
            best = (cost, bpm, final)
    assert best is not None  # there is always a candidate
    return best[1], duration, best[2] * TICKS_PER_BEAT


def _final_beat(duration: float, beat: float, metre: Metre, ring: tuple[float, float]) -> int:
    """The beat of the last chord: the start of a bar if it can be, or else the middle of one."""
    most = max(1, int((duration - ring[0]) / beat + 1e-9))
    for step in (metre.beats, 2 if metre.beats == 4 else 1):
        final = most // step * step
        if final >= 1 and duration - final * beat <= ring[1] + 0.6:
            return final
    return most


def _tempo_of_form(
    bars: int,
    metre: Metre,
    candidates: Sequence[float],
    fixed: Fixed,
    duration_s: float | None,
    ring: tuple[float, float],
    word: str | None,
) -> tuple[float, float, int]:
    beats = (bars - 1) * metre.beats
    if beats == 0:
        raise ConfigError("a form has at least two bars: the last one is its last chord")
    if duration_s is None:
        bpm = candidates[len(candidates) // 2]
        duration = beats * 60.0 / bpm + min(ring[1], max(ring[0], metre.beats * 60.0 / bpm))
        if duration > DURATIONS_S[1]:
            raise ConfigError(f"{bars} bars at {bpm:g} beats a minute last more than 10 minutes")
        return bpm, round(duration, 3), beats * TICKS_PER_BEAT
    duration = float(duration_s)
    fits = [
        bpm for bpm in candidates if ring[0] - 0.3 <= duration - beats * 60.0 / bpm <= ring[1] + 0.7
    ]
    if fits:
        return fits[len(fits) // 2], duration, beats * TICKS_PER_BEAT
    wanted = beats * 60.0 / max(0.5, duration - (ring[0] + ring[1]) / 2)
    low, high = BPM_RANGE
    if fixed.bpm is None and low <= wanted <= high and word in (None, tempo_word(wanted)):
        return round(wanted, 1), duration, beats * TICKS_PER_BEAT
    at = fixed.bpm or min(candidates, key=lambda bpm: abs(bpm - wanted))
    lasts = beats * 60.0 / at + sum(ring) / 2
    raise ConfigError(
        f"a form of {bars} bars of {metre.name} lasts {lasts:.0f} s at {at:g} beats a minute, "
        f"not {duration:g} s; change its bars, the tempo or the length"
    )


# Form -----------------------------------------------------------------------------------------


def _form(
    style: Style, metre: Metre, fixed: Fixed, full: int, duration: float
) -> tuple[Section, ...]:
    """The sections; ``full`` bars are whole, one more holds the last chord."""
    if fixed.form:
        rows = [(name, fixed.bars_of(name, bars)) for name, bars in fixed.form]
    else:
        rows = _drawn_form(style, full, duration)
    sections, start = [], 0
    seen: dict[str, int] = {}
    for name, bars in rows:
        seen[name] = seen.get(name, 0) + 1
        numbered = name if seen[name] == 1 or fixed.form else f"{name}{min(9, seen[name])}"
        sections.append(Section(numbered, start, bars))
        start += bars
    return tuple(sections)


def _drawn_form(style: Style, full: int, duration: float) -> list[tuple[str, int]]:
    ending = 1 if full < 7 else 2 if full < 22 else 4
    bar_s = duration / (full + 1)
    intro = 0 if duration < 16 or full < 8 else 2 if full < 26 or bar_s > 2.4 else 4
    body = full + 1 - ending - intro
    if body < 1:
        return [("chorus", full), ("ending", 1)] if full else [("ending", 1)]
    phrase = 8 if body >= 30 else 4
    if style.bars == 12 and body >= 12:
        phrase = 12
    count = max(1, round(body / phrase))
    order = _SEQUENCES.get(count, "")
    while len(order) < count:
        order = "vc" + (order or _SEQUENCES[8 if count % 2 == 0 else 7])
    sizes = [phrase] * count
    sizes[-1] += body - phrase * count
    rows = [(_KINDS[letter], size) for letter, size in zip(order, sizes, strict=False)]
    return [*([("intro", intro)] if intro else []), *rows, ("ending", ending)]
