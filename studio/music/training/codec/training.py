"""Trains the bench's codec: auto-encoder, then codes and networks together, then the decoder.

1. ``warmup`` - encoders and decoder without quantisers, until the latents mean something;
2. ``joint`` - codes are placed by k-means on those latents, then learnt by moving averages while
   the networks learn through them;
3. ``decoder`` - encoders and codes are frozen, so that the decoder learns from tokens that no
   longer change.

What a step does depends on the seed and its number alone; a resumed run goes on as if it had not
stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studio.core.errors import HouseError
from studio.music.training.catalogue import Catalogue
from studio.music.training.codec.losses import MultiScaleMel, waveform_error_db
from studio.music.training.codec.network import BenchCodec, CodecConfig, ConvNeXtBlock
from studio.music.training.codec.quantizer import CodebookLearner
from studio.music.training.codec.weights_file import save_run_codec
from studio.music.training.recipe import read_part, read_profile
from watermark.util.files import replacing, write_file

__all__ = [
    "LOG_NAME",
    "RECIPE_NAME",
    "RUN_CODEC_NAME",
    "BenchCodecTraining",
    "BenchCodecTrainingConfig",
    "SegmentSampler",
    "read_log",
    "tracks_digest",
    "train_bench_codec",
]

logger = logging.getLogger(__name__)

RUN_CODEC_NAME = "bench-codec.safetensors"
LOG_NAME = "log.jsonl"
RECIPE_NAME = "recipe.json"
_STATE_NAME = "training.pt"
_MEL_WINDOWS = (512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class BenchCodecTrainingConfig:
    """Options of one profile of ``configs/train/bench-codec.yaml``; comments there explain them."""

    model: CodecConfig
    seed: int = 2026
    device: str = "cpu"
    threads: int = 1
    bf16: bool = False
    batch: int = 8
    segment_s: float = 1.5
    mixed: float = 0.3
    quieter_db: float = 12.0
    learning_rate: float = 1e-3
    decoder_rate: float = 3e-4
    weight_decay: float = 0.01
    clip: float = 1.0
    wave_weight: float = 0.1
    mel_weight: float = 1.0
    envelope_weight: float = 0.5
    commit_weight: float = 0.1
    ema: float = 0.99
    code_decay: float = 0.99
    revive_every: int = 20
    revive_below: float = 0.05
    kmeans_vectors: int = 20_000
    warmup_steps: int = 60
    joint_steps: int = 1900
    decoder_steps: int = 1200
    decoder_wave_weight: float = 0.05
    save_minutes: float = 3.0
    validation_segments: int = 16

    @classmethod
    def load(cls, path: Path, profile: str) -> BenchCodecTrainingConfig:
        """Read one profile. Raises :class:`ConfigError` for an unknown profile or option."""
        return read_profile(cls, path, profile, model=read_part(CodecConfig, path, "model"))

    @property
    def settled(self) -> int:
        """The step from which tokens no longer change."""
        return self.warmup_steps + self.joint_steps

    @property
    def steps(self) -> int:
        return self.settled + self.decoder_steps

    def rate(self, step: int) -> float:
        """Learning rate of a step: one cosine until the tokens are settled, and one after."""
        if step < self.settled:
            return self.learning_rate * _schedule(step / self.settled)
        return self.decoder_rate * _schedule((step - self.settled) / self.decoder_steps)


class SegmentSampler:
    """Random segments of whole tracks, chosen by a key alone.

    Args:
        tracks: int16 mono arrays (memory maps).
        length: of a segment, in samples.
        mixed: share of segments that are the sum of two.
        quieter_db: segments are up to so much quieter than the tracks.

    Raises:
        HouseError: no track is long enough.
    """

    def __init__(
        self,
        tracks: Sequence[NDArray[np.int16]],
        length: int,
        *,
        mixed: float = 0.0,
        quieter_db: float = 0.0,
    ) -> None:
        self.tracks = [track for track in tracks if len(track) > length]
        if not self.tracks:
            raise HouseError("the catalogue holds no track that is long enough to train on")
        self.length, self.mixed, self.quieter_db = length, mixed, quieter_db

    def batch(self, count: int, key: Sequence[int]) -> Tensor:
        """(count, 1, length) float32 in [-1, 1]; the same key gives the same batch."""
        rng = np.random.default_rng(list(key))
        out = np.empty((count, 1, self.length), np.float32)
        for row in range(count):
            sound = self._segment(rng)
            if rng.random() < self.mixed:
                sound = np.float32(0.5) * (sound + self._segment(rng))
            out[row, 0] = sound * 10 ** (-self.quieter_db * rng.random() / 20)
        return torch.from_numpy(out)

    def _segment(self, rng: np.random.Generator) -> NDArray[np.float32]:
        track = self.tracks[int(rng.integers(len(self.tracks)))]
        start = int(rng.integers(len(track) - self.length))
        return track[start : start + self.length].astype(np.float32) / np.float32(32768)


class EnvelopeReader(nn.Module):
    """Log magnitudes from the envelope latent alone; a help of training, left out of the weights.

    Its loss makes the envelope's codebooks carry the spectrum by themselves.
    """

    def __init__(self, features: int, config: CodecConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.envelope_dim, config.dim)
        self.block = ConvNeXtBlock(config.dim, config.expansion, 3, 1.0)
        self.read = nn.Linear(config.dim, features)

    def forward(self, latent: Tensor) -> Tensor:
        """(batch, envelope_dim, frames) -> (batch, frames, features)."""
        features: Tensor = self.read(self.block(self.embed(latent.transpose(1, 2))))
        return features


class BenchCodecTraining:
    """The state of one training run: networks, codes, optimiser, averaged weights, step."""

    def __init__(self, config: BenchCodecTrainingConfig, sampler: SegmentSampler) -> None:
        torch.manual_seed(config.seed)
        self.config, self.sampler = config, sampler
        self.device = torch.device(config.device)
        self.codec = BenchCodec(config.model).to(self.device)
        features = self.codec.envelope_encoder.features_dim
        self.reader = EnvelopeReader(features, config.model).to(self.device)
        self.mel = MultiScaleMel(config.model.sample_rate, _MEL_WINDOWS).to(self.device)
        self.learners = [
            CodebookLearner(quantizer, config.code_decay, config.revive_below)
            for quantizer in (self.codec.envelope, self.codec.waveform)
        ]
        self.trained = [*self.codec.parameters(), *self.reader.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=config.learning_rate,
            betas=(0.8, 0.99),
            weight_decay=config.weight_decay,
        )
        self.averaged = {n: p.detach().clone() for n, p in self.codec.named_parameters()}
        self.position = 0

    def step(self) -> dict[str, float]:
        """One step; the figures of its batch. Raises :class:`HouseError` if it diverges."""
        config, step = self.config, self.position
        if step == config.warmup_steps:
            self._place_codes()
        if step == config.settled:
            self._settle()
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(step)
        loss, figures = self._loss(self.sampler.batch(config.batch, (config.seed, step)))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        norm = nn.utils.clip_grad_norm_(self.trained, config.clip)
        if not math.isfinite(float(norm)):
            raise HouseError(f"the gradient is not finite at step {step}; lower the learning rate")
        self.optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.codec.named_parameters():
                self.averaged[name].lerp_(value, 1 - decay)
        self.position += 1
        return figures

    def _loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        config, codec = self.config, self.codec
        x = x.to(self.device)
        if self.position >= config.settled:
            return self._decoder_loss(x)
        with self._autocast():
            latents = codec.latents(x)
        commit = x.new_zeros(())
        if self.position >= config.warmup_steps:
            latents, commit = self._quantize(latents)
        with self._autocast():
            y = codec.decoder(*latents, noise_seed=1 + self.position)
            read = self.reader(latents[0])
        with torch.no_grad():
            spectrum = codec.envelope_encoder.features(x)
        wave = waveform_error_db(y, x).mean()
        mel = self.mel(y, x)
        envelope = (read.float() - spectrum).abs().mean()
        loss = (
            config.wave_weight * wave
            + config.mel_weight * mel
            + config.envelope_weight * envelope
            + config.commit_weight * commit
        )
        return loss, {
            "wave_db": -wave.item(),
            "mel": mel.item(),
            "envelope": envelope.item(),
            "commit": commit.item(),
        }

    def _decoder_loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        config, codec = self.config, self.codec
        with torch.no_grad():
            latents = codec.dequantize(codec.encode(x))
        with self._autocast():
            y = codec.decoder(*latents, noise_seed=1 + self.position)
        wave, mel = waveform_error_db(y, x).mean(), self.mel(y, x)
        loss = config.decoder_wave_weight * wave + config.mel_weight * mel
        return loss, {"wave_db": -wave.item(), "mel": mel.item()}

    @torch.no_grad()
    def _settle(self) -> None:
        """Take the averaged weights; round what tokens depend on to the precision of the file."""
        codec = self.codec
        for name, value in codec.named_parameters():
            value.copy_(self.averaged[name])
        for encoder in (codec.envelope_encoder, codec.waveform_encoder):
            for value in encoder.parameters():
                value.copy_(value.half().float())
        for quantizer in (codec.envelope, codec.waveform):
            quantizer.codebooks.copy_(quantizer.codebooks.half().float())
        for name, value in codec.named_parameters():
            self.averaged[name].copy_(value)
        self.optimizer.state.clear()

    def _quantize(self, latents: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Quantised latents, whose gradient passes straight through, and what they miss."""
        config, step = self.config, self.position
        generator = None
        if step % config.revive_every == 0 and step < 0.8 * config.settled:
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        out: list[Tensor] = []
        commit = latents[0].new_zeros(())
        for latent, learner in zip(latents, self.learners, strict=True):
            codes = learner.quantizer.encode(latent.detach())
            quantized = learner.quantizer.decode(codes)
            learner.learn(latent.detach(), codes, generator)
            commit = commit + (latent - quantized).square().mean()
            out.append(latent + (quantized - latent).detach())
        return (out[0], out[1]), commit

    @torch.no_grad()
    def _place_codes(self) -> None:
        config = self.config
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        number = 0
        while sum(map(len, parts[0])) < config.kmeans_vectors:
            x = self.sampler.batch(config.batch, (config.seed, number, 1)).to(self.device)
            for part, latent in zip(parts, self.codec.latents(x), strict=True):
                part.append(latent.transpose(1, 2).flatten(0, 1))
            number += 1
        generator = torch.Generator().manual_seed(config.seed)
        for learner, part in zip(self.learners, parts, strict=True):
            learner.place(torch.cat(part), generator)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def averaged_codec(self) -> BenchCodec:
        """The codec with averaged weights, on the CPU: what is measured and exported."""
        codec = BenchCodec(self.config.model)
        codec.load_state_dict({**self.codec.state_dict(), **self.averaged})
        return codec.eval()

    @torch.no_grad()
    def validate(self, segments: Tensor) -> dict[str, float]:
        """Waveform error and log-mel difference of (clips, 1, samples), with quantisers."""
        codec, mel = self.averaged_codec(), MultiScaleMel(self.mel.rate, _MEL_WINDOWS)
        pairs = [(codec.decode(codec.encode(x))[..., : x.shape[-1]], x) for x in _rows(segments)]
        wave = float(np.mean([float(waveform_error_db(y, x).mean()) for y, x in pairs]))
        difference = float(np.mean([float(mel(y, x)) for y, x in pairs]))
        loss = self.config.wave_weight * wave + self.config.mel_weight * difference
        return {"loss": loss, "wave_db": -wave, "mel": difference}

    def save(self, path: Path) -> None:
        """Everything the next step depends on."""
        state = {
            "model": asdict(self.config.model),
            "position": self.position,
            "codec": self.codec.state_dict(),
            "reader": self.reader.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "learners": [learner.state() for learner in self.learners],
        }
        with replacing(path) as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of :meth:`save`. Raises :class:`HouseError` for another model."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["model"] != asdict(self.config.model):
            raise HouseError(f"{path} belongs to another codec; choose an empty folder")
        self.codec.load_state_dict(state["codec"])
        self.reader.load_state_dict(state["reader"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.position = int(state["position"])
        for learner, kept in zip(self.learners, state["learners"], strict=True):
            learner.restore(kept)


def train_bench_codec(
    config: BenchCodecTrainingConfig,
    catalogue: Catalogue,
    run: Path,
    *,
    resume: bool = True,
    max_minutes: float | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train on the catalogue's training tracks; returns the path of the best codec.

    ``run`` gets ``training.pt`` (to resume), ``bench-codec.safetensors`` (the best by the loss of
    held-out tracks), ``recipe.json`` and ``log.jsonl``. Raises :class:`HouseError` where the
    catalogue has another sample rate or no held-out tracks, or the loss is no longer finite.
    """
    torch.set_num_threads(config.threads)
    training = BenchCodecTraining(config, _sampler(config, catalogue))
    held_out = _held_out(config, catalogue)
    run.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in asdict(config).items() if name != "model"}
    write_file(run / RECIPE_NAME, (json.dumps(settings, indent=2) + "\n").encode(), mode=None)
    digest = tracks_digest(catalogue)
    state, log = run / _STATE_NAME, run / LOG_NAME
    if resume and state.exists():
        training.restore(state)
        logger.info("bench codec: resumed at step %d", training.position)
    else:
        log.unlink(missing_ok=True)
    best = min((float(row["validation_loss"]) for row in read_log(log)), default=math.inf)
    minutes_before = max((float(row["minutes"]) for row in read_log(log)), default=0.0)
    begun = saved = time.monotonic()
    means: dict[str, float] = {}
    while training.position < config.steps:
        for name, value in training.step().items():
            means[name] = 0.95 * means.get(name, value) + 0.05 * value
        now = time.monotonic()
        late = max_minutes is not None and now - begun > 60 * max_minutes
        if progress is not None:
            progress(training.position, config.steps, means)
        placed = training.position > config.warmup_steps
        if now - saved > 60 * config.save_minutes or late or training.position == config.steps:
            saved = now
            if placed:
                found = training.validate(held_out)
                if found["loss"] < best:
                    best = found["loss"]
                    save_run_codec(training.averaged_codec(), run / RUN_CODEC_NAME)
                line = {
                    "step": training.position,
                    "tracks_sha256": digest,
                    "minutes": round(minutes_before + (now - begun) / 60, 2),
                    **{name: round(value, 4) for name, value in means.items()},
                    **{f"validation_{name}": round(value, 4) for name, value in found.items()},
                }
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            training.save(state)
        if late:
            break
    return run / RUN_CODEC_NAME


def tracks_digest(catalogue: Catalogue) -> str:
    """SHA-256 that names the catalogue's training tracks and their samples."""
    lines = (f"{track.id} {track.audio_sha256}\n" for track in catalogue.tracks("train"))
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's log; none where there is no log."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _sampler(config: BenchCodecTrainingConfig, catalogue: Catalogue) -> SegmentSampler:
    if catalogue.rate != config.model.sample_rate:
        raise HouseError(
            f"the catalogue has {catalogue.rate} Hz and the codec {config.model.sample_rate} Hz"
        )
    tracks = [catalogue.samples(track) for track in catalogue.tracks("train")]
    length = round(config.segment_s * config.model.frame_rate) * config.model.hop
    return SegmentSampler(tracks, length, mixed=config.mixed, quieter_db=config.quieter_db)


def _held_out(config: BenchCodecTrainingConfig, catalogue: Catalogue) -> Tensor:
    """Segments of three seconds of the validation tracks, (count, 1, samples)."""
    tracks = [catalogue.samples(track) for track in catalogue.tracks("validation")]
    if not tracks:
        raise HouseError("the catalogue holds no validation tracks; render more of it")
    sampler = SegmentSampler(tracks, 3 * config.model.sample_rate)
    return sampler.batch(config.validation_segments, (config.seed, 2))


def _rows(segments: Tensor) -> Iterator[Tensor]:
    for row in segments:
        yield row[None]


def _schedule(progress: float, warm: float = 0.02) -> float:
    """Linear rise over the first share `warm`, then half a cosine down to a fiftieth."""
    if progress < warm:
        return (progress + 0.002) / (warm + 0.002)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))
