"""Trains the performer on scores and the tokens of their renders.

* Token embeddings and output heads start from the stem codec's own codebooks, each in dimensions of
  its own, so that codes which sound alike are alike from the first step on.
* A fifth of the input tokens are random: a model that draws its own tokens must not believe them.
* Tags, clock and the scores of single stems are withheld per sample, never for a whole batch.
* Segments begin anywhere; what they are follows from seed and step alone, so that a resumed run
  continues as if it had not stopped.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import HouseError
from studio.core.tags import KINDS
from studio.music.models.house.language_model import (
    CODEBOOKS,
    REACH,
    PerformerConfig,
    Told,
    build_language_model,
    delayed,
    performable,
)
from studio.music.models.house.notes import STEMS
from studio.music.models.house.stem_codec import StemCodec
from studio.music.training.performer.data import PerformanceTracks, composer_tags
from studio.music.training.recipe import read_options, read_profile
from watermark.util.files import replacing

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel

__all__ = [
    "PerformerTraining",
    "PerformerTrainingConfig",
    "Segments",
    "init_from_codebooks",
    "load_performer",
    "token_losses",
    "train_performer",
]

logger = logging.getLogger(__name__)

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class PerformerTrainingConfig:
    """Options of one profile of ``configs/train/performer.yaml``; comments there explain them."""

    model: Mapping[str, int]
    seed: int = 2026
    device: str = "cpu"
    threads: int = 1
    bf16: bool = True
    batch: int = 8
    frames: int = 200
    steps: int = 3000
    learning_rate: float = 1.5e-3
    warm_steps: int = 60
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.995
    wrong_tokens: float = 0.2
    drop_tags: float = 0.1
    drop_clock: float = 0.1
    drop_stem: float = 0.1
    save_minutes: float = 3.0
    validation_segments: int = 48

    @classmethod
    def load(cls, path: Path, profile: str) -> PerformerTrainingConfig:
        """Read one profile. Raises :class:`ConfigError` for an unknown profile or option."""
        return read_profile(cls, path, profile, model=read_options(path, "model"))

    def rate(self, step: int) -> float:
        """Learning rate: linear rise, then half a cosine down to a fiftieth."""
        if step < self.warm_steps:
            return self.learning_rate * (step + 1) / self.warm_steps
        progress = min(1.0, (step - self.warm_steps) / max(1, self.steps - self.warm_steps))
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


class Segments:
    """Stretches of encoded tracks: model sequences and what is told beside them."""

    def __init__(self, tracks: PerformanceTracks, frames: int, bins: int) -> None:
        self.frames, self.bins = frames, bins
        self.sequences: list[Tensor] = []
        self.scores = [performable(score) for score in tracks.scores]
        for tokens, score in zip(tracks.tokens, self.scores, strict=True):
            sequence = delayed(torch.from_numpy(tokens)[None], bins)[0]
            for stem in np.flatnonzero(~score.present):  # a stem without notes has no tokens
                sequence[int(stem) :: len(STEMS)] = bins
            self.sequences.append(sequence)
        self.long = [k for k, s in enumerate(self.sequences) if s.shape[1] > frames]
        if not self.long:
            raise HouseError(f"no encoded track is {frames} frames long")

    def batch(self, count: int, key: tuple[int, ...], lm: LMModel) -> tuple[Tensor, Told]:
        """Sequences (count, 8, frames + 1) and all that is told of them; same key, same batch."""
        rng = np.random.default_rng(key)
        rows, windows = [], []
        for _ in range(count):
            chosen = self.long[int(rng.integers(len(self.long)))]
            sequence = self.sequences[chosen]
            start = int(rng.integers(sequence.shape[1] - self.frames))
            rows.append(sequence[:, start : start + self.frames + 1])
            score = self.scores[chosen]
            windows.append(score.window(start - REACH, start + self.frames + REACH))
        conditioner: Any = lm.condition_provider
        return torch.stack(rows), conditioner.told(windows)


def partly_told(told: Told, config: PerformerTrainingConfig, rng: np.random.Generator) -> Told:
    """The same with tags, clock and stems withheld from some samples."""
    count = len(told.tags)
    device = told.tags.device

    def kept(share: float, *shape: int) -> Tensor:
        return torch.from_numpy((rng.random(shape) >= share).astype(np.float32)).to(device)

    tags = kept(config.drop_tags, count, 1) * kept(config.drop_tags, count, len(KINDS))
    nothing = told.nothing + torch.arange(len(KINDS), device=device)
    return Told(
        told.pitches,
        told.numbers,
        told.programs,
        told.clock,
        told.stems * kept(config.drop_stem, count, len(STEMS)),
        told.timed * kept(config.drop_clock, count),
        torch.where(tags > 0, told.tags, nothing),
        told.nothing,
    )


@torch.no_grad()
def init_from_codebooks(lm: LMModel, codec: StemCodec) -> None:
    """Start token embeddings and heads from the codes, every codebook in dimensions of its own."""
    books = codec.codebooks.transpose(0, 1).flatten(0, 1)  # (8, bins, latent)
    share = lm.dim // len(books)
    for k, book in enumerate(books):
        codes = book - book.mean(0)
        _, _, components = torch.linalg.svd(codes, full_matrices=False)
        used = min(share, len(components))
        image = codes @ components[:used].T
        image = image / (image.square().sum(1).mean().sqrt() + 1e-8)
        place = slice(k * share, k * share + used)
        embedding, head = lm.emb[k], lm.linears[k]
        assert isinstance(embedding, nn.Embedding)
        assert isinstance(head, nn.Linear)
        embedding.weight.zero_()
        embedding.weight[:-1, place] = image * math.sqrt(lm.dim / 8)
        head.weight.mul_(0.3)
        head.weight[:, place] += image


def token_losses(lm: LMModel, sequence: Tensor, inputs: Tensor, told: Told) -> Tensor:
    """Mean negative log-likelihood per codebook in nats, (8,).

    `sequence` (batch, 8, frames + 1) holds the targets from its second step on; `inputs` (batch, 8,
    frames) is what the model sees instead of its first steps. Codebooks that no sample has
    give 0.
    """
    parts: Any = lm
    condition = parts.condition_provider(told)[:, REACH:-REACH]
    x = sum(embedding(inputs[:, k]) for k, embedding in enumerate(parts.emb)) + condition
    x = parts.out_norm(parts.transformer(x))
    losses = []
    for k, head in enumerate(parts.linears):
        target = sequence[:, k, 1:].flatten()
        target = torch.where(target == parts.card, _IGNORED, target)
        logits = head(x).float().flatten(0, 1)
        total = F.cross_entropy(logits, target, ignore_index=_IGNORED, reduction="sum")
        losses.append(total / (target != _IGNORED).sum().clamp_min(1))
    return torch.stack(losses)


class PerformerTraining:
    """The state of one run: model, optimiser, averaged weights, step."""

    def __init__(
        self, config: PerformerTrainingConfig, codec: StemCodec, tracks: PerformanceTracks
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.shape = PerformerConfig(
            tags=composer_tags(), bins=codec.config.bins, **dict(config.model)
        )
        if codec.config.codebooks != CODEBOOKS:
            raise HouseError(f"the performer plays {CODEBOOKS} codebooks a stem")
        self.device = torch.device(config.device)
        self.lm = build_language_model(self.shape)
        init_from_codebooks(self.lm, codec)
        self.lm.to(self.device).train()
        self.segments = Segments(tracks, config.frames, self.shape.bins)
        self.position = 0
        plain = [p for p in self.lm.parameters() if p.dim() < 2]
        matrices = [p for p in self.lm.parameters() if p.dim() >= 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.95),
        )
        self.averaged = {k: v.detach().clone() for k, v in self.lm.named_parameters()}

    def step(self) -> dict[str, float]:
        """One step; the figures of its batch."""
        config, step = self.config, self.position
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(step)
        sequence, told = self.segments.batch(config.batch, (config.seed, step), self.lm)
        sequence = sequence.to(self.device)
        rng = np.random.default_rng([config.seed, step, 1])
        inputs = self._with_wrong(sequence[:, :, :-1], rng)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            losses = token_losses(self.lm, sequence, inputs, partly_told(told, config, rng))
        self.optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        norm = nn.utils.clip_grad_norm_(self.lm.parameters(), config.clip).item()
        if not math.isfinite(norm):
            raise HouseError(f"the gradient is not finite at step {step}; lower the learning rate")
        self.optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.lm.named_parameters():
                self.averaged[name].lerp_(value, 1 - decay)
        self.position += 1
        return {"nll": losses.mean().item(), "grad": norm}

    def _with_wrong(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """The same with a share of the tokens drawn at random; *nothing* stays nothing."""
        shape = tuple(inputs.shape)
        wrong = torch.from_numpy(rng.random(shape) < self.config.wrong_tokens).to(self.device)
        drawn = torch.from_numpy(rng.integers(self.shape.bins, size=shape)).to(self.device)
        return torch.where(wrong & (inputs != self.shape.bins), drawn, inputs)

    def averaged_lm(self) -> LMModel:
        """A copy in eval mode with the averaged weights: what is evaluated and shipped."""
        lm = build_language_model(self.shape)
        lm.load_state_dict({k: v.cpu() for k, v in self.averaged.items()}, strict=False)
        return lm.eval()

    def save(self, path: Path) -> None:
        """Write the whole state; a killed run leaves the older checkpoint."""
        state = {
            "position": self.position,
            "lm": self.lm.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "performer": self.shape.to_dict(),
        }
        with replacing(path) as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Continue from :meth:`save`. Raises :class:`HouseError` for another model's checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["performer"] != self.shape.to_dict():
            raise HouseError(f"{path} belongs to another performer; choose an empty folder")
        self.lm.load_state_dict(state["lm"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.position = state["position"]


@torch.inference_mode()
def held_out_nll(lm: LMModel, segments: Segments, count: int, seed: int) -> list[float]:
    """Negative log-likelihood per codebook in nats on `count` segments, all told, none wrong."""
    parts = []
    for start in range(0, count, 8):
        sequence, told = segments.batch(8, (seed, 7, start), lm)
        parts.append(token_losses(lm, sequence, sequence[:, :, :-1], told))
    return [float(value) for value in torch.stack(parts).mean(0)]


def load_performer(path: Path) -> tuple[LMModel, PerformerConfig]:
    """The averaged model of a checkpoint of :func:`train_performer`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        shape = PerformerConfig.from_dict(state["performer"])
        lm = build_language_model(shape)
        lm.load_state_dict({**state["lm"], **state["averaged"]})
    except (OSError, KeyError, RuntimeError) as exc:
        raise HouseError(f"no performer's checkpoint in {path}: {exc}; train it first") from exc
    return lm.eval(), shape


def train_performer(
    config: PerformerTrainingConfig,
    codec_path: Path,
    tracks_dir: Path,
    out_dir: Path,
    *,
    resume: bool = True,
    max_minutes: float | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train on the encoded tracks; returns the checkpoint of the best held-out figure.

    Tracks that are added meanwhile are taken in at every checkpoint. Writes `performer.pt` (to
    resume), `performer-best.pt` and `performer.jsonl` to `out_dir`.
    """
    torch.set_num_threads(config.threads)
    out_dir.mkdir(parents=True, exist_ok=True)
    codec = StemCodec.load(codec_path)
    run = PerformerTraining(config, codec, PerformanceTracks(tracks_dir, "train"))
    held_out = Segments(PerformanceTracks(tracks_dir, "validation"), config.frames, run.shape.bins)
    path, best_path = out_dir / "performer.pt", out_dir / "performer-best.pt"
    log = out_dir / "performer.jsonl"
    if resume and path.exists():
        run.restore(path)
    elif log.exists():
        log.unlink()
    best = _best_so_far(log)
    began = saved = time.monotonic()
    while run.position < config.steps:
        figures = run.step()
        now = time.monotonic()
        expired = max_minutes is not None and now - began > 60 * max_minutes
        if now - saved > 60 * config.save_minutes or run.position == config.steps or expired:
            saved = now
            run.save(path)
            nll = held_out_nll(run.averaged_lm(), held_out, config.validation_segments, config.seed)
            row: dict[str, Any] = {
                "step": run.position,
                "s": now - began,
                **figures,
                "validation_nll": float(np.mean(nll)),
                "validation_nll_per_codebook": nll,
                "tracks": len(run.segments.long),
            }
            if row["validation_nll"] < best:
                best = row["validation_nll"]
                run.save(best_path)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            logger.info("performer %s", json.dumps(row))
            tracks = PerformanceTracks(tracks_dir, "train")
            if len(tracks.rows) > len(run.segments.scores):
                run.segments = Segments(tracks, config.frames, run.shape.bins)
        if progress is not None:
            progress(run.position, config.steps, figures)
        if expired:
            break
    return best_path


def _best_so_far(log: Path) -> float:
    if not log.exists():
        return math.inf
    rows = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return min((row["validation_nll"] for row in rows), default=math.inf)
