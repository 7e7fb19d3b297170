"""What the stem codec is trained on: pieces of the composer, most of them varied.

A track is an excerpt of a composed piece. In four of five training tracks some parts are played by
other programs, in another key, tempo and loudness, so that the codec learns the instruments and not
the composer's habits. Held-out tracks are as composed. Everything follows from the recipe's seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from studio.music.composer.arrange import compose_score
from studio.music.composer.planning.palette import LEADS, MOODS
from studio.music.composer.planning.plan import TEMPO_BANDS
from studio.music.composer.styles import STYLES
from studio.music.models.house.excitation import InstrumentTables
from studio.music.models.house.notes import TimedScore
from studio.music.models.house.stem_codec import StemCodec, StemCodecConfig
from studio.music.training.recipe import read_part
from studio.music.training.stems.data import excerpt, prepare_tracks, varied
from studio.music.training.stems.rendering import StemRenderer

__all__ = ["StemDataConfig", "draw_score", "render_tracks"]

SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True)
class StemDataConfig:
    """The part ``data`` of ``configs/train/stem-codec.yaml``."""

    seed: int = 2026
    train: int = 190
    test: int = 24
    seconds: float = 20.0
    varied: float = 0.8

    @classmethod
    def load(cls, path: Path) -> StemDataConfig:
        """Read the recipe. Raises :class:`ConfigError`."""
        return read_part(cls, path, "data")


def draw_score(config: StemDataConfig, split: str, number: int) -> TimedScore:
    """The score of a track; the same recipe, split and number give the same score."""
    rng = random.Random(f"{config.seed}/{split}/{number}")
    tags = (
        f"genre/{rng.choice(sorted(STYLES))}",
        f"mood/{rng.choice(sorted(MOODS))}",
        f"lead/{rng.choice(sorted(LEADS))}",
        f"tempo/{rng.choice(sorted(TEMPO_BANDS))}",
    )
    length_s = round(config.seconds * rng.uniform(1.0, 2.0), 2)
    score = TimedScore.from_score(compose_score(tags, rng.randrange(2**31), length_s))
    if split == "train" and rng.random() < config.varied:
        score = varied(score, rng)
    spare = max(0.0, score.duration_s - config.seconds)
    start = rng.uniform(0, spare) if rng.random() < 0.6 else 0.0
    return excerpt(score, start, config.seconds)


def render_tracks(
    config: StemDataConfig,
    tables: Path,
    folder: Path,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render the recipe's tracks into ``folder/train`` and ``folder/test``; how many were new."""
    codec = StemCodec(StemCodecConfig(), InstrumentTables.load(tables))
    made = 0
    with StemRenderer() as renderer:
        for split in SPLITS:
            count = int(getattr(config, split))
            count = count if limit is None else min(count, limit)
            scores = [(k, partial(draw_score, config, split, k)) for k in range(count)]

            def tell(done: int, count: int = count) -> None:
                if progress is not None:
                    progress(done, count)

            made += prepare_tracks(scores, folder / split, codec, renderer, progress=tell)
    return made
