"""Variations of a score: the same chords with new music, other instruments, one stem anew.

What a variation keeps is the recorded score's own, note for note; the rest follows a seed.

>>> from studio.music.composer.arrange import compose_score
>>> score = compose_score(["genre/waltz", "mood/calm", "lead/violin"], seed=4, duration_s=10)
>>> new = redone(score, "lead", seed=9)
>>> new.stem("bass") == score.stem("bass"), new.stem("lead") == score.stem("lead")
(True, False)
>>> same_chords(score, score.tags, seed=9).chords == score.chords
True
>>> other_instruments(score, ["genre/waltz", "mood/calm", "lead/flute"], seed=9).lead
'flute'
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from studio.core.errors import ConfigError
from studio.music.composer.arrange import Arranger
from studio.music.composer.notation.fixed import Fixed
from studio.music.composer.notation.harmony import SCALES
from studio.music.composer.notation.rhythm import Feel
from studio.music.composer.notation.score import (
    METRES,
    STEMS,
    TICKS_PER_BEAT,
    Chord,
    Note,
    Part,
    Score,
)
from studio.music.composer.planning.palette import LEADS, MOODS, Lead, plain_mood, usual_leads
from studio.music.composer.planning.plan import Plan
from studio.music.composer.styles import STYLES

__all__ = ["other_instruments", "plan_of", "redone", "same_chords"]

_ATTEMPTS = 8
"""Seeds that are tried until what is composed differs from the parent's."""

# General MIDI programs that can take each other's part.
_FAMILIES = (
    (0, 1, 2, 4, 5), (6, 7, 15), (8, 9, 10, 11, 12, 13, 14), (16, 17, 18, 19, 20), (21, 22, 23),
    (24, 25, 26, 27), (29, 30), (32, 33, 34, 35), (36, 37), (38, 39), (40, 41, 110), (42, 43),
    (44, 48), (45, 46), (48, 49, 50, 51), (52, 53, 54), (56, 57, 59, 60), (58, 70), (61, 62, 63),
    (64, 65, 66, 67), (68, 69, 71), (72, 73, 74, 75, 79), (80, 81, 84, 87),
    (88, 89, 90, 91, 94, 95), (104, 105, 106, 107),
)  # fmt: skip


def plan_of(score: Score, seed: int) -> Plan:
    """The plan of a score that is there: its form, key, tempo and chords; `seed` for the players.

    Raises :class:`ConfigError` for a score that this composer cannot have written.
    """
    metre = METRES[score.metre]
    style, lead = STYLES.get(score.genre), LEADS.get(score.lead)
    if style is None or lead is None or not score.chords or not score.sections:
        raise ConfigError("this score was not written by this studio's composer")
    final = score.chords[-1].start
    bars: list[list[Chord]] = [[] for _ in range(final // metre.bar_ticks + 1)]
    for chord in score.chords:
        bars[chord.start // metre.bar_ticks].append(chord)
    if not all(bars):
        raise ConfigError("this score has bars in which no chord begins")
    return Plan(
        tags=score.tags,
        seed=seed,
        style=style,
        mood=MOODS.get(score.mood) or plain_mood(4 in SCALES[score.mode]),
        lead=lead,
        tempo=score.tempo,
        tonic=score.tonic,
        mode=score.mode,
        bpm=score.bpm,
        metre=metre,
        feel=Feel(score.feel),
        duration_s=score.duration_s,
        sections=score.sections,
        bars=tuple(tuple(row) for row in bars),
        final_tick=final,
        end_tick=int(score.duration_s * score.bpm * TICKS_PER_BEAT / 60.0),
        fixed=Fixed(),
    )


def same_chords(score: Score, tags: Sequence[str], seed: int) -> Score:
    """Key, tempo, metre, form and chords of `score`; melody, bass, accompaniment and drums anew.

    The lead is the one that `tags` name, or that of `score`.
    """
    named = replace(score, tags=tuple(tags), lead=_asked_lead(tags) or score.lead)

    def compose(attempt: int) -> Score:
        return Arranger(plan_of(named, attempt)).score()

    return _other(compose, seed, lambda new: new.stem("lead") != score.stem("lead"))


def redone(score: Score, stem: str, seed: int) -> Score:
    """`score` with one of its stems composed anew, on the instruments that it had.

    Raises :class:`ConfigError` where the piece has no such stem.
    """
    if stem not in STEMS:
        raise ConfigError(f"{stem[:20]!r} is not one of the stems {', '.join(STEMS)}")
    if not score.stem(stem):
        raise ConfigError(f"this piece has no {stem}")

    def compose(attempt: int) -> Score:
        new = Arranger(plan_of(score, attempt)).stem(stem, _melody(score))
        played = _on_the_instruments(new, score.stem(stem))
        at = next(i for i, part in enumerate(score.parts) if part.stem == stem)
        rest = [part for part in score.parts if part.stem != stem]
        return replace(score, parts=(*rest[:at], *played, *rest[at:]))

    return _other(compose, seed, lambda new: new.stem(stem) != score.stem(stem))


def other_instruments(score: Score, tags: Sequence[str], seed: int) -> Score:
    """The notes of `score` on other instruments; the drums keep their kit.

    The lead is the one that `tags` name, or another of the genre's own. A lead of another range
    plays by octaves higher or lower where it has to. Raises :class:`ConfigError` where there is no
    other instrument.
    """
    draw = random.Random(f"{seed}/instruments")
    name = _asked_lead(tags)
    if name is None:
        others = [lead for lead in usual_leads(score.genre) if lead != score.lead]
        name = draw.choice(others) if others else score.lead
    if name not in LEADS or score.genre not in STYLES:
        raise ConfigError("this score was not written by this studio's composer")
    lead = LEADS[name]
    program = STYLES[score.genre].lead_programs.get(name, lead.program)
    taken = {program}
    parts: list[Part] = []
    for part in score.parts:
        if part.percussion:
            parts.append(part)
        elif part.stem == "lead":
            notes = part.notes if name == score.lead else _within(part.notes, lead)
            level = part.level_db if name == score.lead else lead.level_db
            parts.append(replace(part, program=program, notes=notes, level_db=level))
        else:
            family = next((row for row in _FAMILIES if part.program in row), ())
            free = [p for p in family if p != part.program and p not in taken]
            chosen = draw.choice(free) if free else part.program
            taken.add(chosen)
            parts.append(replace(part, program=chosen))
    if [part.program for part in parts] == [part.program for part in score.parts]:
        raise ConfigError("no other instruments are known for this piece; name another lead")
    return replace(score, tags=tuple(tags), lead=name, parts=tuple(parts))


# Helpers --------------------------------------------------------------------------------------


def _other(compose: Callable[[int], Score], seed: int, differs: Callable[[Score], bool]) -> Score:
    """What the first of a few seeds composes that differs from what was there."""
    for attempt in range(seed, seed + _ATTEMPTS):
        if differs(new := compose(attempt)):
            return new
    raise ConfigError("there is no other way to play this; choose something else to change")


def _asked_lead(tags: Iterable[str]) -> str | None:
    return next((tag.removeprefix("lead/") for tag in tags if tag.startswith("lead/")), None)


def _melody(score: Score) -> Part:
    """The lead's notes as one part."""
    parts = score.stem("lead")
    if not parts:
        raise ConfigError("this piece has no lead")
    notes = sorted((note for part in parts for note in part.notes), key=lambda n: n.start)
    return replace(parts[0], notes=tuple(notes))


def _on_the_instruments(new: Iterable[Part], old: Sequence[Part]) -> list[Part]:
    """The new parts; a player who was there keeps instrument, level and place."""
    before = {part.role: part for part in reversed(old)}
    return [
        replace(part, program=was.program, level_db=was.level_db, pan=was.pan)
        if (was := before.get(part.role)) is not None
        else part
        for part in new
    ]


def _within(notes: Sequence[Note], lead: Lead) -> tuple[Note, ...]:
    """The melody in the range of an instrument: moved by octaves, as a whole where that does."""
    pitches = [note.pitch for note in notes]
    if not pitches:
        return ()

    def outside(octaves: int) -> tuple[int, float]:
        moved = [pitch + 12 * octaves for pitch in pitches]
        wrong = sum(not lead.low <= pitch <= lead.high for pitch in moved)
        return wrong, abs(sum(moved) / len(moved) - lead.centre)

    best = 12 * min(range(-4, 5), key=outside)
    return tuple(replace(note, pitch=_folded(note.pitch + best, lead)) for note in notes)


def _folded(pitch: int, lead: Lead) -> int:
    while pitch < lead.low:
        pitch += 12
    while pitch > lead.high:
        pitch -= 12
    return pitch
