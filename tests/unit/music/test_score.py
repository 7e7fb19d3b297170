"""Scores: ticks and seconds, an exact round trip, and what is refused."""

from __future__ import annotations

import json

import pytest

from studio.core.errors import ConfigError
from studio.music.composer.notation.score import METRES, Chord, Mix, Note, Part, Score, Section


def score(**changes: object) -> Score:
    values: dict[str, object] = {
        "tags": ("genre/jazz", "mood/calm"),
        "seed": 7,
        "genre": "jazz",
        "mood": "calm",
        "lead": "flute",
        "tempo": "medium",
        "tonic": 6,
        "mode": "dorian",
        "bpm": 93.7,
        "metre": "12/8",
        "duration_s": 10.1,
        "sections": (Section("verse2", 0, 2),),
        "chords": (Chord(0, 1920, "F#m7", (6, 9, 1, 4), (6, 8, 9, 11, 1, 3, 4)),),
        "parts": (Part("lead", "lead", 73, 1.5, -0.1, (Note(0, 479, 72, 90),)),),
        "mix": Mix(-1.5, 0.22),
        "feel": "swing",
    }
    return Score(**{**values, **changes})  # type: ignore[arg-type]  # a table of fields


def test_a_score_is_read_back_exactly_and_has_the_same_digest():
    read = Score.from_json(score().to_json())
    assert read == score()
    assert read.digest() == score().digest()
    assert read.digest() != score(bpm=93.8).digest()


def test_a_beat_of_a_compound_metre_is_a_dotted_quarter_note():
    assert score().seconds(480) == pytest.approx(60 / 93.7)
    assert [METRES[m].bar_ticks for m in ("4/4", "3/4", "6/8", "12/8")] == [1920, 1440, 960, 1920]
    assert score().ticks(score().seconds(777)) == pytest.approx(777)


def test_the_kind_of_a_section_is_its_name_without_a_number():
    assert score().sections[0].kind == "verse"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "[" * 100_000])
def test_anything_else_is_refused_as_no_score(text):
    with pytest.raises(ConfigError, match="no score"):
        Score.from_json(text)


@pytest.mark.parametrize("field", ["format", "version", "parts", "mix", "chords", "tags"])
def test_a_score_without_a_field_or_of_another_version_is_refused(field):
    data = json.loads(score().to_json())
    del data[field]
    with pytest.raises(ConfigError, match="no score"):
        Score.from_json(json.dumps(data))


def test_unknown_stems_and_metres_are_refused_by_name():
    with pytest.raises(ConfigError, match="kazoo"):
        Part("lead", "kazoo", 0, 0.0, 0.0, ())
    with pytest.raises(ConfigError, match="5/4"):
        score(metre="5/4")
