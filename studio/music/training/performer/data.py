"""What the performing language model learns from: scores, and the tokens of their renders.

Every track is a score of the composer, rendered as dry stems and encoded by the stem codec. A
folder holds::

    manifest.jsonl      one line per track: id, split, tags, seed, duration, digest, grant, holder
    <id>.npz            the score's JSON and the tokens, (4 stems x 2 codebooks, frames) uint16
    codec.txt           what made the tokens (`StemCodec.encoding_digest`); others are refused

Tracks already there are kept, so that an interrupted encoding goes on where it stopped. What a
track is follows from the recipe's seed, the split and its number alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import HouseError
from studio.music.composer.arrange import compose_score
from studio.music.composer.notation.score import Score
from studio.music.composer.planning.palette import LEADS, MOODS
from studio.music.composer.planning.plan import TEMPO_BANDS
from studio.music.composer.styles import STYLES
from studio.music.models.house.language_model import CODEBOOKS
from studio.music.models.house.notes import STEMS, TimedScore
from studio.music.models.house.stem_codec import StemCodec
from studio.music.training.recipe import read_part
from studio.music.training.stems.rendering import StemRenderer
from watermark.util.files import replacing

__all__ = [
    "PerformanceDataConfig",
    "PerformanceTrack",
    "PerformanceTracks",
    "composer_tags",
    "draw_request",
    "encode_tracks",
]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class PerformanceDataConfig:
    """The part ``data`` of ``configs/train/performer.yaml``; lengths in seconds."""

    seed: int = 2026
    train: int = 700
    validation: int = 24
    test: int = 24
    shortest_s: float = 10.0
    longest_s: float = 34.0
    grant: str = "house-catalogue-2026"
    holder: str = "house"

    @classmethod
    def load(cls, path: Path) -> PerformanceDataConfig:
        """Read the recipe. Raises :class:`ConfigError`."""
        return read_part(cls, path, "data")


@dataclass(frozen=True, slots=True)
class PerformanceTrack:
    """A line of the manifest."""

    id: str
    split: str
    tags: tuple[str, ...]
    seed: int
    duration_s: float
    score_sha256: str
    frames: int
    grant: str
    holder: str


def composer_tags() -> tuple[str, ...]:
    """Every tag that the composer can follow, by kind, then by name."""
    kinds = (("genre", STYLES), ("mood", MOODS), ("lead", LEADS), ("tempo", TEMPO_BANDS))
    return tuple(f"{kind}/{name}" for kind, names in kinds for name in sorted(names))


def draw_request(
    config: PerformanceDataConfig, split: str, number: int
) -> tuple[tuple[str, ...], int, float]:
    """Tags, seed and length of a track; genres, moods and leads take turns."""
    rng = random.Random(f"{config.seed}/{split}/{number}")
    genres, moods, leads = sorted(STYLES), sorted(MOODS), sorted(LEADS)
    tags = (
        f"genre/{genres[number % len(genres)]}",
        f"mood/{moods[(number + number // len(genres)) % len(moods)]}",
        f"lead/{rng.choice(leads)}",
        f"tempo/{rng.choice(sorted(TEMPO_BANDS))}",
    )
    return tags, rng.randrange(2**31), round(rng.uniform(config.shortest_s, config.longest_s), 2)


def encode_tracks(
    config: PerformanceDataConfig,
    codec_path: Path,
    folder: Path,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Compose, render and encode the recipe's tracks into `folder`; how many were new.

    Held-out tracks come first, so that a training can begin on a part of the others. Raises
    :class:`HouseError` where the folder holds tokens of another codec.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codec = StemCodec.load(codec_path)
    digest = codec.encoding_digest()
    mark = folder / "codec.txt"
    if mark.exists() and mark.read_text(encoding="ascii").strip() != digest:
        raise HouseError(f"{folder} holds tokens of another codec; choose an empty folder")
    mark.write_text(digest + "\n", encoding="ascii")
    counts = {split: int(getattr(config, split)) for split in SPLITS}
    jobs = [(split, n) for split in reversed(SPLITS) for n in range(counts[split])][:limit]
    known = {track.id for track in read_manifest(folder)}
    made = 0
    with StemRenderer() as renderer:
        for done, (split, number) in enumerate(jobs, start=1):
            identity = f"{split}-{number:05d}"
            if identity not in known:
                tags, seed, duration_s = draw_request(config, split, number)
                score = compose_score(tags, seed, duration_s)
                timed = TimedScore.from_score(score)
                tokens = codec.encode(renderer.stems(timed), timed).flatten(0, 1).numpy()
                with replacing(folder / f"{identity}.npz") as file:
                    np.savez_compressed(
                        file,
                        tokens=tokens.astype(np.uint16),
                        score=np.frombuffer(score.to_json().encode("ascii"), np.uint8),
                    )
                row = PerformanceTrack(
                    identity, split, tags, seed, duration_s, score.digest(), tokens.shape[1],
                    config.grant, config.holder,
                )  # fmt: skip
                with (folder / "manifest.jsonl").open("a", encoding="utf-8") as out:
                    out.write(json.dumps(asdict(row)) + "\n")
                made += 1
            if progress is not None:
                progress(done, len(jobs))
    return made


def read_manifest(folder: Path) -> list[PerformanceTrack]:
    """The tracks encoded so far. Raises :class:`HouseError` for a damaged manifest."""
    path = folder / "manifest.jsonl"
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [PerformanceTrack(**{**row, "tags": tuple(row["tags"])}) for row in rows]
    except (ValueError, TypeError, KeyError) as exc:
        raise HouseError(f"{path} is damaged: {exc}") from exc


class PerformanceTracks:
    """Encoded tracks of one split, in memory; tokens (8, frames) in the language model's order."""

    def __init__(self, folder: Path, split: str) -> None:
        self.rows = [row for row in read_manifest(folder) if row.split == split]
        if not self.rows:
            raise HouseError(f"{folder} holds no {split} tracks; encode them first")
        self.tokens: list[NDArray[np.int64]] = []
        self.scores: list[Score] = []
        for row in self.rows:
            with np.load(folder / f"{row.id}.npz", allow_pickle=False) as data:
                by_stem = data["tokens"].astype(np.int64).reshape(len(STEMS), CODEBOOKS, -1)
                self.tokens.append(by_stem.transpose(1, 0, 2).reshape(len(STEMS) * CODEBOOKS, -1))
                self.scores.append(Score.from_json(data["score"].tobytes().decode("ascii")))

    @property
    def hours(self) -> float:
        return sum(row.duration_s for row in self.rows) / 3600

    def grants(self) -> Sequence[str]:
        """The grants that cover these tracks."""
        return sorted({row.grant for row in self.rows})
