"""Training recipes: the shipped ones are read, and each fault is named with the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from studio.core.errors import ConfigError
from studio.music.training.evaluation.judge_clips import JudgeDataConfig
from studio.music.training.evaluation.judge_training import JudgeTrainingConfig
from studio.music.training.performer.data import PerformanceDataConfig
from studio.music.training.performer.training import PerformerTrainingConfig
from studio.music.training.recipe import read_part, read_profile
from studio.music.training.stems.codec_training import StemTrainingConfig
from studio.music.training.stems.recipe import StemDataConfig

TRAIN = Path(__file__).parents[3] / "configs" / "train"


@dataclass
class Options:
    seed: int = 1
    steps: int = 10


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_shipped_recipes_are_read():
    JudgeDataConfig.load(TRAIN / "judge.yaml")
    JudgeTrainingConfig.load(TRAIN / "judge.yaml")
    StemDataConfig.load(TRAIN / "stem-codec.yaml")
    PerformanceDataConfig.load(TRAIN / "performer.yaml")
    for profile in ("cpu", "gpu"):
        StemTrainingConfig.load(TRAIN / "stem-codec.yaml", profile)
        PerformerTrainingConfig.load(TRAIN / "performer.yaml", profile)


def test_a_profile_changes_what_it_names(recipe):
    path = recipe("training: {seed: 4}\nprofiles: {cpu: {steps: 2}, gpu: {}}")
    assert read_profile(Options, path, "cpu") == Options(4, 2)
    assert read_profile(Options, path, "gpu") == Options(4, 10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {seed: 1, stepz: 2}", "unknown option stepz"),
        ("data: [1, 2]", "no part 'data'"),
        ("other: {}", "no part 'data'"),
        ("[]", "is no recipe"),
        ("data: {seed: [", "cannot read the recipe"),
    ],
)
def test_a_fault_is_named_with_the_file(recipe, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        read_part(Options, recipe(text), "data")
    assert "recipe.yaml" in str(caught.value)


def test_a_profile_that_is_not_there_is_told_from_those_that_are(recipe):
    path = recipe("profiles: {cpu: {}, gpu: {}}")
    with pytest.raises(ConfigError, match="no profile 'tpu'; profiles are cpu, gpu"):
        read_profile(Options, path, "tpu")
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_profile(Options, path.with_name("absent.yaml"), "cpu")
