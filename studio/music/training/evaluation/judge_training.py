"""Trains the judge of tags by ``configs/train/judge.yaml`` and says how good it is.

Most of its clips are pictures drawn from notes, which cost a fiftieth of a render; the rendered
ones tell it how sounds differ from those. Renders of the test requests say how good it has become.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from studio.music.composer.arrange import compose_score
from studio.music.models.house.stem_codec import StemCodec
from studio.music.training.evaluation.classifier import Array, TagClassifier
from studio.music.training.evaluation.judge_clips import JudgeClips, JudgeDataConfig
from studio.music.training.evaluation.judge_features import features
from studio.music.training.evaluation.judge_pictures import NotePictures
from studio.music.training.recipe import read_part
from studio.music.training.stems.rendering import StemRenderer
from watermark.util.files import replacing, write_file

__all__ = ["JudgeTrainingConfig", "train_judge"]

_BLOCK = 100  # pictures between two saves
CARD_NAME = "judge.json"
JUDGE_NAME = "judge.safetensors"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class JudgeTrainingConfig:
    """The part ``training`` of the recipe."""

    seed: int = 0
    epochs: int = 16

    @classmethod
    def load(cls, path: Path) -> JudgeTrainingConfig:
        """Read the recipe. Raises :class:`ConfigError`."""
        return read_part(cls, path, "training")


def train_judge(
    data: JudgeDataConfig,
    config: JudgeTrainingConfig,
    tags: Sequence[str],
    clips: Path,
    codec: Path,
    out: Path,
    *,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train on the folder `clips` of `render_clips`; weights and card go to `out`.

    Drawn pictures go on where an earlier call stopped. `codec` is the file with the instrument
    tables, which say how notes are released. Gives the share judged right of the test renders, for
    each kind of tag. Raises :class:`HouseError` where clips are missing.
    """
    test, train = JudgeClips(clips, "test"), JudgeClips(clips, "train")
    requests = data.requests(tags, "drawn")
    drawn = _drawn(data, tags, clips / "drawn", codec, progress)
    judge = TagClassifier(tags)
    judge.fit(
        (np.stack([features(p) for p in train.pictures()]), [r.tags for r in train.requests]),
        (drawn, [r.tags for r in requests]),
        epochs=config.epochs,
        seed=config.seed,
    )
    judge.save(out / JUDGE_NAME)
    sounds = np.stack([features(p) for p in test.pictures()])
    right = judge.right(sounds, [r.tags for r in test.requests])
    card = {
        "what": "judge of tag following of `studio house evaluate`; it makes no music",
        "commands": ["studio house render-judge-clips", "studio house train-judge"],
        "data": {**asdict(data), "train": len(train), "test": len(test), "drawn": len(drawn)},
        "training": asdict(config),
        "right_of_test_renders": {kind: round(share, 4) for kind, share in right.items()},
        "sha256": hashlib.sha256((out / JUDGE_NAME).read_bytes()).hexdigest(),
        "licence": "MIT",
    }
    write_file(out / CARD_NAME, (json.dumps(card, indent=2) + "\n").encode("ascii"), mode=None)
    return right


def _drawn(
    data: JudgeDataConfig,
    tags: Sequence[str],
    folder: Path,
    codec: Path,
    progress: Progress | None,
) -> Array:
    """Features of the drawn pictures, in blocks that are kept in `folder`."""
    requests = data.requests(tags, "drawn")
    folder.mkdir(parents=True, exist_ok=True)
    blocks: list[Array] = []
    with StemRenderer() as renderer:
        pictures = NotePictures(renderer, StemCodec.load(codec).excitation.tables)
        for first in range(0, len(requests), _BLOCK):
            path = folder / f"{first:05d}.npy"
            if not path.exists():
                scores = (
                    compose_score(r.tags, r.seed, data.seconds)
                    for r in requests[first : first + _BLOCK]
                )
                rows = np.stack([features(pictures.of_score(score)) for score in scores])
                with replacing(path) as file:
                    np.save(file, rows)
            blocks.append(np.load(path, allow_pickle=False))
            if progress is not None:
                progress(min(first + _BLOCK, len(requests)), len(requests))
    return np.concatenate(blocks)
