"""Variations of scores: what is kept is kept note for note, the rest is other, over all genres."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studio.core.errors import ConfigError
from studio.music.composer.arrange import Arranger, compose_score
from studio.music.composer.continuation import continued
from studio.music.composer.notation.score import STEMS
from studio.music.composer.planning.palette import LEADS, MOODS
from studio.music.composer.styles import STYLES
from studio.music.composer.variation import other_instruments, plan_of, redone, same_chords

CASES = [
    (genre, mood, lead)
    for number, genre in enumerate(sorted(STYLES))
    for mood, lead in [
        (None, None),
        (sorted(MOODS)[number % len(MOODS)], sorted(LEADS)[3 * number % len(LEADS)]),
    ]
]


def written(genre, mood, lead):
    """A piece of 12 s, and for those with a mood one that was extended by 9 s."""
    tags = [
        f"genre/{genre}",
        *([f"mood/{mood}"] if mood else []),
        *([f"lead/{lead}"] if lead else []),
    ]
    score = compose_score(tags, len(genre) + len(tags), 12)
    return score if mood is None else continued(score, 21, 5)


@pytest.mark.parametrize(("genre", "mood", "lead"), CASES)
def test_a_plan_read_back_from_a_score_writes_that_score(genre, mood, lead):
    tags = [
        f"genre/{genre}",
        *([f"mood/{mood}"] if mood else []),
        *([f"lead/{lead}"] if lead else []),
    ]
    score = compose_score(tags, 31, 14)
    assert Arranger(plan_of(score, score.seed)).score() == score


@pytest.mark.parametrize(("genre", "mood", "lead"), CASES)
def test_one_stem_is_new_and_nothing_else(genre, mood, lead):
    score = written(genre, mood, lead)
    for stem in STEMS:
        if not score.stem(stem):
            with pytest.raises(ConfigError, match=f"no {stem}"):
                redone(score, stem, 77)
            continue
        new = redone(score, stem, 77)
        assert {s for s in STEMS if new.stem(s) != score.stem(s)} == {stem}
        assert replace(new, parts=()) == replace(score, parts=())
        programs = {part.role: part.program for part in reversed(score.stem(stem))}
        for part in new.stem(stem):
            assert part.program == programs.get(part.role, part.program)
        assert new == redone(score, stem, 77)
        assert max(n.end for p in new.parts for n in p.notes) <= score.ticks(score.duration_s)


@pytest.mark.parametrize(("genre", "mood", "lead"), CASES)
def test_chords_stay_under_a_new_melody(genre, mood, lead):
    score = written(genre, mood, lead)
    new = same_chords(score, score.tags, 78)
    for name in (
        "chords",
        "sections",
        "tonic",
        "mode",
        "bpm",
        "metre",
        "feel",
        "duration_s",
        "lead",
    ):
        assert getattr(new, name) == getattr(score, name)
    assert new.stem("lead") != score.stem("lead")
    strong = [n for p in new.stem("lead") for n in p.notes if n.start % new.bar_ticks == 0]
    inside = [n.pitch % 12 in new.chord_at(n.start).tones for n in strong]
    assert sum(inside) >= 0.7 * len(inside)


@pytest.mark.parametrize(("genre", "mood", "lead"), CASES)
def test_other_instruments_play_every_note(genre, mood, lead):
    score = written(genre, mood, lead)
    tags = [tag for tag in score.tags if not tag.startswith("lead/")] + ["lead/trombone"]
    new = other_instruments(score, tags, 79)
    wanted = LEADS["trombone"]
    for part, was in zip(new.parts, score.parts, strict=True):
        if part.stem != "lead":
            assert replace(part, program=was.program) == was
            assert (part.program == was.program) or not part.percussion
            continue
        for note, before in zip(part.notes, was.notes, strict=True):
            assert replace(note, pitch=before.pitch) == before
            assert (note.pitch - before.pitch) % 12 == 0
            assert score.lead == "trombone" or wanted.low <= note.pitch <= wanted.high
    assert new.lead == "trombone"
    assert new.tags == tuple(tags)
    assert [p.program for p in new.parts] != [p.program for p in score.parts]


def test_a_melody_moves_as_a_whole_where_its_range_allows():
    score = compose_score(["genre/folk", "lead/cello"], 3, 20)
    new = other_instruments(score, ["genre/folk", "lead/flute"], 4)
    moves = {
        a.pitch - b.pitch
        for p, q in zip(new.stem("lead"), score.stem("lead"), strict=True)
        for a, b in zip(p.notes, q.notes, strict=True)
    }
    assert len(moves) == 1
    assert moves.pop() in (12, 24, 36)


def test_scores_of_others_are_refused():
    score = compose_score(["genre/folk"], 3, 10)
    for strange in (
        replace(score, genre="polka"),
        replace(score, chords=()),
        replace(score, chords=score.chords[-1:]),
    ):
        with pytest.raises(ConfigError, match="this score"):
            plan_of(strange, 1)
    with pytest.raises(ConfigError, match="not one of the stems"):
        redone(score, "vocals", 1)
