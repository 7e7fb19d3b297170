"""What the judge of tags learns from: pictures of the composer's renders of fresh requests.

A picture is a log-mel spectrogram of the middle and of the side (half the sum and half the
difference of left and right).

A folder of clips holds ``clips.json`` (which requests) and one ``.npy`` a request, float16, (2
pictures, frames, bands).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studio.core.errors import HouseError
from studio.music.composer.arrange import compose_score
from studio.music.composer.notation.score import Score
from studio.music.models.house.mastering import Look, master
from studio.music.models.house.notes import RATE, TimedScore
from studio.music.models.house.stem_codec import envelope, mel_matrix
from studio.music.training.evaluation.beside import FreshRequest, fresh_requests
from studio.music.training.recipe import read_part
from studio.music.training.stems.rendering import StemRenderer
from watermark.util.files import replacing, write_file

__all__ = [
    "BANDS",
    "WINDOW",
    "JudgeClips",
    "JudgeDataConfig",
    "mel_bands",
    "middle_and_side",
    "picture",
    "reference",
    "render_clips",
]

BANDS = 128
"""Mel bands of a picture, from 30 Hz to 24 kHz."""

SPLITS = ("train", "test")
WINDOW = 2048
"""Samples that a frame of a picture sees."""

_ABOUT = "clips.json"

Picture = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class JudgeDataConfig:
    """The part ``data`` of ``configs/train/judge.yaml``: requests of every genre, and their seed.

    ``drawn_per_genre`` are not rendered but drawn as pictures
    (:mod:`studio.music.training.evaluation.judge_pictures`). The sets have seeds of their own;
    evaluations draw their requests from others again.
    """

    seed: int = 970202
    train_per_genre: int = 120
    test_per_genre: int = 6
    drawn_per_genre: int = 240
    seconds: float = 10.0

    @classmethod
    def load(cls, path: Path) -> JudgeDataConfig:
        """Read the recipe. Raises :class:`ConfigError`."""
        return read_part(cls, path, "data")

    def requests(self, tags: Sequence[str], split: str) -> list[FreshRequest]:
        """The requests of a split, genres in turn."""
        per_genre = {
            "train": self.train_per_genre,
            "test": self.test_per_genre,
            "drawn": self.drawn_per_genre,
        }[split]
        seed = self.seed + 100 * (split == "drawn") + (split == "test")
        return fresh_requests(tags, per_genre=per_genre, seed=seed)


def picture(sound: NDArray[np.float32]) -> Picture:
    """Natural log of levels in mel bands, (channels, samples) at 48 kHz -> (..., frames, bands)."""
    mel, window = _filters()
    out: Picture = envelope(
        torch.from_numpy(np.ascontiguousarray(sound, np.float32)), mel, window
    ).numpy()
    return out


def middle_and_side(stereo: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half the sum and half the difference of (2, samples); mono has no side."""
    if len(stereo) == 1:
        return np.concatenate([stereo, np.zeros_like(stereo)])
    return np.stack([stereo[0] + stereo[1], stereo[0] - stereo[1]]) * np.float32(0.5)


def mel_bands() -> NDArray[np.float32]:
    """The mel filters of a picture, (bins, bands), unit sums."""
    filters: NDArray[np.float32] = _filters()[0].numpy()
    return filters


@cache
def _filters() -> tuple[Tensor, Tensor]:
    return mel_matrix(WINDOW, BANDS), torch.hann_window(WINDOW)


def reference(score: Score, renderer: StemRenderer) -> NDArray[np.float32]:
    """The soundfont's render of a score, mastered as the model's stems are, (2, samples).

    Raises :class:`ConfigError` for silence.
    """
    dry = renderer.stereo_stems(TimedScore.from_score(score))
    look = Look(score.mix.brightness_db, score.mix.reverb)
    return master(dry[..., : round(score.duration_s * RATE)], look)


def render_clips(
    config: JudgeDataConfig,
    tags: Sequence[str],
    folder: Path,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render what is missing of the requests into ``folder/train`` and ``folder/test``.

    Test requests come first. `limit` is the greatest number of clips in all. Gives how many were
    new. Raises :class:`HouseError` where the folder holds clips of another recipe.
    """
    _keep_about(folder, {**asdict(config), "tags": list(tags), "bands": BANDS})
    jobs = [
        (split, number, request)
        for split in reversed(SPLITS)
        for number, request in enumerate(config.requests(tags, split))
    ][:limit]
    made = 0
    with StemRenderer() as renderer:
        for done, (split, number, request) in enumerate(jobs, start=1):
            path = _path(folder, split, number)
            if not path.exists():
                score = compose_score(request.tags, request.seed, config.seconds)
                pictures = picture(middle_and_side(reference(score, renderer)))
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as file:
                    np.save(file, pictures.astype(np.float16))
                made += 1
            if progress is not None:
                progress(done, len(jobs))
    return made


class JudgeClips:
    """The rendered clips of one split: requests, and their pictures one by one."""

    def __init__(self, folder: Path, split: str) -> None:
        about = _about(folder)
        try:
            tags = tuple(map(str, about.pop("tags")))
            about.pop("bands")
            config = JudgeDataConfig(**about)
        except (KeyError, TypeError, ValueError) as exc:
            raise HouseError(f"{folder / _ABOUT} is damaged: {exc}") from exc
        rows = [
            (_path(folder, split, number), request)
            for number, request in enumerate(config.requests(tags, split))
        ]
        self.requests = [request for path, request in rows if path.exists()]
        self._paths = [path for path, _ in rows if path.exists()]
        if not self._paths:
            raise HouseError(f"{folder} holds no {split} clips; render them first")

    def __len__(self) -> int:
        return len(self.requests)

    def pictures(self) -> Iterator[Picture]:
        """The pictures in the requests' order, (2, frames, bands) each."""
        for path in self._paths:
            yield np.load(path, allow_pickle=False)[:2].astype(np.float32)


def _path(folder: Path, split: str, number: int) -> Path:
    return folder / split / f"{number:05d}.npy"


def _about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise HouseError(f"{folder} holds no clips of a judge: {exc}") from exc
    return dict(found)


def _keep_about(folder: Path, about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _ABOUT).exists():
        if _about(folder) != about:
            raise HouseError(f"{folder} holds clips of another recipe; choose an empty folder")
        return
    text = json.dumps(about, indent=2) + "\n"
    write_file(folder / _ABOUT, text.encode("ascii"), mode=None)
