"""Runs copied from training: planted ones are found, fresh ones are not, silence does not count."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from studio.core.errors import HouseError
from studio.music.models.house.notes import STEMS
from studio.music.training.evaluation.copying import RUN_FRAMES, copied
from studio.music.training.performer.data import SPLITS, PerformanceTrack
from tests.support.performers import small_score

FRAMES = 100
NO_DRUMS = 3
"""Stems of the small score: bass, lead, harmony."""


def tokens(seed):
    return np.random.default_rng(seed).integers(512, size=(2 * len(STEMS), FRAMES))


@pytest.fixture
def folder(tmp_path):
    """Two tracks of every split, as `studio house encode-scores` writes them."""
    score = small_score(2.0)
    rows = []
    for number, split in enumerate(SPLITS * 2):
        identity = f"{split}-{number:05d}"
        order = tokens(number).reshape(2, len(STEMS), FRAMES).transpose(1, 0, 2).reshape(8, FRAMES)
        np.savez(
            tmp_path / f"{identity}.npz",
            tokens=order.astype(np.uint16),
            score=np.frombuffer(score.to_json().encode(), np.uint8),
        )
        row = PerformanceTrack(
            identity, split, score.tags, 1, 2.0, score.digest(), FRAMES, "g", "h"
        )
        rows.append(json.dumps(asdict(row)))
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_fresh_tokens_share_no_run_and_absent_stems_do_not_count(folder):
    found = copied([(tokens(99), small_score(2.0))], folder)
    assert found["all"]["performance"] == 0
    assert found["drums"]["runs"] == 0  # this score has none
    assert found["all"]["runs"] == sum(found[stem]["runs"] for stem in STEMS)
    assert found["training tracks"] == 2


def test_a_planted_run_is_found_in_its_stem_alone(folder):
    copy = tokens(99)
    copy[2::4, 10:50] = tokens(0)[2::4, 30:70]  # track 0 is a training track
    found = copied([(copy, small_score(2.0))], folder)
    runs = 40 - RUN_FRAMES + 1
    assert found["lead"]["performance"] == pytest.approx(runs / found["lead"]["runs"])
    assert found["bass"]["performance"] == found["harmony"]["performance"] == 0
    # The same tokens in another stem are no copy.
    moved = tokens(99)
    moved[1::4, 10:50] = tokens(0)[2::4, 30:70]
    assert copied([(moved, small_score(2.0))], folder)["all"]["performance"] == 0


def test_runs_in_which_no_note_begins_are_left_out(folder):
    whole = copied([(tokens(0), small_score(2.0))], folder)
    assert whole["all"]["performance"] == 1.0
    assert whole["all"]["runs"] == NO_DRUMS * (FRAMES - RUN_FRAMES + 1)
    late = copied([(tokens(0), small_score(0.6))], folder)  # its notes end early
    assert 0 < late["all"]["runs"] < whole["all"]["runs"]


def test_a_folder_without_tracks_is_refused(tmp_path):
    with pytest.raises(HouseError, match="encode them first"):
        copied([], tmp_path)
