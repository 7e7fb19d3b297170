"""Trains the stem codec: first what the tokens mean, then the decoder.

1. ``levels`` - predictor, residual encoder and decoder learn from envelopes alone, which is cheap;
2. ``codes`` - codebooks are placed by k-means on the latents, then learnt by moving averages while
   the networks learn through them;
3. ``decoder`` - all of that is frozen, so tokens no longer change and the language model can be
   trained beside it, while the decoder learns from audio. A part of its batches is decoded without
   tokens or with some of them wrong, as a language model will draw them.

What a step does depends on the seed and its number alone; a resumed run goes on as if it had not
stopped.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from studio.core.errors import ConfigError, HouseError
from studio.music.models.house.excitation import InstrumentTables
from studio.music.models.house.notes import STEMS
from studio.music.models.house.stem_codec import (
    Conditions,
    StemCodec,
    StemCodecConfig,
    mel_matrix,
)
from studio.music.training.clustering import k_means, nearest
from studio.music.training.recipe import read_part, read_profile
from studio.music.training.stems.data import StemTracks
from watermark.util.files import replacing

__all__ = ["StemCodecTraining", "StemTrainingConfig", "spectral_loss", "train_stem_codec"]

logger = logging.getLogger(__name__)

PHASES = ("levels", "codes", "decoder")


@dataclass(frozen=True, slots=True)
class StemTrainingConfig:
    """Options of one profile of ``configs/train/stem-codec.yaml``; comments there explain them."""

    model: StemCodecConfig
    seed: int = 2026
    device: str = "cpu"
    threads: int = 1
    learning_rate: float = 1.5e-3
    decoder_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.995
    batch: int = 32
    frames: int = 120
    levels_steps: int = 600
    codes_steps: int = 900
    decoder_batch: int = 8
    decoder_frames: int = 60
    decoder_steps: int = 3000
    code_decay: float = 0.99
    commit_weight: float = 0.1
    revive_every: int = 20
    revive_below: float = 0.05
    without_tokens: float = 0.2
    wrong_tokens: float = 0.2
    save_minutes: float = 3.0

    @classmethod
    def load(cls, path: Path, profile: str) -> StemTrainingConfig:
        """Read one profile. Raises :class:`ConfigError` for an unknown profile or option."""
        model = read_part(StemCodecConfig, path, "model")
        return read_profile(cls, path, profile, model=model)

    @property
    def steps(self) -> int:
        return self.levels_steps + self.codes_steps + self.decoder_steps

    def phase(self, step: int) -> tuple[str, float]:
        """Phase of a step, and how far through it (0 to 1) the step lies."""
        for name in PHASES:
            length = int(getattr(self, f"{name}_steps"))
            if step < length:
                return name, step / length
            step -= length
        return PHASES[-1], 1.0


def spectral_loss(sound: Tensor, target: Tensor) -> Tensor:
    """Differences of spectra at three resolutions and of log-mel levels, in about nepers."""
    total = sound.new_zeros(())
    for size in (256, 1024, 4096):
        window = torch.hann_window(size, device=sound.device)
        a, b = (
            torch.stft(x, size, size // 4, window=window, return_complex=True).abs()
            for x in (sound, target)
        )
        log = (torch.log(a + 1e-2) - torch.log(b + 1e-2)).abs().mean()
        total = total + log + (a - b).abs().mean() / (b.mean() + 0.02)
        if size == 1024:
            mel = mel_matrix(size, 64).to(sound.device)
            low = [torch.log(x.transpose(1, 2) @ mel + 1e-3) for x in (a, b)]
            total = total + 2 * (low[0] - low[1]).abs().mean()
    return total / 5


class StemCodecTraining:
    """The state of one run: codec, optimiser, averaged weights, averages of the codes, step."""

    def __init__(
        self, config: StemTrainingConfig, tables: InstrumentTables, tracks: StemTracks
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.tracks = config, tracks
        self.device = torch.device(config.device)
        self.codec = StemCodec(config.model, tables).to(self.device)
        self.position = 0
        self.sizes = torch.ones(self.codec.codebooks.shape[:3], device=self.device)
        self.sums = self.codec.codebooks.clone()
        self._begin("levels")

    def _parts(self, phase: str) -> list[nn.Module]:
        codec = self.codec
        if phase == "decoder":
            return [codec.decoder]
        return [codec.predictor, codec.encoder, codec.residual]

    def _begin(self, phase: str) -> None:
        """A new optimiser and new averages for the parts that a phase trains."""
        parts = self._parts(phase)
        self.codec.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
        self.trained = [(n, p) for n, p in self.codec.named_parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [p for _, p in self.trained],
            lr=1e-3,
            betas=(0.9, 0.98),
            weight_decay=self.config.weight_decay,
        )
        self.averaged = {n: p.detach().clone() for n, p in self.trained}

    def step(self) -> dict[str, float]:
        """One step; the figures of its batch."""
        config, step = self.config, self.position
        phase, progress = config.phase(step)
        if step == config.levels_steps:
            self._place_codes()
        if step == config.levels_steps + config.codes_steps:
            self.settle()
            self._begin("decoder")
        top = config.decoder_rate if phase == "decoder" else config.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = top * _schedule(phase, progress)
        loss, figures = self._decoder() if phase == "decoder" else self._levels(phase)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        norm = nn.utils.clip_grad_norm_([p for _, p in self.trained], config.clip)
        if not math.isfinite(float(norm)):
            raise HouseError(f"the gradient is not finite at step {step}; lower the learning rate")
        self.optimizer.step()
        begun = step - sum(
            int(getattr(config, f"{p}_steps")) for p in PHASES[: PHASES.index(phase)]
        )
        decay = min(config.ema, (1 + begun) / (10 + begun))
        with torch.no_grad():
            for name, value in self.trained:
                self.averaged[name].lerp_(value, 1 - decay)
        self.position += 1
        return figures

    def _levels(self, phase: str) -> tuple[Tensor, dict[str, float]]:
        config, codec = self.config, self.codec
        key = (config.seed, self.position)
        c, target, _ = self.tracks.batch(config.batch, config.frames, key, audio=False)
        c, target = _to(c, self.device), target.to(self.device)
        hidden, expected = codec.predict(c)
        predicted = (expected - target).abs().mean()
        latent = codec.encoder((target - expected).detach(), hidden.detach())
        commit = latent.new_zeros(())
        if phase == "codes":
            tokens = codec.quantize(latent.detach(), c.stem)
            quantized = codec.dequantize(tokens, c.stem)
            commit = (latent - quantized).square().mean()
            self._learn_codes(latent.detach(), tokens, c.stem)
            latent = latent + (quantized - latent).detach()
        added = codec.residual(latent, hidden.detach())
        left = (expected.detach() + added - target).abs().mean()
        loss = predicted + left + config.commit_weight * commit
        return loss, {
            "predicted": predicted.item(),
            "left": left.item(),
            "commit": commit.item(),
        }

    def _decoder(self) -> tuple[Tensor, dict[str, float]]:
        config, codec = self.config, self.codec
        key = (config.seed, self.position)
        c, target, signals = self.tracks.batch(
            config.decoder_batch, config.decoder_frames, key, audio=True
        )
        assert signals is not None
        c, target, signals = _to(c, self.device), target.to(self.device), signals.to(self.device)
        with torch.no_grad():
            hidden, expected = codec.predict(c)
            latent = codec.encoder(target - expected, hidden)
            tokens = codec.quantize(latent, c.stem)
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.position)
            rows = torch.rand(len(tokens), generator=generator)
            wrong = torch.rand(tokens.shape, generator=generator) < config.wrong_tokens
            wrong &= (rows > 1 - config.wrong_tokens)[:, None, None]
            drawn = torch.randint(config.model.bins, tokens.shape, generator=generator)
            tokens = torch.where(wrong.to(tokens.device), drawn.to(tokens.device), tokens)
            added = codec.residual(codec.dequantize(tokens, c.stem), hidden)
            kept = (rows >= config.without_tokens).to(added)
            level = expected + added * kept[:, None, None]
        gains = codec.decoder(level, c, hidden)
        loss = spectral_loss(codec.filter(gains, signals[:, 1:]), signals[:, 0])
        return loss, {"spectral": loss.item()}

    def start_from(self, codec: StemCodec) -> None:
        """Begin with the weights of another codec of the same shape, on the present tables.

        Raises :class:`ConfigError` where the shapes differ.
        """
        try:
            self.codec.load_state_dict(codec.state_dict())
        except RuntimeError as exc:
            raise ConfigError("the codec to start from has another shape") from exc
        self._begin("levels")

    # Codes ------------------------------------------------------------------------------------

    @torch.no_grad()
    def _latents(self, batches: int) -> list[Tensor]:
        """Latents of each stem over many batches."""
        found: list[list[Tensor]] = [[] for _ in STEMS]
        for k in range(batches):
            c, target, _ = self.tracks.batch(
                self.config.batch, self.config.frames, (self.config.seed, 7, k), audio=False
            )
            c, target = _to(c, self.device), target.to(self.device)
            hidden, expected = self.codec.predict(c)
            latent = self.codec.encoder(target - expected, hidden)
            for stem in range(len(STEMS)):
                found[stem].append(latent[c.stem == stem].flatten(0, 1))
        return [torch.cat(parts) for parts in found]

    @torch.no_grad()
    def _place_codes(self) -> None:
        """Codes at the k-means centres of what the codebooks before leave over."""
        generator = torch.Generator().manual_seed(self.config.seed)
        for stem, latents in enumerate(self._latents(30)):
            if len(latents) == 0:
                continue
            rest = latents
            for k in range(self.config.model.codebooks):
                centres = k_means(rest, self.config.model.bins, generator)
                self.codec.codebooks[stem, k] = centres
                chosen = nearest(rest, centres)
                sizes = torch.bincount(chosen, minlength=len(centres)).to(centres)
                self.sizes[stem, k] = sizes / sizes.mean()
                rest = rest - centres[chosen]
        self.sums = self.codec.codebooks * self.sizes[..., None]

    @torch.no_grad()
    def _learn_codes(self, latent: Tensor, tokens: Tensor, stem: Tensor) -> None:
        """Moving averages of the latents that chose each code; unused codes are placed anew."""
        config = self.config
        rest = latent
        revive = self.position % config.revive_every == 0
        rng = torch.Generator().manual_seed(config.seed + self.position)
        for k in range(config.model.codebooks):
            for which in range(len(STEMS)):
                mine = rest[stem == which].flatten(0, 1)
                if len(mine) == 0:
                    continue
                chosen = tokens[stem == which, k].flatten()
                book = self.codec.codebooks[which, k]
                scale = len(book) / len(mine)
                counts = torch.bincount(chosen, minlength=len(book)).to(mine) * scale
                sums = torch.zeros_like(book).index_add_(0, chosen, mine) * scale
                self.sizes[which, k].lerp_(counts, 1 - config.code_decay)
                self.sums[which, k].lerp_(sums, 1 - config.code_decay)
                used = self.sizes[which, k] > 1e-3
                book[used] = self.sums[which, k][used] / self.sizes[which, k][used, None]
                if revive:
                    dead = torch.nonzero(self.sizes[which, k] < config.revive_below).flatten()
                    pick = torch.randint(len(mine), (len(dead),), generator=rng)
                    book[dead] = mine[pick.to(mine.device)]
                    self.sizes[which, k, dead] = 0.5
                    self.sums[which, k, dead] = 0.5 * book[dead]
            rest = rest - self.codec.dequantize_one(tokens[:, k], stem, k)

    @torch.no_grad()
    def settle(self) -> None:
        """Take the averaged weights, and round what tokens depend on to the precision of files."""
        for name, value in self.trained:
            value.copy_(self.averaged[name])
        for part in (self.codec.predictor, self.codec.encoder, self.codec.residual):
            for parameter in part.parameters():
                parameter.copy_(parameter.half().float())
        self.codec.codebooks.copy_(self.codec.codebooks.half().float())

    # Files ------------------------------------------------------------------------------------

    def averaged_codec(self) -> StemCodec:
        """The codec with averaged weights, in eval mode."""
        codec = StemCodec(self.config.model, self.codec.excitation.tables)
        codec.load_state_dict({**self.codec.state_dict(), **self.averaged})
        return codec.eval()

    def save(self, path: Path) -> None:
        """Everything the next step depends on."""
        state = {
            "position": self.position,
            "codec": self.codec.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "sizes": self.sizes,
            "sums": self.sums,
        }
        with replacing(path) as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of :meth:`save`."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.position = int(state["position"])
        decoding = self.position > self.config.levels_steps + self.config.codes_steps
        self._begin("decoder" if decoding else "levels")
        self.codec.load_state_dict(state["codec"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.sizes, self.sums = state["sizes"], state["sums"]


def train_stem_codec(
    config: StemTrainingConfig,
    tables: InstrumentTables,
    tracks: StemTracks,
    run: Path,
    *,
    resume: bool = True,
    start: Path | None = None,
    max_minutes: float | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train, save every few minutes, and return the path of the codec of the last step.

    A new run may begin with the weights of the codec file ``start``.
    ``run`` gets ``training.pt`` (to resume), ``stem-codec.safetensors`` and ``log.jsonl``. Raises
    :class:`HouseError` where the loss is no longer finite.
    """
    torch.set_num_threads(config.threads)
    run.mkdir(parents=True, exist_ok=True)
    training = StemCodecTraining(config, tables, tracks)
    state = run / "training.pt"
    if resume and state.exists():
        training.restore(state)
        logger.info("stem codec: resumed at step %d", training.position)
    elif start is not None:
        training.start_from(StemCodec.load(start))
    begun = saved = time.monotonic()
    settled = config.levels_steps + config.codes_steps
    means: dict[str, float] = {}
    while training.position < config.steps:
        figures = training.step()
        for name, value in figures.items():
            means[name] = 0.95 * means.get(name, value) + 0.05 * value
        now = time.monotonic()
        late = max_minutes is not None and now - begun > 60 * max_minutes
        due = now - saved > 60 * config.save_minutes or training.position == settled + 1
        if progress is not None:
            progress(training.position, config.steps, means)
        if due or late or training.position == config.steps:
            saved = now
            training.save(state)
            training.averaged_codec().save(run / "stem-codec.safetensors")
            line = {
                "step": training.position,
                "phase": config.phase(training.position - 1)[0],
                "minutes": round((now - begun) / 60, 2),
                **{name: round(value, 4) for name, value in means.items()},
            }
            with (run / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if late:
            break
    return run / "stem-codec.safetensors"


def _to(c: Conditions, device: torch.device) -> Conditions:
    names = (field.name for field in fields(Conditions))
    return Conditions(*(getattr(c, name).to(device) for name in names))


def _schedule(phase: str, progress: float) -> float:
    """Warm-up over the first 2 %, then a cosine; phases one and two share one cosine."""
    if phase == "levels":
        return min(1.0, (progress + 0.002) / 0.05)
    warm = min(1.0, (progress + 0.002) / 0.02) if phase == "decoder" else 1.0
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
