"""A score that goes on: the piece as it was up to its last chord, then more of it.

>>> from studio.music.composer.arrange import compose_score
>>> score = compose_score(["genre/waltz", "mood/calm", "lead/violin"], seed=4, duration_s=10)
>>> longer = continued(score, 18.0, seed=5)
>>> longer.duration_s, longer.tags == score.tags, longer.bpm == score.bpm
(18.0, True, True)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from studio.core.errors import ConfigError
from studio.music.composer.arrange import compose_score
from studio.music.composer.notation.fixed import Fixed
from studio.music.composer.notation.score import Note, Part, Score, Section
from studio.music.composer.planning.plan import DURATIONS_S

__all__ = ["continued"]


def continued(score: Score, duration_s: float, seed: int) -> Score:
    """`score` up to the bar of its last chord, and new music after it, `duration_s` in all.

    Key, tempo, metre, genre, mood and lead stay; `seed` decides what follows. Raises
    :class:`ConfigError` where `duration_s` is not longer than the score.
    """
    if not score.duration_s < duration_s <= DURATIONS_S[1]:
        raise ConfigError(
            f"a piece of {score.duration_s:g} s goes on to at most {DURATIONS_S[1]:g} s in all, "
            f"not to {duration_s:g} s"
        )
    cut_bar = score.chords[-1].start // score.bar_ticks
    while cut_bar > 0 and duration_s - score.seconds(cut_bar * score.bar_ticks) < DURATIONS_S[0]:
        cut_bar -= 1
    cut = cut_bar * score.bar_ticks
    tail = _tail(score, duration_s - score.seconds(cut), seed)
    parts = _joined(
        [_before(part, cut) for part in score.parts], [_after(part, cut) for part in tail.parts]
    )
    kept = [replace(c, length=min(c.length, cut - c.start)) for c in score.chords if c.start < cut]
    return replace(
        score,
        duration_s=duration_s,
        sections=_sections(score.sections, tail.sections, cut_bar),
        chords=(*kept, *(replace(c, start=c.start + cut) for c in tail.chords)),
        parts=tuple(part for part in parts if part.notes),
    )


def _tail(score: Score, duration_s: float, seed: int) -> Score:
    """New music in the same key and tempo, without an introduction."""
    tags = [tag for tag in score.tags if tag.split("/")[0] not in ("genre", "lead", "tempo")]
    tags += [f"genre/{score.genre}", f"lead/{score.lead}"]
    fixed = Fixed(
        tonic=score.tonic, mode=score.mode, bpm=score.bpm, metre=score.metre, feel=_feel(score)
    )
    tail = compose_score(tags, seed, duration_s, fixed)
    intro = tail.sections[0].bars if tail.sections[0].kind == "intro" else 0
    if not intro:
        return tail
    spare = tail.seconds(intro * tail.bar_ticks)
    if duration_s + spare > DURATIONS_S[1]:
        return tail
    tail = compose_score(tags, seed, duration_s + spare, fixed)
    if tail.sections[0].kind != "intro" or tail.sections[0].bars != intro:
        return compose_score(tags, seed, duration_s, fixed)
    return _without_beginning(tail, intro, duration_s)


def _feel(score: Score) -> str | None:
    """A compound metre has its own feel, which cannot be fixed."""
    return None if score.metre in ("6/8", "12/8") else score.feel


def _without_beginning(score: Score, bars: int, duration_s: float) -> Score:
    first = bars * score.bar_ticks
    parts = tuple(
        replace(
            part,
            notes=tuple(
                replace(note, start=note.start - first)
                for note in part.notes
                if note.start >= first
            ),
        )
        for part in score.parts
    )
    return replace(
        score,
        duration_s=duration_s,
        sections=tuple(
            replace(section, first_bar=section.first_bar - bars) for section in score.sections[1:]
        ),
        chords=tuple(
            replace(chord, start=chord.start - first)
            for chord in score.chords
            if chord.start >= first
        ),
        parts=parts,
    )


def _before(part: Part, cut: int) -> Part:
    notes = (_shortened(note, cut) for note in part.notes if note.start < cut)
    return replace(part, notes=tuple(notes))


def _shortened(note: Note, cut: int) -> Note:
    return replace(note, length=min(note.length, cut - note.start))


def _after(part: Part, cut: int) -> Part:
    return replace(part, notes=tuple(replace(n, start=n.start + cut) for n in part.notes))


def _joined(before: Sequence[Part], after: Sequence[Part]) -> list[Part]:
    """Parts of one player made one; what only one of the two has stays as it is."""
    rest = list(after)
    parts = []
    for part in before:
        match = next((other for other in rest if _player(other) == _player(part)), None)
        if match is None:
            parts.append(part)
        else:
            rest.remove(match)
            parts.append(replace(part, notes=(*part.notes, *match.notes)))
    return parts + rest


def _player(part: Part) -> tuple[str, str, int, bool]:
    return part.role, part.stem, part.program, part.percussion


def _sections(
    before: Iterable[Section], after: Iterable[Section], cut_bar: int
) -> tuple[Section, ...]:
    """The form up to the cut, then the new one; repeated kinds are numbered on."""
    rows = [
        replace(section, bars=min(section.bars, cut_bar - section.first_bar))
        for section in before
        if section.first_bar < cut_bar and section.kind != "ending"
    ]
    end = rows[-1].first_bar + rows[-1].bars if rows else 0
    if end < cut_bar:  # the ending's first bars are music like any other
        rows.append(Section(rows[-1].kind if rows else "chorus", end, cut_bar - end))
    rows += [replace(section, first_bar=section.first_bar + cut_bar) for section in after]
    seen: dict[str, int] = {}
    numbered = []
    for section in rows:
        kind = section.kind
        seen[kind] = seen.get(kind, 0) + 1
        name = kind if seen[kind] == 1 else f"{kind}{min(9, seen[kind])}"
        numbered.append(replace(section, name=name))
    return tuple(numbered)
