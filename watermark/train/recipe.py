"""Training stages of the house watermark model: alignment, attacks, pilot.

* **C0** spreads the bits: without it one direction of the unit-power pattern wins and all 16 bits
  share it (measured: 92 % of the message's power on one component, bit accuracy stuck at 0.66). The
  loss is the log-determinant of the Gram matrix of what flipping each bit does to the pattern.
* **C1** learns the 16 bits with sender and reader on one grid and nothing in between. Networks of
  this size trained at random offsets never leave chance: the offset modulo the networks' hop is
  what they cannot find. Strength K starts loud and is lowered by 1 dB (K + 1) whenever the running
  mean *and the worst single bit* are good: a clock would starve the bits that are still at chance.
* **D1** adds jitter, small speed changes, attacks (real codecs among them, straight through) and a
  message that switches inside the segment.
* **E1** adds marked audio at the wrong alignment as negatives of the detection output. That turns
  it into a pilot: the reader tries alignments and takes the one the pilot answers to.
* **F1** goes on from a finished run. Negatives are attacked too, half of them by codecs, some by
  pulses of the pilot's own period: without them the pilot answers to frames of coarse codecs.
* **G1** goes on likewise, from exported weights (``--init``): some rows are sealed once more with a
  stranger's message, as an attacker with the public generator would, and the part of the pattern
  that all hosts and messages share, which averaging many sealed files finds, is penalised.
* **H1** and **H2** go on likewise: the messages are scrambled with random bits that change every
  cell or two, as the epoch key does when a track is sealed (:mod:`watermark.coding.message`), and
  the loss is that of the descrambled bits. What the host, or a stranger's seal, says to a bit
  averages out.

A run writes ``state.pt`` every ``checkpoint_s`` seconds and goes on from it; ``log.jsonl`` has one
object per 20 steps.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from watermark.models.networks import (
    CELL_FRAMES,
    CELL_SAMPLES,
    MESSAGE_BITS,
    DepthConfig,
    SpectralDetector,
    SpectralGenerator,
)
from watermark.train.augment import attack, cosine, pulsed, shift, speed
from watermark.train.data import HostSampler

__all__ = ["Profile", "Stage", "load_profile", "run"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the recipe; see the module's docstring and ``configs/train/seal.yaml``."""

    name: str
    minutes: float
    batch: int
    seconds: float
    lr: float
    strength_db: float
    max_strength_db: float
    detection_weight: float
    until_strength_db: float | None = None
    jitter: int = 0  # samples at 16 kHz, either way
    attack_share: float = 0.0
    codec_share: float = 0.0
    speed_deviation: float = 0.0
    switch_share: float = 0.0
    misaligned_share: float = 0.0
    negative_share: float = 0.0  # negatives that are attacked, half of them by a codec
    pulse_share: float = 0.0  # negatives with a periodic gain or clicks
    overwrite_share: float = 0.0  # rows sealed again, with a stranger's message
    common_weight: float = 0.0  # of the power of the pattern that all rows share
    scramble_cells: tuple[int, ...] = ()  # a row's messages are scrambled anew every so many cells
    decay: bool = False
    spread_weight: float = 0.0
    spread_only: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine's worth of training."""

    device: str
    threads: int
    seed: int
    ema: float
    checkpoint_s: float
    gate: dict[str, float]
    stages: tuple[Stage, ...]
    depth: DepthConfig = field(default_factory=DepthConfig)


def load_profile(path: Path, name: str) -> Profile:
    """Read profile ``name`` from ``configs/train/seal.yaml``."""
    data = yaml.safe_load(path.read_text())["profiles"][name]
    depth = DepthConfig(**data.get("depth", {}))
    stages = tuple(
        Stage(**{**s, "scramble_cells": tuple(s.get("scramble_cells", ()))}) for s in data["stages"]
    )
    return Profile(**{**data, "stages": stages, "depth": depth})


@dataclass
class _Progress:
    stage: int = 0
    step: int = 0
    stage_step: int = 0
    stage_s: float = 0.0  # seconds spent in the stage, over all resumptions
    strength_db: float = 6.0
    since_raise: int = 0
    bit_accuracy: list[float] = field(default_factory=lambda: [0.5] * MESSAGE_BITS)


class _Ema:
    """Exponential moving average of both networks: what is evaluated and exported."""

    def __init__(self, modules: dict[str, torch.nn.Module], decay: float) -> None:
        self.decay = decay
        self.modules = modules
        self.state = {
            f"{name}.{key}": value.detach().clone()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        }
        self.count = 0

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for name, module in self.modules.items():
            for key, value in module.state_dict().items():
                self.state[f"{name}.{key}"].lerp_(value, 1 - decay)


def _messages(
    batch: int, cells: int, switch_share: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Messages per cell and which of a row's two parts each cell belongs to.

    Returns: messages (batch, cells, 16) float; part (batch, cells) of {0, 1}.
    """
    pair = torch.from_numpy(rng.integers(0, 2, (batch, 2, MESSAGE_BITS))).float()
    at = np.where(
        rng.random(batch) < switch_share, rng.integers(6, max(cells - 6, 7), batch), cells
    )
    part = (torch.arange(cells)[None] >= torch.from_numpy(at)[:, None]).long()
    return torch.gather(pair, 1, part[..., None].expand(-1, -1, MESSAGE_BITS)), part


def _scramble(batch: int, cells: int, lengths: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Random bits to exclusive-or a batch's messages with, (batch, cells, 16).

    Each row keeps its bits for one of ``lengths`` cells, from a random phase on; without lengths
    nothing is scrambled.
    """
    if not lengths:
        return torch.zeros(batch, cells, MESSAGE_BITS)
    length = rng.choice(lengths, batch)[:, None]
    chip = (np.arange(cells)[None] + rng.integers(0, length)) // length  # (batch, cells)
    table = torch.from_numpy(rng.integers(0, 2, (batch, cells + 1, MESSAGE_BITS))).float()
    index = torch.from_numpy(chip)[..., None].expand(-1, -1, MESSAGE_BITS)
    return torch.gather(table, 1, index)


def _bit_loss(
    bits: Tensor, messages: Tensor, part: Tensor, bit_weight: Tensor
) -> tuple[Tensor, Tensor]:
    """BCE of the mean logits over each part; and the accuracy per bit of the means, (16,)."""
    losses, hits, count = [], torch.zeros(MESSAGE_BITS, device=bits.device), 0.0
    for index in (0, 1):
        mask = (part == index).float()[..., None]  # (B, cells, 1)
        cells = mask.sum(1)  # (B, 1)
        rows = cells[:, 0] > 0
        if not bool(rows.any()):
            continue
        mean = (bits * mask).sum(1)[rows] / cells[rows]
        target = ((messages * mask).sum(1)[rows] / cells[rows]).round()
        weight = (cells[rows] / bits.shape[1]).sqrt() * bit_weight
        losses.append(
            (F.binary_cross_entropy_with_logits(mean, target, reduction="none") * weight).sum()
        )
        hits += ((mean > 0).float() == target).float().sum(0).detach()
        count += float(rows.sum())
    return torch.stack(losses).sum() / (count * MESSAGE_BITS), hits / count


def _common_power(pattern: Tensor) -> Tensor:
    """Power of what a batch's patterns have in common per cell, of patterns of unit power.

    The product of two halves' means: what hosts and messages add at random cancels in expectation,
    so that only what is common to all is penalised and the messages are not.
    """
    cells = pattern.shape[-1] // CELL_FRAMES
    whole = pattern[..., : cells * CELL_FRAMES]
    rows = whole.reshape(*whole.shape[:2], cells, CELL_FRAMES).mean(2)  # (B, bands, 8)
    half = len(rows) // 2
    shared: Tensor = (rows[:half].mean(0) * rows[half:].mean(0)).mean()
    return shared


class _Trainer:
    def __init__(self, profile: Profile, hosts: HostSampler, work: Path) -> None:
        self.profile, self.hosts, self.work = profile, hosts, work
        torch.manual_seed(profile.seed)
        torch.set_num_threads(profile.threads)
        self.device = torch.device(profile.device)
        self.generator = SpectralGenerator(depth=profile.depth).to(self.device)
        self.detector = SpectralDetector().to(self.device)
        self.networks: dict[str, torch.nn.Module] = {
            "generator": self.generator.net,
            "detector": self.detector.net,
        }
        self.parameters = [p for m in self.networks.values() for p in m.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, betas=(0.9, 0.98))
        self.ema = _Ema(self.networks, profile.ema)
        self.progress = _Progress()
        self.rng = np.random.default_rng(profile.seed)

    # -- spreading the bits -------------------------------------------------------------------

    def spread_loss(self, seconds: float = 1.28) -> Tensor:
        """0 when the 16 bits share the pattern's power equally and orthogonally, else above.

        One host, one message and its 16 single-bit flips; what the detector cannot see (a band's
        mean over time, detail finer than the analysis window) is smoothed away first.
        """
        host = self.hosts.batch(1, int(seconds * 16_000)).to(self.device)
        spectrum = self.generator.spectrum
        with torch.no_grad():
            features = spectrum.features(spectrum.log_energy(spectrum.stft(host)))
        base = torch.from_numpy(self.rng.integers(0, 2, (1, MESSAGE_BITS))).float()
        flips = torch.cat([torch.zeros(1, MESSAGE_BITS), torch.eye(MESSAGE_BITS)])
        rows = (base - flips).abs().to(self.device)  # (17, 16)
        cells = features.shape[-1] // CELL_FRAMES + 1
        pattern = self.generator.pattern(
            features.expand(len(rows), -1, -1), rows[:, None].expand(-1, cells, -1)
        )
        smooth = F.avg_pool2d(pattern[:, None], 3, 1)[:, 0]
        smooth = smooth - smooth.mean(-1, keepdim=True)
        effect = (smooth[1:] - smooth[:1]).flatten(1) / 2  # (16, bands * frames)
        gram = effect @ effect.T / effect.shape[1] * MESSAGE_BITS
        eye = torch.eye(MESSAGE_BITS, device=self.device)
        return -torch.logdet(gram + 1e-3 * eye) / MESSAGE_BITS

    def spread_step(self) -> dict[str, float]:
        loss = self.spread_loss()
        self._descend(loss)
        return {"spread_loss": loss.item()}

    def _descend(self, loss: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        if math.isfinite(norm):
            self.optimizer.step()
            self.ema.update()
        return norm

    # -- one step -----------------------------------------------------------------------------

    def step(self, stage: Stage) -> dict[str, float]:
        cells = int(stage.seconds * 16_000 / CELL_SAMPLES)
        samples = cells * CELL_SAMPLES
        margin = CELL_SAMPLES if stage.jitter or stage.misaligned_share else 0
        host = self.hosts.batch(stage.batch, samples + 2 * margin).to(self.device)
        total_cells = host.shape[-1] // CELL_SAMPLES + 1
        messages, part = _messages(stage.batch, total_cells, stage.switch_share, self.rng)
        messages, part = messages.to(self.device), part.to(self.device)
        scramble = _scramble(stage.batch, total_cells, stage.scramble_cells, self.rng)
        scramble = scramble.to(self.device)
        strength_db = self.progress.strength_db
        written = (messages - scramble).abs()  # exclusive or
        mark, pattern = self.generator.mark_and_pattern(host, written, strength_db)
        marked = host + mark
        if stage.overwrite_share:
            marked = self._overwritten(marked, stage)
        if stage.speed_deviation:
            deviation = self.rng.uniform(-1, 1, stage.batch) * stage.speed_deviation
            ratio = torch.from_numpy(1 + deviation * (self.rng.random(stage.batch) < 0.5)).float()
            marked = speed(marked, ratio.to(self.device))
        if stage.attack_share:
            marked = attack(
                marked,
                self.rng,
                share=stage.attack_share,
                codec_share=stage.codec_share,
                others=torch.roll(host, 1, 0),
            )
        first = 1 if margin else 0  # the first cell read
        offsets = margin + self.rng.integers(-stage.jitter, stage.jitter + 1, stage.batch)
        read = shift(marked, torch.from_numpy(offsets).to(self.device), samples)
        pilot, bits = self.detector(read)
        pilot, bits = pilot[:, :cells], bits[:, :cells]
        inside = slice(first, first + cells)
        accuracy = torch.tensor(self.progress.bit_accuracy, device=self.device)
        weight = 0.5 + 4 * (1 - accuracy).clamp(0, 0.5)  # the bad bits count more
        bit_loss, hits = _bit_loss(
            bits * (1 - 2 * scramble[:, inside]),
            messages[:, inside],
            part[:, inside],
            weight / weight.mean(),
        )
        negative = host[:, margin : margin + samples]
        if stage.misaligned_share:
            wrong = torch.from_numpy(self.rng.integers(200, 1081, stage.batch)).to(self.device)
            swapped = torch.from_numpy(self.rng.random(stage.batch) < stage.misaligned_share)
            misaligned = shift(marked, wrong + margin, samples)
            negative = torch.where(swapped[:, None].to(self.device), misaligned, negative)
        elif stage.attack_share:
            negative = attack(negative, self.rng, share=stage.attack_share / 2, codec_share=0.0)
        if stage.pulse_share:
            chosen = torch.from_numpy(self.rng.random(stage.batch) < stage.pulse_share)
            beats = pulsed(negative, self.rng)
            negative = torch.where(chosen[:, None].to(self.device), beats, negative)
        if stage.negative_share:
            negative = attack(negative, self.rng, share=stage.negative_share, codec_share=0.5)
        null, _ = self.detector(negative)
        detection_loss = 0.5 * (F.softplus(-pilot).mean() + F.softplus(null[:, :cells]).mean())
        loss = bit_loss + stage.detection_weight * detection_loss
        if stage.spread_weight:
            loss = loss + stage.spread_weight * self.spread_loss()
        common = _common_power(pattern) if stage.batch > 1 else torch.zeros(())
        if stage.common_weight:
            loss = loss + stage.common_weight * common.clamp_min(0)
        norm = self._descend(loss)
        rate = 0.97
        old = self.progress.bit_accuracy
        self.progress.bit_accuracy = [
            rate * a + (1 - rate) * b for a, b in zip(old, hits.tolist(), strict=True)
        ]
        with torch.no_grad():
            power = host.square().mean() / mark.square().mean()
        return {
            "bit_loss": bit_loss.item(),
            "detection_loss": detection_loss.item(),
            "pilot": pilot.mean().item(),
            "null": null[:, :cells].mean().item(),
            "common": common.item(),
            "norm": norm,
            "snr_db": 10 * math.log10(float(power)),
        }

    def _overwritten(self, marked: Tensor, stage: Stage) -> Tensor:
        """Some rows with a second seal on the same grid: gradients see it as part of the host."""
        chosen = np.flatnonzero(self.rng.random(len(marked)) < stage.overwrite_share)
        if not len(chosen):
            return marked
        rows = torch.from_numpy(chosen).to(self.device)
        cells = marked.shape[-1] // CELL_SAMPLES + 1
        other, _ = _messages(len(chosen), cells, stage.switch_share, self.rng)
        other = (other - _scramble(len(chosen), cells, stage.scramble_cells, self.rng)).abs()
        with torch.no_grad():
            strange = self.generator(marked[rows], other.to(self.device), self.progress.strength_db)
        return marked.index_add(0, rows, strange)

    # -- the run ------------------------------------------------------------------------------

    def start_from(self, weights: Path) -> None:
        """Begin with exported weights instead of random ones."""
        from safetensors.torch import load_file

        tensors = load_file(weights)
        for name, module in self.networks.items():
            part = {k: v.float() for k, v in tensors.items() if k.startswith(f"{name}.")}
            module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in part.items()})
        self.ema = _Ema(self.networks, self.profile.ema)

    def gate(self, stage: Stage) -> None:
        """Lower the mark by 1 dB when the mean and the worst bit allow it."""
        p, gate = self.progress, self.profile.gate
        p.since_raise += 1
        good = np.mean(p.bit_accuracy) > gate["mean"] and min(p.bit_accuracy) > gate["worst"]
        if good and p.since_raise >= 15 and p.strength_db < stage.max_strength_db:
            p.strength_db += 1
            p.since_raise = 0

    def save(self) -> None:
        state = {
            "networks": {k: m.state_dict() for k, m in self.networks.items()},
            "ema": self.ema.state,
            "ema_count": self.ema.count,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "depth": asdict(self.profile.depth),
        }
        temporary = self.work / "state.pt.part"
        torch.save(state, temporary)
        temporary.replace(self.work / "state.pt")

    def resume(self) -> None:
        path = self.work / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name, module in self.networks.items():
            module.load_state_dict(state["networks"][name])
        self.ema.state, self.ema.count = state["ema"], state["ema_count"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = _Progress(**state["progress"])
        # Another stream than the run before: the same hosts are not drawn again.
        self.rng = np.random.default_rng([self.profile.seed, self.progress.step])

    def run(self, log: Callable[[dict[str, Any]], None]) -> None:
        saved = time.monotonic()
        p = self.progress
        while p.stage < len(self.profile.stages):
            stage = self.profile.stages[p.stage]
            if p.stage_step == 0:
                p.strength_db = stage.strength_db
            while p.stage_s < stage.minutes * 60 and not (
                stage.until_strength_db is not None and p.strength_db >= stage.until_strength_db
            ):
                began = time.monotonic()
                fraction = p.stage_s / (stage.minutes * 60)
                lr = stage.lr * (max(cosine(fraction), 0.02) if stage.decay else 1.0)
                lr *= min(1.0, (p.stage_step + 1) / 30)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                figures = self.spread_step() if stage.spread_only else self.step(stage)
                self.gate(stage)
                p.step += 1
                p.stage_step += 1
                p.stage_s += time.monotonic() - began
                if p.step % 20 == 0:
                    log(self._line(stage, figures))
                if time.monotonic() - saved > self.profile.checkpoint_s:
                    self.save()
                    saved = time.monotonic()
            p.stage, p.stage_step, p.stage_s, p.since_raise = p.stage + 1, 0, 0.0, 0
            self.save()

    def _line(self, stage: Stage, figures: dict[str, float]) -> dict[str, Any]:
        p = self.progress
        return {
            "stage": stage.name,
            "step": p.step,
            "minute": round(p.stage_s / 60, 2),
            "strength_db": p.strength_db,
            "mean_bit": round(float(np.mean(p.bit_accuracy)), 3),
            "worst_bit": round(min(p.bit_accuracy), 3),
            **{k: round(v, 3) for k, v in figures.items()},
        }


def run(
    profile: Profile,
    *,
    music: list[Path],
    speech: list[Path],
    work: Path,
    init: Path | None = None,
) -> dict[str, torch.Tensor]:
    """Train, or go on with the training in ``work``; returns the averaged weights of both networks.

    Args:
        profile: from :func:`load_profile`.
        music: shards of :func:`watermark.train.data.build_shard`.
        speech: shards of :func:`watermark.train.data.build_speech`; may be empty.
        work: holds ``state.pt`` and ``log.jsonl``.
        init: exported weights (safetensors) that a new run starts from; a resumed run ignores it.
    """
    work.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(profile, HostSampler(music, speech, profile.seed), work)
    if init is not None:
        trainer.start_from(init)
    trainer.resume()
    hosts_seed = profile.seed + trainer.progress.step
    trainer.hosts = HostSampler(music, speech, hosts_seed)
    with (work / "log.jsonl").open("a") as out:

        def log(line: dict[str, Any]) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()

        trainer.run(log)
    return trainer.ema.state
