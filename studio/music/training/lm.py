"""Trains the house language model on the tokens of the catalogue, with its tags at every step.

What made the difference in trials on one CPU thread:

* token embeddings and output heads start from the codec's own codebooks, so that codes which sound
  alike are alike from the first step on;
* tags are dropped per sample: all of them for classifier-free guidance, and single ones because a
  request may name some kinds only. audiocraft's dropout modules drop for a whole batch at once;
* segments begin on bar lines (:class:`studio.music.training.tokens.SegmentPlan`).

What a step does depends on the seed and the step's number alone, so that a resumed run continues
exactly as if it had not stopped.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import ConfigError, HouseError
from studio.core.tags import KINDS
from studio.music.models.house.codec import CodecConfig, build_codec
from studio.music.models.house.model import (
    CONDITION,
    HouseConfig,
    LMConfig,
    build_lm,
    condition_text,
)
from studio.music.training.codec.training import codebooks_of, read_profile, round_tokens
from studio.music.training.tokens import Heard, SegmentPlan, TokenStore

if TYPE_CHECKING:
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.models.lm import LMModel

    from studio.music.training.catalogue import Catalogue

__all__ = [
    "LMTraining",
    "LMTrainingConfig",
    "catalogue_tags",
    "init_from_codebooks",
    "load_codec_checkpoint",
    "load_lm_checkpoint",
    "partly_told",
    "token_losses",
    "train_lm",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LMTrainingConfig:
    """Options of one profile of ``configs/train/lm.yaml``; the comments there explain them."""

    model: LMConfig
    seed: int = 2026
    device: str = "cpu"
    threads: int = 1
    bf16: bool = False
    batch: int = 8
    steps: int = 2000
    learning_rate: float = 1e-3
    warm_steps: int = 80
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.99
    from_start: float = 0.3
    drop_all: float = 0.1
    drop_each: float = 0.1
    drop_sheet: float = 0.1
    codebook_weights: Sequence[float] = (1.0,)
    codebooks_per_step: int = 0
    save_every: int = 100
    validation_segments: int = 48

    @classmethod
    def load(cls, path: Path, profile: str) -> LMTrainingConfig:
        """Read one profile. Raises :class:`ConfigError` for an unknown profile or option."""
        data = read_profile(path, profile)
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ConfigError(f"{path}: unknown option {', '.join(sorted(unknown))}")
        try:
            return cls(**{**data, "model": LMConfig(**data["model"])})
        except (TypeError, KeyError) as exc:
            raise ConfigError(f"{path}: {exc}") from exc

    def rate(self, step: int) -> float:
        """Learning rate: linear rise, then half a cosine down to a fiftieth."""
        if step < self.warm_steps:
            return self.learning_rate * (step + 1) / self.warm_steps
        progress = min(1.0, (step - self.warm_steps) / max(1, self.steps - self.warm_steps))
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def catalogue_tags(catalogue: Catalogue) -> tuple[str, ...]:
    """Tags of the training tracks, by kind, then by name: the model's whole vocabulary."""
    tags = catalogue.tag_counts("train")
    return tuple(sorted(tags, key=lambda tag: (KINDS.index(tag.partition("/")[0]), tag)))


def partly_told(
    heard: Heard, rng: np.random.Generator, drop_all: float, drop_each: float, drop_sheet: float
) -> str | None:
    """The condition text of one sample: nothing at all, or without some tags, or the lead sheet."""
    if rng.random() < drop_all:
        return None
    tags = [tag for tag in heard.tags if rng.random() >= drop_each]
    if rng.random() < drop_sheet:
        return condition_text(tags)
    return condition_text(tags, heard.sheet, heard.start)


def _shares(codebooks: int, dim: int) -> list[int]:
    """Dimensions of the model given to each codebook: the first ones get more, the sum is `dim`."""
    wanted = np.array([1 / (1 + k) ** 0.75 for k in range(codebooks)])
    edges = np.concatenate([[0], np.cumsum(wanted)])
    return [int(n) for n in np.diff(np.round(edges / edges[-1] * dim))]


@torch.no_grad()
def init_from_codebooks(lm: LMModel, codec: EncodecModel) -> None:
    """Start token embeddings and heads from the codec's codes.

    Every codebook gets dimensions of its own, for its codes' principal components: under the delay
    pattern a step's codes come from different frames, and in one shared space their sum tells none
    of them apart (with twelve codebooks the first stayed at its unigram entropy for 100 steps).
    Scaled so that what is heard is not drowned by the sinusoidal position (of size sqrt(dim / 2)).
    """
    books = [book.embed.detach().float() for book in codebooks_of(codec.quantizer)]
    first = 0
    sizes = [float((book - book.mean(0)).square().sum(1).mean().sqrt()) + 1e-8 for book in books]
    split = codec.quantizer.counts[0]  # envelope and waveform latents have scales of their own
    largest = [sizes[0]] * split + [sizes[split]] * (len(sizes) - split)
    relative = [size / first for size, first in zip(sizes, largest, strict=True)]
    for book, size, share, embedding, head in zip(
        books, relative, _shares(len(books), lm.dim), lm.emb, lm.linears, strict=True
    ):
        assert isinstance(embedding, nn.Embedding)
        assert isinstance(head, nn.Linear)
        codes = book - book.mean(0)
        _, _, components = torch.linalg.svd(codes, full_matrices=False)
        used = min(share, len(components))
        image = codes @ components[:used].T
        image /= image.square().sum(1).mean().sqrt() + 1e-8
        place = slice(first, first + used)
        embedding.weight.zero_()
        embedding.weight[:-1, place] = image * size**0.5 * (lm.dim / 8) ** 0.5
        head.weight.mul_(0.3)
        head.weight[:, place] += image
        first += share


def token_losses(
    lm: LMModel,
    codes: Tensor,
    texts: Sequence[str | None],
    codebooks: Sequence[int] | None = None,
) -> Tensor:
    """Mean negative log-likelihood per codebook in nats; `codes` is (B, K, T).

    The same figures as from audiocraft's `compute_predictions`, for the named codebooks only (by
    default all), and without its gather of all logits back to the order of the codes: targets are
    delayed instead. Heads and their softmax are half the cost of a step of a model this small.
    """
    from audiocraft.modules.conditioners import ConditioningAttributes

    pattern = lm.pattern_provider.get_pattern(codes.shape[-1])
    sequence, _, _ = pattern.build_pattern_sequence(
        codes.contiguous(), lm.special_token_id, keep_only_valid_steps=True
    )
    provider = lm.condition_provider
    conditions = [ConditioningAttributes(text={CONDITION: text}) for text in texts]
    x = sum(embedding(sequence[:, k, :-1]) for k, embedding in enumerate(lm.emb))
    x, _ = lm.fuser(x, provider(provider.tokenize(conditions)))
    x = lm.transformer(x)
    if lm.out_norm is not None:
        x = lm.out_norm(x)
    means = []
    for k in range(lm.n_q) if codebooks is None else codebooks:
        target = sequence[:, k, 1:].flatten()
        logits = lm.linears[k](x).float().flatten(0, 1)
        means.append(F.cross_entropy(logits, target, ignore_index=lm.special_token_id))
    return torch.stack(means)


class LMTraining:
    """The state of one training run: model, optimiser, averaged weights, step."""

    def __init__(
        self, config: LMTrainingConfig, codec: EncodecModel, house: HouseConfig, store: TokenStore
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.house = config, house
        self.device = torch.device(config.device)
        self.lm: LMModel = build_lm(house)
        init_from_codebooks(self.lm, codec)
        self.lm.to(self.device).train()
        self.frames = round(house.lm.max_duration_s * house.codec.frame_rate)
        self.use(store)
        weights = torch.ones(house.codec.codebooks)
        given = torch.tensor(config.codebook_weights)[: len(weights)]
        weights[: len(given)] = given
        self.weights = (weights / weights.sum()).to(self.device)
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

    def use(self, store: TokenStore) -> None:
        """Train on this store's tracks from now on."""
        self.plan = SegmentPlan(store, "train", self.frames, self.config.from_start)

    def step(self) -> dict[str, float]:
        """One step; the figures of its batch."""
        config, step = self.config, self.position
        rate = config.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        codes, heard = self.plan.batch(config.batch, (config.seed, step))
        rng = np.random.default_rng([config.seed, step, 1])
        texts = [
            partly_told(one, rng, config.drop_all, config.drop_each, config.drop_sheet)
            for one in heard
        ]
        chosen, weights = self._codebooks(rng)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            losses = token_losses(self.lm, codes.to(self.device), texts, chosen)
        loss = (losses * weights).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        norm = nn.utils.clip_grad_norm_(self.lm.parameters(), config.clip).item()
        if not math.isfinite(norm):
            raise HouseError(f"the gradient is not finite at step {step}; lower the learning rate")
        self.optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.lm.named_parameters():
                self.averaged[name].lerp_(value, 1 - decay)
        self.position += 1
        return {
            "nll": losses.mean().item(),
            "nll_0": losses[0].item(),
            "grad": norm,
            "rate": rate,
        }

    def _codebooks(self, rng: np.random.Generator) -> tuple[list[int], Tensor]:
        """Codebooks of this step and their weights: the first ones, and two of the others.

        What is drawn weighs more, so that the loss is the full one on average.
        """
        count, fixed = len(self.weights), self.config.codebooks_per_step - 2
        if fixed <= 0 or fixed + 2 >= count:
            return list(range(count)), self.weights
        drawn = sorted(fixed + int(k) for k in rng.permutation(count - fixed)[:2])
        chosen = [*range(fixed), *drawn]
        weights = self.weights[chosen]
        weights[fixed:] *= (count - fixed) / 2
        return chosen, weights

    def averaged_lm(self) -> LMModel:
        """A copy in eval mode with the averaged weights: what is evaluated and shipped."""
        lm = build_lm(self.house)
        lm.load_state_dict({k: v.cpu() for k, v in self.averaged.items()}, strict=True)
        return lm.eval()

    def save(self, path: Path) -> None:
        """Write to a temporary name, then replace: a killed run leaves the older checkpoint."""
        part = path.with_suffix(".part")
        state = {
            "position": self.position,
            "lm": self.lm.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "house": self.house.to_dict(),
        }
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from :meth:`save`. Raises :class:`HouseError` for another model's checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["house"] != self.house.to_dict():
            raise HouseError(f"{path} belongs to another language model; choose an empty folder")
        self.lm.load_state_dict(state["lm"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.position = state["position"]


@torch.inference_mode()
def held_out_nll(lm: LMModel, plan: SegmentPlan, count: int, seed: int) -> list[float]:
    """Negative log-likelihood per codebook in nats on `count` segments of `plan`, all told."""
    codes, heard = plan.batch(count, (seed, 7))
    parts = []
    device = next(lm.parameters()).device
    for start in range(0, count, 8):
        texts = [condition_text(h.tags, h.sheet, h.start) for h in heard[start : start + 8]]
        parts.append(token_losses(lm, codes[start : start + 8].to(device), texts).cpu())
    return [float(value) for value in torch.stack(parts).mean(0)]


def load_codec_checkpoint(path: Path) -> EncodecModel:
    """The averaged codec of a checkpoint of
    :func:`studio.music.training.codec.training.train_codec`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        codec = build_codec(CodecConfig(**state["config"]["model"]))
        codec.load_state_dict({**state["codec"], **state["averaged"]})
        round_tokens(codec)
    except (OSError, KeyError, RuntimeError) as exc:
        raise HouseError(f"no codec checkpoint in {path}: {exc}; train the codec first") from exc
    return codec.eval()


def load_lm_checkpoint(path: Path) -> tuple[LMModel, HouseConfig]:
    """The averaged language model of a checkpoint of :func:`train_lm`, and what it is."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        house = HouseConfig.from_dict(state["house"])
        lm = build_lm(house)
        lm.load_state_dict(state["averaged"])
    except (OSError, KeyError, RuntimeError) as exc:
        raise HouseError(f"no language model checkpoint in {path}: {exc}; train it first") from exc
    return lm.eval(), house


def train_lm(
    config: LMTrainingConfig,
    catalogue_dir: Path,
    out_dir: Path,
    *,
    resume: bool = True,
    encode: bool = True,
    max_minutes: float | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train on the tokens of the catalogue; returns the checkpoint of the best held-out figure.

    Reads `out_dir/codec.pt`; encodes the catalogue into `out_dir/tokens` first unless `encode` is
    false (then another process may be filling it: it is read anew at every checkpoint). Writes
    `lm.pt` (to resume), `lm-best.pt` and `lm.jsonl`.
    """
    from studio.music.training.catalogue import Catalogue

    torch.set_num_threads(config.threads)
    codec = load_codec_checkpoint(out_dir / "codec.pt")
    catalogue = Catalogue.open(catalogue_dir)
    store = TokenStore.open(out_dir / "tokens", codec)
    if encode:
        store.extend(catalogue, codec)
    codec_config = CodecConfig(**_saved_config(out_dir / "codec.pt"))
    house = HouseConfig(codec_config, config.model, catalogue_tags(catalogue))
    run = LMTraining(config, codec, house, store)
    path, best_path = out_dir / "lm.pt", out_dir / "lm-best.pt"
    if resume and path.exists():
        run.restore(path)
    best = _best_so_far(out_dir / "lm.jsonl") if resume else math.inf
    began = time.monotonic()
    while run.position < config.steps:
        figures = run.step()
        expired = max_minutes is not None and time.monotonic() - began > 60 * max_minutes
        if run.position % config.save_every == 0 or run.position == config.steps or expired:
            store = TokenStore.open(out_dir / "tokens", codec)
            held_out = SegmentPlan(store, "validation", run.frames, config.from_start)
            averaged = run.averaged_lm()
            nll = held_out_nll(averaged, held_out, config.validation_segments, config.seed)
            mean = float(np.mean(nll))
            run.save(path)
            if mean < best:
                best = mean
                run.save(best_path)
            row: dict[str, Any] = {
                "step": run.position,
                "s": time.monotonic() - began,
                **figures,
                "validation_nll": mean,
                "validation_nll_per_codebook": nll,
                "tracks": len(run.plan.tracks),
            }
            with (out_dir / "lm.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            logger.info("lm %s", json.dumps(row))
            run.use(store)
        if progress is not None:
            progress(run.position, config.steps, figures)
        if expired:
            break
    return best_path


def _saved_config(path: Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return dict(state["config"]["model"])


def _best_so_far(path: Path) -> float:
    if not path.exists():
        return math.inf
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return min((row["validation_nll"] for row in rows), default=math.inf)
