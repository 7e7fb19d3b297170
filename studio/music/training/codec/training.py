"""Trains the house codec: auto-encoder, then codebooks by k-means, then both, then the decoder.

Three phases, each with its own cosine schedule, all in one resumable run:

1. ``warmup`` - encoder and decoder without quantiser, until the latents mean something;
2. ``joint`` - codebooks placed by k-means on those latents, then learnt by moving averages while
   the network learns through them. Codes nobody uses are placed anew, because audiocraft's own
   revival is undone in the step that makes it (`core_vq.py`: `embed` is overwritten from
   `embed_avg`);
3. ``decoder`` - encoder and codebooks are frozen, so that tokens no longer change and the language
   model can be trained beside it, while the decoder goes on improving.

What a step does depends on the seed and the step's number alone, so that a resumed run continues
exactly as if it had not stopped.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studio.core.errors import ConfigError, HouseError
from studio.music.models.house.codec import (
    CodecConfig,
    ConvNeXtBlock,
    EnvelopeEncoder,
    SplitEncoder,
    SplitQuantizer,
    build_codec,
)
from studio.music.training.codec.losses import MultiScaleMel, si_sdr, waveform_error_db

if TYPE_CHECKING:
    from audiocraft.models.encodec import EncodecModel

__all__ = [
    "CodecTraining",
    "CodecTrainingConfig",
    "place_codebooks",
    "revive_dead_codes",
    "train_codec",
]

logger = logging.getLogger(__name__)

PHASES = ("warmup", "joint", "decoder")
_MEL_WINDOWS = (512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class CodecTrainingConfig:
    """Options of one profile of ``configs/train/codec.yaml``; the comments there explain them."""

    model: CodecConfig
    seed: int = 2026
    device: str = "cpu"
    threads: int = 1
    bf16: bool = False
    batch: int = 8
    segment_s: float = 2.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    wave_weight: float = 0.1
    mel_weight: float = 1.0
    envelope_weight: float = 0.5
    drop_waveform: float = 0.1
    commit_weight: float = 0.25
    ema: float = 0.995
    revive_every: int = 25
    revive_below: float = 0.05
    kmeans_vectors: int = 24000
    warmup_steps: int = 500
    joint_steps: int = 4000
    decoder_steps: int = 2500
    save_every: int = 250
    validation_segments: int = 24

    @classmethod
    def load(cls, path: Path, profile: str) -> CodecTrainingConfig:
        """Read one profile. Raises :class:`ConfigError` for an unknown profile or option."""
        data = read_profile(path, profile)
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ConfigError(f"{path}: unknown option {', '.join(sorted(unknown))}")
        try:
            return cls(**{**data, "model": CodecConfig(**data["model"])})
        except (TypeError, KeyError) as exc:
            raise ConfigError(f"{path}: {exc}") from exc

    @property
    def steps(self) -> int:
        return self.warmup_steps + self.joint_steps + self.decoder_steps

    def phase(self, step: int) -> tuple[str, float]:
        """Phase of a step, and how far through it (0 to 1) the step lies."""
        for name in PHASES:
            length = int(getattr(self, f"{name}_steps"))
            if step < length:
                return name, step / length
            step -= length
        return PHASES[-1], 1.0


def read_profile(path: Path, profile: str) -> dict[str, Any]:
    """`model`, `training` and one of `profiles`, merged. Raises :class:`ConfigError`."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        merged = {**data.get("training", {}), **data["profiles"][profile]}
        merged["model"] = data["model"]
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as exc:
        raise ConfigError(f"cannot read the recipe {path}: {exc}") from exc
    except KeyError as exc:
        raise ConfigError(f"{path} has no {exc}; profiles are cpu and gpu") from exc
    return merged


class SegmentSampler:
    """Random segments of whole tracks, chosen by seed and step alone.

    `tracks` are int16 mono arrays (memory maps); segments start on the codec's frame grid.
    """

    def __init__(self, tracks: Sequence[NDArray[np.int16]], length: int, hop: int) -> None:
        self.tracks = [track for track in tracks if len(track) >= length + hop]
        if not self.tracks:
            raise HouseError("the catalogue holds no track that is long enough to train on")
        self.length, self.hop = length, hop

    def batch(self, count: int, key: Sequence[int]) -> Tensor:
        """(count, 1, length) float32 in [-1, 1]; the same key gives the same batch."""
        rng = np.random.default_rng(list(key))
        out = np.empty((count, 1, self.length), np.float32)
        for row in range(count):
            track = self.tracks[int(rng.integers(len(self.tracks)))]
            start = self.hop * int(rng.integers((len(track) - self.length) // self.hop))
            out[row, 0] = track[start : start + self.length]
        return torch.from_numpy(out / 32768)


def codebooks_of(quantizer: SplitQuantizer) -> list[Any]:
    """audiocraft's `EuclideanCodebook` of each stage, those of the envelope first."""
    return [layer._codebook for part in quantizer.parts for layer in part.vq.layers]


def _stages(quantizer: SplitQuantizer, latents: Tensor) -> list[tuple[list[Any], Tensor]]:
    """Per part of the quantiser its codebooks and its share of latents (vectors, dim)."""
    first = quantizer.dims[0]
    shares = latents[:, :first], latents[:, first:]
    return [
        ([layer._codebook for layer in part.vq.layers], share)
        for part, share in zip(quantizer.parts, shares, strict=True)
    ]


@torch.no_grad()
def round_tokens(codec: EncodecModel) -> None:
    """Round what tokens depend on to fp16, the precision of the checkpoint."""
    for value in codec.encoder.parameters():
        value.copy_(value.half().float())
    for codebook in codebooks_of(codec.quantizer):
        codebook.embed.copy_(codebook.embed.half().float())


@torch.no_grad()
def place_codebooks(
    quantizer: SplitQuantizer, latents: Tensor, seed: int, iterations: int = 12
) -> None:
    """Put every stage's codes at the k-means centres of what the stages before it leave over.

    `latents` is (vectors, dim). Random codes would leave most unused for ever.
    """
    generator = torch.Generator().manual_seed(seed)
    for codebooks, share in _stages(quantizer, latents):
        _place(codebooks, share.clone(), generator, iterations)


def _place(
    codebooks: Sequence[Any], residual: Tensor, generator: torch.Generator, iterations: int
) -> None:
    for codebook in codebooks:
        count = codebook.codebook_size
        if len(residual) < count:
            raise HouseError(f"k-means needs at least {count} latents, got {len(residual)}")
        pick = torch.randperm(len(residual), generator=generator)[:count]
        centres = residual[pick.to(residual.device)].clone()
        for _ in range(iterations):
            nearest = _nearest(residual, centres)
            sums = torch.zeros_like(centres).index_add_(0, nearest, residual)
            sizes = torch.bincount(nearest, minlength=count).to(sums)
            occupied = sizes > 0
            centres[occupied] = sums[occupied] / sizes[occupied, None]
            if not bool(occupied.all()):
                spare = torch.randperm(len(residual), generator=generator)[: int((~occupied).sum())]
                centres[~occupied] = residual[spare.to(residual.device)]
        nearest = _nearest(residual, centres)
        sizes = torch.bincount(nearest, minlength=count).to(centres)
        _set_codes(codebook, torch.arange(count), centres, sizes / sizes.mean() * 2.0)
        residual = residual - centres[nearest]


@torch.no_grad()
def revive_dead_codes(
    quantizer: SplitQuantizer, latents: Tensor, below: float, seed: Sequence[int]
) -> int:
    """Move codes used less than `below` times the mean onto latents of this batch; how many.

    Sets the moving averages together with the code, so that the next update keeps it.
    """
    rng = np.random.default_rng(list(seed))
    revived = 0
    for codebooks, share in _stages(quantizer, latents):
        residual = share
        for codebook in codebooks:
            use = codebook.cluster_size
            dead = torch.nonzero(use < below * use.mean()).flatten()
            if len(dead):
                pick = torch.from_numpy(rng.integers(len(residual), size=len(dead))).to(dead.device)
                sizes = use.mean().expand(len(dead)).clone()
                _set_codes(codebook, dead, residual[pick], sizes)
                revived += len(dead)
            residual = residual - codebook.embed[_nearest(residual, codebook.embed)]
    return revived


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return (points @ centres.T - 0.5 * centres.square().sum(1)).argmax(1)


def _set_codes(codebook: Any, which: Tensor, codes: Tensor, sizes: Tensor) -> None:
    codebook.embed[which] = codes
    codebook.cluster_size[which] = sizes
    codebook.embed_avg[which] = codes * sizes[:, None]
    codebook.inited.fill_(1)


class EnvelopeReader(nn.Module):
    """Log magnitudes from the envelope latent alone; a help of training, thrown away after it.

    Its loss makes the envelope codebooks carry the spectrum by themselves, which the loss of the
    decoder, fed by both latents, would leave to chance.
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


class CodecTraining:
    """The state of one training run: networks, optimiser, averaged weights, step.

    `step()` makes one step; `save` and `restore` carry everything the next step depends on.
    """

    def __init__(self, config: CodecTrainingConfig, tracks: Sequence[NDArray[np.int16]]) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device(config.device)
        self.codec: EncodecModel = build_codec(config.model).to(self.device)
        length = round(config.segment_s * config.model.frame_rate) * config.model.hop
        self.sampler = SegmentSampler(tracks, length, config.model.hop)
        self.mel = MultiScaleMel(config.model.sample_rate, _MEL_WINDOWS).to(self.device)
        self.position = 0
        self.envelope = EnvelopeReader(self._envelope_encoder().features_dim, config.model)
        self.envelope.to(self.device)
        self.optimizer = torch.optim.AdamW(
            [*self.codec.parameters(), *self.envelope.parameters()],
            lr=config.learning_rate,
            betas=(0.8, 0.99),
            weight_decay=config.weight_decay,
        )
        self.averaged = {k: v.detach().clone() for k, v in self._trained()}

    def _envelope_encoder(self) -> EnvelopeEncoder:
        encoder = self.codec.encoder
        assert isinstance(encoder, SplitEncoder)
        return encoder.envelope

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return list(self.codec.named_parameters())

    def step(self) -> dict[str, float]:
        """One step; the figures of its batch."""
        config, step = self.config, self.position
        phase, progress = config.phase(step)
        if step == config.warmup_steps:
            place_codebooks(self.codec.quantizer, self._many_latents(), config.seed)
        if step == config.warmup_steps + config.joint_steps:
            self.freeze_tokens()
        rate = config.learning_rate * _schedule(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x = self.sampler.batch(config.batch, (config.seed, step)).to(self.device)
        self.codec.encoder.requires_grad_(phase != "decoder")
        with self._autocast():
            with torch.set_grad_enabled(phase != "decoder"):
                latent = self.codec.encoder(x).float()
            commit = latent.new_zeros(())
        if phase != "warmup":
            self.codec.quantizer.train(phase == "joint")
            result = self.codec.quantizer(latent, config.model.frame_rate)
            quantized, commit = result.x, result.penalty
        else:
            quantized = latent
        kept = self._keep_waveform(step).to(self.device)
        whole = config.model.envelope_dim
        with self._autocast():
            y = self.codec.decoder(
                torch.cat([quantized[:, :whole], quantized[:, whole:] * kept[:, None, None]], 1)
            )
        wave = (waveform_error_db(y, x) * kept).sum() / kept.sum().clamp(min=1)
        mel = self.mel(y, x)
        loss = config.wave_weight * wave + config.mel_weight * mel
        envelope = mel.new_zeros(())
        if phase != "decoder":
            with torch.no_grad():
                spectrum = self._envelope_encoder().features(x)
            with self._autocast():
                envelope = (self.envelope(quantized[:, :whole]) - spectrum).abs().mean()
            loss = loss + config.envelope_weight * envelope
        if phase == "joint":
            loss = loss + config.commit_weight * commit
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.codec.parameters(), config.clip)
        if not math.isfinite(float(norm)):
            raise HouseError(f"the gradient is not finite at step {step}; lower the learning rate")
        self.optimizer.step()
        revived = 0
        if phase == "joint" and step % config.revive_every == 0 and progress < 0.8:
            flat = latent.detach().transpose(1, 2).flatten(0, 1)
            revived = revive_dead_codes(
                self.codec.quantizer, flat, config.revive_below, (config.seed, step, 1)
            )
        # Averaged weights settle the noise of small batches; early on they follow closely.
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self._trained():
                self.averaged[name].lerp_(value, 1 - decay)
        self.position += 1
        return {
            "wave_db": -wave.item(),
            "mel": mel.item(),
            "envelope": envelope.item(),
            "commit": commit.item(),
            "grad": float(norm),
            "revived": float(revived),
            "rate": rate,
        }

    def _keep_waveform(self, step: int) -> Tensor:
        """(batch,) of ones, and zeros where this step plays from the envelope alone.

        So that a waveform which a language model guessed badly costs texture, not the music.
        """
        rng = np.random.default_rng([self.config.seed, step, 4])
        kept = rng.random(self.config.batch) >= self.config.drop_waveform
        return torch.from_numpy(kept.astype(np.float32))

    def freeze_tokens(self) -> None:
        """End of the joint phase: the averaged weights become the weights, rounded to fp16.

        Rounded now, because the checkpoint is fp16 and tokens must be those of the checkpoint.
        """
        with torch.no_grad():
            for name, value in self._trained():
                value.copy_(self.averaged[name])
            round_tokens(self.codec)
            for name, value in self._trained():
                self.averaged[name].copy_(value)
        self.codec.encoder.requires_grad_(False)
        self.optimizer.state.clear()

    def averaged_codec(self) -> EncodecModel:
        """A copy in eval mode with the averaged weights: what is evaluated and shipped."""
        codec = build_codec(self.config.model)
        state = {k: v.detach().cpu().clone() for k, v in self.codec.state_dict().items()}
        state.update({k: v.cpu().clone() for k, v in self.averaged.items()})
        codec.load_state_dict(state)
        return codec.eval()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    @torch.no_grad()
    def _many_latents(self) -> Tensor:
        config, parts, count = self.config, [], 0
        number = 0
        while count < config.kmeans_vectors:
            x = self.sampler.batch(config.batch, (config.seed, number, 2)).to(self.device)
            parts.append(self.codec.encoder(x).transpose(1, 2).flatten(0, 1))
            count += len(parts[-1])
            number += 1
        return torch.cat(parts)

    def save(self, path: Path) -> None:
        """Write to a temporary name, then replace: a killed run leaves the older checkpoint."""
        part = path.with_suffix(".part")
        state = {
            "position": self.position,
            "codec": self.codec.state_dict(),
            "envelope": self.envelope.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "config": asdict(self.config),
        }
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from :meth:`save`. Raises :class:`HouseError` for another model's checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"]["model"] != asdict(self.config.model):
            raise HouseError(f"{path} belongs to another codec; choose an empty folder")
        self.codec.load_state_dict(state["codec"])
        self.envelope.load_state_dict(state["envelope"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.position = state["position"]


def _schedule(progress: float, warm: float = 0.02) -> float:
    """Linear rise over the first share `warm`, then half a cosine down to a fiftieth."""
    if progress < warm:
        return (progress + 0.002) / (warm + 0.002)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


@torch.no_grad()
def codec_figures(
    codec: EncodecModel, segments: Iterable[Tensor], *, quantize: bool = True
) -> dict[str, float]:
    """Mean SI-SDR in dB over (1, 1, samples) segments, and perplexity of the codebooks."""
    ratios, codes = [], []
    for x in segments:
        if quantize:
            tokens, _ = codec.encode(x)
            codes.append(tokens[0])
            y = codec.decode(tokens)
        else:
            y = codec.decoder(codec.encoder(x))
        ratios.append(float(si_sdr(y[0, 0, : x.shape[-1]], x[0, 0])))
    figures = {"si_sdr_db": float(np.mean(ratios))}
    if quantize:
        figures["perplexity"] = float(np.mean(codebook_perplexity(torch.cat(codes, 1).numpy())))
    return figures


def codebook_perplexity(codes: NDArray[np.integer[Any]]) -> list[float]:
    """exp(entropy) of each codebook's use; `codes` is (codebooks, frames)."""
    out = []
    for row in codes:
        share = np.bincount(row.astype(np.int64)) / row.size
        share = share[share > 0]
        out.append(float(np.exp(-(share * np.log(share)).sum())))
    return out


def train_codec(
    config: CodecTrainingConfig,
    catalogue_dir: Path,
    out_dir: Path,
    *,
    resume: bool = True,
    until: str = "decoder",
    max_minutes: float | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> Path:
    """Train on the catalogue's training tracks; returns the checkpoint's path.

    Continues `out_dir/codec.pt` when there is one and `resume` is true. Stops after phase `until`
    or `max_minutes`; every `save_every` steps the held-out validation figures are added to
    `out_dir/codec.jsonl`. Tracks rendered meanwhile are taken in at each checkpoint.
    """
    from studio.music.training.catalogue import Catalogue

    torch.set_num_threads(config.threads)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "codec.pt"
    catalogue = Catalogue.open(catalogue_dir)
    run = CodecTraining(config, [catalogue.samples(t) for t in catalogue.tracks("train")])
    if resume and path.exists():
        run.restore(path)
    held_out = catalogue.tracks("validation") or catalogue.tracks("train")[:8]
    validation = SegmentSampler([catalogue.samples(t) for t in held_out], *_validation_span(config))
    segments = [validation.batch(1, (config.seed, i, 3)) for i in range(config.validation_segments)]
    last = sum(getattr(config, f"{name}_steps") for name in PHASES[: PHASES.index(until) + 1])
    began = time.monotonic()
    while run.position < last:
        figures = run.step()
        expired = max_minutes is not None and time.monotonic() - began > 60 * max_minutes
        if run.position % config.save_every == 0 or run.position == last or expired:
            phase, _ = config.phase(run.position - 1)
            held = codec_figures(run.averaged_codec(), segments, quantize=phase != "warmup")
            figures = {**figures, **{f"validation_{k}": v for k, v in held.items()}}
            run.save(path)
            row = {"step": run.position, "phase": phase, "s": time.monotonic() - began, **figures}
            with (out_dir / "codec.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            logger.info("codec %s", json.dumps(row))
            tracks = Catalogue.open(catalogue_dir).tracks("train")
            if len(tracks) != len(run.sampler.tracks):
                span = run.sampler.length, run.sampler.hop
                run.sampler = SegmentSampler([catalogue.samples(t) for t in tracks], *span)
        if progress is not None:
            progress(run.position, last, figures)
        if expired:
            break
    return path


def _validation_span(config: CodecTrainingConfig) -> tuple[int, int]:
    """Five-second segments on the frame grid, as (samples, hop)."""
    return 5 * config.model.frame_rate * config.model.hop, config.model.hop
