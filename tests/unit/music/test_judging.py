"""The judge of evaluations: it hears what it learnt, and says so when music is something else."""

from __future__ import annotations

import numpy as np
import pytest

from studio.music.models.house.notes import RATE
from studio.music.training.evaluation.beside import FreshRequest, fresh_requests
from studio.music.training.evaluation.classifier import TagClassifier, heard
from studio.music.training.evaluation.judging import heard_as_asked
from watermark.audio.waveform import Waveform

TAGS = (
    "genre/jazz", "genre/rock", "mood/calm", "mood/dark", "lead/flute", "lead/organ",
    "tempo/fast", "tempo/slow",
)  # fmt: skip


def sound(request: FreshRequest) -> Waveform:
    """Pulses whose pitch, colour, level of noise and rate each follow one kind of tag."""
    rng = np.random.default_rng(request.seed)
    genre, mood, lead, tempo = (tag.split("/")[1] for tag in request.tags)
    t = np.arange(5 * RATE) / RATE
    beat = 4.0 if tempo == "fast" else 1.5
    envelope = np.exp(-6 * (t * beat % 1) / beat)
    tone = np.sin(2 * np.pi * (300 if genre == "jazz" else 900) * t)
    if lead == "organ":
        tone += np.sin(2 * np.pi * 3000 * t)
    noise = rng.normal(size=t.shape) * (0.3 if mood == "dark" else 0.003)
    return Waveform(np.float32(0.1 * (tone * envelope + noise))[None], RATE)


@pytest.fixture(scope="module")
def judge():
    requests = fresh_requests(TAGS, per_genre=20, seed=1)
    judge = TagClassifier(TAGS)
    judge.fit((heard([sound(r) for r in requests]), [r.tags for r in requests]), seed=1)
    return judge


@pytest.mark.slow
def test_what_was_asked_for_is_heard_and_something_else_is_not(judge):
    requests = fresh_requests(TAGS, per_genre=8, seed=2)
    real = [sound(request) for request in requests]
    right = heard_as_asked(judge, requests, real, real)
    other = [
        FreshRequest(
            tuple(TAGS[2 * (TAGS.index(tag) // 2) + 1 - TAGS.index(tag) % 2] for tag in r.tags),
            r.seed,
        )
        for r in requests
    ]
    wrong = heard_as_asked(judge, requests, [sound(request) for request in other], real)
    for kind in ("genre", "mood", "lead", "tempo"):
        assert right[kind]["performance"] > 0.7
        assert right[kind]["performance"] == right[kind]["composer's render"]
        assert right[kind]["chance"] == 0.5
        assert wrong[kind]["performance"] < 0.3


@pytest.mark.slow
def test_the_distance_grows_with_the_difference(judge):
    requests = fresh_requests(TAGS, per_genre=8, seed=3)
    real = [sound(request) for request in requests]
    noise = [
        Waveform(np.random.default_rng(k).normal(size=(1, 5 * RATE)).astype(np.float32), RATE)
        for k in range(len(real))
    ]
    same = heard_as_asked(judge, requests, real, real)["frechet_distance"]["performance"]
    other = heard_as_asked(judge, requests, noise, real)["frechet_distance"]["performance"]
    assert same == pytest.approx(0, abs=1e-3)
    assert other > 10 * abs(same) + 1
