"""Networks of the stem codec, on frames.

All are ConvNeXt blocks at 50 frames a second; :mod:`studio.music.models.house.stem_codec` puts them
together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import ConfigError
from studio.music.models.house.notes import FRAME, NO_PROGRAM, STEMS

__all__ = [
    "CONTEXT",
    "HOP",
    "LOOK_AHEAD",
    "Conditions",
    "ConvBlock",
    "GainDecoder",
    "Predictor",
    "ResidualDecoder",
    "ResidualEncoder",
    "StemCodecConfig",
]

CONTEXT = 40
"""Frames on either side that a decoded frame may depend on."""

LOOK_AHEAD = 24
"""Frames of tokens after a frame that it depends on; the score is known whole."""

HOP = 320
"""Samples between two gains: a third of a frame."""

_GAIN_RANGE = (-9.0, 5.0)  # nepers


@dataclass(frozen=True, slots=True)
class StemCodecConfig:
    """Shape of the networks."""

    dim: int = 192
    predictor_layers: int = 5
    encoder_layers: int = 2
    decoder_layers: int = 5
    kernel: int = 7
    small_kernel: int = 5
    latent_dim: int = 32
    codebooks: int = 2
    bins: int = 512
    bands: int = 80
    gain_bands: int = 64

    def __post_init__(self) -> None:
        half, small = self.kernel // 2, self.small_kernel // 2
        after_tokens = small * self.encoder_layers + half * self.decoder_layers + 3
        if after_tokens > LOOK_AHEAD or after_tokens + half * self.predictor_layers > CONTEXT:
            raise ConfigError(f"the networks see further than {CONTEXT} frames")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the networks are told of some stems over some frames; the first axis is the batch.

    ``stem`` (batch,) are indices into STEMS; ``roll`` and ``onset`` (batch, frames, 128), ``place``
    (batch, frames) and ``programs`` (batch, 4) as in :class:`ScoreFeatures`; ``tonal`` and
    ``noise`` (batch, frames, bands) the envelopes of the excitation.
    """

    stem: Tensor
    roll: Tensor
    onset: Tensor
    place: Tensor
    programs: Tensor
    tonal: Tensor
    noise: Tensor


class ConvBlock(nn.Module):
    """Depthwise convolution over time and a pointwise network, on (batch, frames, channels).

    After ConvNeXt (arXiv:2201.03545). The convolution is written as a sum of shifted products: the
    same on every CPU, where low-precision convolutions are not.
    """

    def __init__(self, dim: int, kernel: int, scale: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.depthwise = nn.Parameter(torch.randn(kernel, dim) * kernel**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.contract = nn.Linear(2 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        padded = F.pad(x, (0, 0, self.kernel // 2, self.kernel // 2))
        y = padded[:, :frames] * self.depthwise[0]
        for k in range(1, self.kernel):
            y = torch.addcmul(y, padded[:, k : k + frames], self.depthwise[k])
        change: Tensor = self.contract(F.gelu(self.expand(self.norm(y))))
        return torch.addcmul(x, self.scale, change)


def _blocks(dim: int, layers: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(*(ConvBlock(dim, kernel, 1 / layers) for _ in range(layers)))


def _unit(log_level: Tensor) -> Tensor:
    """Natural logs of levels, -11.5 to about 0, at about unit scale."""
    return (log_level + 7.0) / 3.0


class Predictor(nn.Module):
    """Score and excitation -> a hidden state a frame, and the envelope that it expects."""

    def __init__(self, config: StemCodecConfig) -> None:
        super().__init__()
        dim = config.dim
        self.levels = nn.Linear(2 * config.bands, dim)
        self.roll = nn.Linear(128, dim, bias=False)
        self.onset = nn.Linear(128, dim, bias=False)
        self.place = nn.Linear(2, dim, bias=False)
        self.program = nn.Embedding(NO_PROGRAM + 1, dim, padding_idx=NO_PROGRAM)
        self.stem = nn.Embedding(len(STEMS), dim)
        self.blocks = _blocks(dim, config.predictor_layers, config.kernel)
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, config.bands)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, c: Conditions) -> tuple[Tensor, Tensor]:
        struck = (c.onset.amax(-1) > 0).to(c.place)
        x = self.levels(_unit(torch.cat([c.tonal, c.noise], -1)))
        x = x + self.roll(c.roll) + self.onset(2 * c.onset)
        x = x + self.place(torch.stack([struck, struck * c.place], -1))
        x = x + (self.program(c.programs).sum(1) + self.stem(c.stem))[:, None]
        hidden = self.norm(self.blocks(x))
        return hidden, torch.logaddexp(c.tonal, c.noise) + self.out(hidden)


class ResidualEncoder(nn.Module):
    """What the prediction lacks -> a latent a frame."""

    def __init__(self, config: StemCodecConfig) -> None:
        super().__init__()
        self.residual = nn.Linear(config.bands, config.dim)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.blocks = _blocks(config.dim, config.encoder_layers, config.small_kernel)
        self.out = nn.Linear(config.dim, config.latent_dim)

    def forward(self, residual: Tensor, hidden: Tensor) -> Tensor:
        latent: Tensor = self.out(self.blocks(self.residual(residual) + self.hidden(hidden)))
        return latent


class ResidualDecoder(nn.Module):
    """Latents -> what they add to the prediction."""

    def __init__(self, config: StemCodecConfig) -> None:
        super().__init__()
        self.latent = nn.Linear(config.latent_dim, config.dim)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.blocks = _blocks(config.dim, config.encoder_layers, config.small_kernel)
        self.out = nn.Linear(config.dim, config.bands)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, latent: Tensor, hidden: Tensor) -> Tensor:
        added: Tensor = self.out(self.blocks(self.latent(latent) + self.hidden(hidden)))
        return added


class GainDecoder(nn.Module):
    """Envelope and excitation -> log gains (batch, 3 * frames, 2, gain bands)."""

    def __init__(self, config: StemCodecConfig) -> None:
        super().__init__()
        self.bands = config.gain_bands
        self.sub = FRAME // HOP
        self.levels = nn.Linear(5 * config.bands, config.dim)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.blocks = _blocks(config.dim, config.decoder_layers, config.kernel)
        self.norm = nn.LayerNorm(config.dim)
        self.out = nn.Linear(config.dim, self.sub * 2 * self.bands)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, level: Tensor, c: Conditions, hidden: Tensor) -> Tensor:
        lacking = level - torch.logaddexp(c.tonal, c.noise)
        seen = [
            _unit(level),
            _unit(c.tonal),
            _unit(c.noise),
            lacking,
            (c.tonal - c.noise).clamp(-4, 4) / 2,
        ]
        x = self.levels(torch.cat(seen, -1)) + self.hidden(hidden)
        gains = self.out(self.norm(self.blocks(x)))
        batch, frames, _ = gains.shape
        out: Tensor = gains.view(batch, frames * self.sub, 2, self.bands).clamp(*_GAIN_RANGE)
        return out
