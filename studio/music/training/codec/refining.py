"""Teaches the decoder to play from tokens as the language model draws them.

The envelope tokens are easy to foresee, the waveform tokens are not: drawn ones are noise to a
decoder that has only met true ones (with true envelope and drawn waveform tokens the judge of the
evaluation hears the genre in 58 % of held-out clips, with true ones in 92 %, n = 48). So the
decoder goes on learning with waveform tokens that the language model draws, each given the true
past, and the music itself as what it should sound like. What cannot be foreseen need not be
matched: there the loss is of log-mel spectra alone.

Encoder and codebooks stay as they are, and so do the tokens and the language model.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from studio.core.errors import ConfigError, HouseError
from studio.music.models.house.model import CONDITION, condition_text
from studio.music.training.codec.losses import MultiScaleMel, waveform_error_db
from studio.music.training.codec.training import read_profile
from studio.music.training.lm import load_codec_checkpoint, load_lm_checkpoint
from studio.music.training.tokens import SegmentPlan, TokenStore

if TYPE_CHECKING:
    from audiocraft.models.lm import LMModel

    from studio.music.training.catalogue import Catalogue

__all__ = ["RefiningConfig", "drawn_tokens", "refine_decoder"]

logger = logging.getLogger(__name__)

REFINED_NAME = "codec-refined.pt"


@dataclass(frozen=True, slots=True)
class RefiningConfig:
    """Options of one profile of ``configs/train/decoder.yaml``; the comments there explain them."""

    seed: int = 2026
    device: str = "cpu"
    threads: int = 1
    bf16: bool = False
    batch: int = 8
    crop_s: float = 2.0
    steps: int = 1200
    learning_rate: float = 5e-4
    clip: float = 1.0
    ema: float = 0.99
    drawn_share: float = 0.75
    temperatures: tuple[float, float] = (0.6, 1.0)
    wave_weight: float = 0.05
    save_every: int = 100

    @classmethod
    def load(cls, path: Path, profile: str) -> RefiningConfig:
        """Read one profile. Raises :class:`ConfigError` for an unknown profile or option."""
        data = read_profile(path, profile)
        data.pop("model", None)
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ConfigError(f"{path}: unknown option {', '.join(sorted(unknown))}")
        low, high = data.get("temperatures", (0.6, 1.0))
        return cls(**{**data, "temperatures": (float(low), float(high))})


@torch.no_grad()
def drawn_tokens(
    lm: LMModel,
    codes: Tensor,
    texts: Sequence[str | None],
    first: int,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """`codes` (B, K, T) with codebooks from `first` on drawn anew, each given the true past.

    The last frames of a delayed codebook lie beyond the window and stay as they are.
    """
    from audiocraft.modules.conditioners import ConditioningAttributes

    frames = codes.shape[-1]
    pattern = lm.pattern_provider.get_pattern(frames)
    sequence, _, _ = pattern.build_pattern_sequence(
        codes.contiguous(), lm.special_token_id, keep_only_valid_steps=True
    )
    conditions = [ConditioningAttributes(text={CONDITION: text}) for text in texts]
    x = sum(embedding(sequence[:, k, :-1]) for k, embedding in enumerate(lm.emb))
    provider = lm.condition_provider
    x, _ = lm.fuser(x, provider(provider.tokenize(conditions)))
    x = lm.transformer(x)
    if lm.out_norm is not None:
        x = lm.out_norm(x)
    drawn = codes.clone()
    for k in range(first, lm.n_q):
        # What is fed at step t + k foretells frame t of codebook k.
        logits = lm.linears[k](x[:, k:]).float() / temperature
        noise = torch.empty(logits.shape).exponential_(1, generator=generator).to(logits.device)
        token = (torch.softmax(logits, -1) / noise).argmax(-1)
        drawn[:, k, : token.shape[1]] = token
    return drawn


def refine_decoder(
    config: RefiningConfig,
    catalogue_dir: Path,
    out_dir: Path,
    *,
    resume: bool = True,
    max_minutes: float | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Refine the codec of `out_dir` (`codec.pt`) with its language model (`lm-best.pt`).

    Returns the path of `codec-refined.pt`, a codec checkpoint like any other. Resumable.
    """
    from studio.music.training.catalogue import Catalogue

    torch.set_num_threads(config.threads)
    run = _Refining(config, Catalogue.open(catalogue_dir), out_dir)
    path = out_dir / REFINED_NAME
    if resume and path.exists():
        run.restore(path)
    began = time.monotonic()
    while run.position < config.steps:
        figures = run.step()
        expired = max_minutes is not None and time.monotonic() - began > 60 * max_minutes
        if run.position % config.save_every == 0 or run.position == config.steps or expired:
            run.save(path)
            row = {"step": run.position, "s": time.monotonic() - began, **figures}
            with (out_dir / "refine.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            logger.info("decoder %s", json.dumps(row))
        if progress is not None:
            progress(run.position, config.steps, figures)
        if expired:
            break
    return path


class _Refining:
    """The state of one run. What a step does depends on the seed and its number alone."""

    def __init__(self, config: RefiningConfig, catalogue: Catalogue, out_dir: Path) -> None:
        self.config, self.catalogue = config, catalogue
        self.device = torch.device(config.device)
        try:
            self.source: dict[str, Any] = torch.load(
                out_dir / "codec.pt", map_location="cpu", weights_only=True
            )
        except OSError as exc:
            raise HouseError(f"{out_dir} holds no codec: {exc}; train the codec first") from exc
        self.codec = load_codec_checkpoint(out_dir / "codec.pt")
        lm, house = load_lm_checkpoint(out_dir / "lm-best.pt")
        self.lm, self.house = lm.to(self.device), house
        self.store = TokenStore.open(out_dir / "tokens", self.codec)
        self.codec.to(self.device)
        frames = round(house.lm.max_duration_s * house.codec.frame_rate)
        self.plan = SegmentPlan(self.store, "train", frames, 0.3)
        self.tracks = {track.id: track for track in catalogue.tracks("train")}
        rate = house.codec.sample_rate
        self.mels = (
            MultiScaleMel(rate, (512, 1024, 2048)).to(self.device),
            MultiScaleMel(rate, (2048, 4096), bands=192).to(self.device),  # tells partials apart
        )
        torch.manual_seed(config.seed)
        decoder = self.codec.decoder
        self.optimizer = torch.optim.AdamW(
            decoder.parameters(), lr=config.learning_rate, betas=(0.8, 0.99), weight_decay=0.01
        )
        self.averaged = {k: v.detach().clone() for k, v in decoder.named_parameters()}
        self.position = 0

    def step(self) -> dict[str, float]:
        config, step = self.config, self.position
        progress = step / config.steps
        rate = config.learning_rate * min(1.0, (step + 1) / 20)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        latent, x, true = self._batch((config.seed, step, 11))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            y = self.codec.decoder(latent)
        mel = sum((loss(y, x) for loss in self.mels), start=torch.zeros((), device=self.device))
        wave = (waveform_error_db(y, x) * true).sum() / true.sum().clamp(min=1)
        loss = mel + config.wave_weight * wave
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.codec.decoder.parameters(), config.clip).item()
        if not math.isfinite(norm):
            raise HouseError(f"the gradient is not finite at step {step}; lower the learning rate")
        self.optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.codec.decoder.named_parameters():
                self.averaged[name].lerp_(value, 1 - decay)
        self.position += 1
        return {"mel": mel.item(), "wave_db": -wave.item(), "grad": norm, "rate": rate}

    @torch.no_grad()
    def _batch(self, key: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, the music they stand for, and which of them come from true tokens."""
        config, hop = self.config, self.house.codec.hop
        codes, heard = self.plan.batch(config.batch, key)
        codes = codes.to(self.device)
        rng = np.random.default_rng([*key, 1])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        texts = [condition_text(one.tags, one.sheet, one.start) for one in heard]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            drawn = drawn_tokens(
                self.lm,
                codes,
                texts,
                self.house.codec.envelope_codebooks,
                float(rng.uniform(*config.temperatures)),
                generator,
            )
        true = torch.from_numpy(rng.random(config.batch) >= config.drawn_share).to(self.device)
        played = torch.where(true[:, None, None], codes, drawn)
        count = round(config.crop_s * self.house.codec.frame_rate)
        first = int(rng.integers(codes.shape[-1] - self.house.codec.codebooks - count + 1))
        latent = self.codec.quantizer.decode(played[..., first : first + count])
        sound = [
            self.catalogue.samples(self.tracks[one.track])[
                (one.start + first) * hop : (one.start + first + count) * hop
            ]
            for one in heard
        ]
        x = torch.from_numpy(np.stack(sound).astype(np.float32) / 32768)[:, None]
        return latent, x.to(self.device), true.float()

    def save(self, path: Path) -> None:
        """A codec checkpoint with the refined decoder, and what a resumed run needs."""
        averaged = dict(self.source["averaged"])
        averaged.update({f"decoder.{k}": v.cpu() for k, v in self.averaged.items()})
        state = {
            **self.source,
            "averaged": averaged,
            "refining": {
                "position": self.position,
                "config": asdict(self.config),
                "decoder": self.codec.decoder.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        refining = state["refining"]
        self.codec.decoder.load_state_dict(refining["decoder"])
        self.optimizer.load_state_dict(refining["optimizer"])
        self.averaged = {
            k: state["averaged"][f"decoder.{k}"].to(self.device) for k in self.averaged
        }
        self.position = refining["position"]
