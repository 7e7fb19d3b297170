"""A tiny performer with random weights, and a small score that it can play.

::

    directory = tiny_performer(tmp_path)          # weights and card of the third design
    performer = HousePerformer.load(directory)
    performer.perform([(small_score(), 7)])       # two seconds in a tenth of a second
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import yaml

from studio.music.composer.notation.score import Chord, Mix, Note, Part, Score, Section
from studio.music.models.house.language_model import PerformerConfig, build_language_model
from studio.music.models.house.performer import save_performer
from studio.music.models.house.token_stream import StepWeights
from tests.support.models import house_tags
from tests.support.studios import make_studio
from tests.unit.music.test_stem_codec import small_codec

__all__ = [
    "performer_home",
    "small_score",
    "step_weights",
    "tiny_config",
    "tiny_lm",
    "tiny_performer",
]

TAGS = ("genre/jazz", "genre/rock", "mood/calm", "lead/piano", "tempo/medium")


def small_score(duration_s: float = 2.0, *, tags: tuple[str, ...] = TAGS[1:]) -> Score:
    """Two bars of 4/4 at 120 beats a minute: lead, bass and chords; no drums."""

    def part(role: str, stem: str, program: int, pitches: tuple[int, ...], pan: float) -> Part:
        notes = tuple(
            Note(240 * k, 200, pitch, 80 + 5 * (k % 3))
            for k, pitch in enumerate(pitches * 8)
            if 240 * (k + 1) < 960 * duration_s
        )
        return Part(role, stem, program, 0.0, pan, notes)

    return Score(
        tags=tags, seed=3, genre="rock", mood="calm", lead="piano", tempo="medium", tonic=0,
        mode="major", bpm=120.0, metre="4/4", duration_s=duration_s,
        sections=(Section("verse", 0, 2),),
        chords=(Chord(0, 3840, "C", (0, 4, 7), (0, 2, 4, 5, 7, 9, 11)),),
        parts=(
            part("lead", "lead", 0, (72, 76, 79, 77), 0.0),
            part("bass", "bass", 33, (36, 43), 0.0),
            part("pad", "harmony", 0, (60, 64, 67), 0.4),
        ),
        mix=Mix(0.0, 0.1),
    )  # fmt: skip


def without_tags(score: Score) -> Score:
    return replace(score, tags=())


def tiny_config(tags: tuple[str, ...] = TAGS, **changes: int) -> PerformerConfig:
    shape = {"dim": 32, "layers": 2, "heads": 2, "hidden_scale": 2, "context": 20, **changes}
    return PerformerConfig(tags=tags, **shape)


def tiny_lm(config: PerformerConfig, seed: int = 0):
    """Random weights that are far enough from uniform for conditions to matter."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        lm = build_language_model(config)
        for linear in lm.linears:
            linear.weight.mul_(3)
    return lm


def step_weights(lm) -> StepWeights:
    """The weights of :func:`tiny_lm` as a performance reads them."""
    return StepWeights(lm.state_dict(), tiny_config())


def tiny_performer(directory: Path, *, tags: tuple[str, ...] = TAGS, **card: object) -> Path:
    """Write a checkpoint of the third design to `directory`."""
    config = tiny_config(tags)
    directory.mkdir(parents=True, exist_ok=True)
    small_codec().save(directory / "codec.part")
    save_performer(
        directory, directory / "codec.part", tiny_lm(config), config,
        {"generation": {"temperature": 1.0, "top_k": 0}, **card},
    )  # fmt: skip
    (directory / "codec.part").unlink()
    return directory


def performer_home(folder: Path) -> Path:
    """Configuration whose house model is a tiny performer, and a home."""
    make_studio(folder).close()
    tiny_performer(folder / "weights", tags=house_tags())
    file = folder / "configs" / "models" / "house.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump({**config, "path": str(folder / "weights")}), encoding="utf-8")
    return folder
