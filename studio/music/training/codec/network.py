"""A neural codec of the seal's bench: 32 kHz music as tokens, half of them for its waveform.

It belonged to the house model's second design. Its weights are finished and kept as an attack
(:mod:`studio.music.training.codec_attack`); nothing here trains it.

An audiocraft `EncodecModel` whose encoder gives two latents a frame, each with a residual vector
quantiser of its own (a split quantiser, after SpeechTokenizer, arXiv:2308.16692, and Mimi,
arXiv:2410.00037):

* the **envelope**, from magnitudes alone. It cannot see phase, so a held chord keeps its tokens
  from frame to frame, and a language model can learn what comes next;
* the **waveform**, a linear image of the frame which starts as its lowest MDCT coefficients.

A single quantiser that follows the waveform spends its first codebooks on phase: the language model
then finds the first codebook as hard as the last, and its music wears down to a drone.

The decoder is ConvNeXt blocks at the frame rate with overlap-add (after Vocos, arXiv:2306.00814);
SEANet's strided convolutions cost about four times as much per second of audio on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.quantization.base import QuantizedResult
    from audiocraft.quantization.vq import ResidualVectorQuantizer

__all__ = ["CodecConfig", "SplitQuantizer", "build_codec", "load_codec", "mel_filters"]

WEIGHTS_NAME = "codec.safetensors"
CARD_NAME = "card.json"


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """Shape of the codec. Rates in Hz; one latent frame covers `hop` samples.

    Of the `codebooks`, the first `envelope_codebooks` belong to the envelope.
    """

    sample_rate: int = 32000
    frame_rate: int = 50
    dim: int = 384
    encoder_layers: int = 4
    envelope_layers: int = 3
    decoder_layers: int = 6
    expansion: int = 2
    kernel: int = 7
    bands: int = 40
    latent_dim: int = 128
    envelope_dim: int = 64
    codebooks: int = 8
    envelope_codebooks: int = 4
    bins: int = 512

    def __post_init__(self) -> None:
        if self.sample_rate % (2 * self.frame_rate):
            raise ConfigError("the codec's sample rate must be a multiple of twice its frame rate")
        if not 0 < self.envelope_codebooks < self.codebooks:
            raise ConfigError("envelope and waveform need at least one codebook each")

    @property
    def hop(self) -> int:
        return self.sample_rate // self.frame_rate


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a pointwise MLP, on (batch, frames, channels).

    The depthwise convolution is written as a sum of shifted products: bit-exact on every CPU,
    where oneDNN's low-precision convolutions are not, and no slower at 50 frames a second.
    """

    def __init__(self, dim: int, expansion: int, kernel: int, scale: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.depthwise = nn.Parameter(torch.randn(kernel, dim) * kernel**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.contract = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        padded = F.pad(x, (0, 0, self.kernel // 2, self.kernel // 2))
        y = padded[:, :frames] * self.depthwise[0]
        for k in range(1, self.kernel):
            y = y + padded[:, k : k + frames] * self.depthwise[k]
        change: Tensor = self.contract(F.gelu(self.expand(self.norm(y))))
        return x + self.scale * change


def _blocks(dim: int, layers: int, expansion: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        *(ConvNeXtBlock(dim, expansion, kernel, 1 / layers) for _ in range(layers))
    )


COMPRESSION = 0.3
"""Latents carry a frame's level to the power `1 - COMPRESSION`, so that soft frames count too."""

_LEVEL = 4.0
"""Brings latents of music at usual levels to about unit scale."""


class WaveformEncoder(nn.Module):
    """(batch, 1, samples) -> (batch, latent_dim, frames).

    Frame `t` is centred on samples `[t*hop, (t+1)*hop)` and spans two hops. A latent is a linear
    image of the frame, which starts as its lowest MDCT coefficients, plus what the network makes of
    the frame and its neighbours. With that start the codec follows the waveform before its first
    step (16 dB without quantiser, 5.7 dB with k-means alone, where a network without the linear
    path stood at 3.2 dB after 300 steps). The network sees the spectrum power-compressed (magnitude
    ** 0.3, phase kept), so that quiet partials are visible.
    """

    window: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.hop = config.hop
        self.register_buffer("window", _sine_window(2 * self.hop), persistent=False)
        self.embed = nn.Linear(2 * (self.hop + 1), config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = _blocks(config.dim, config.encoder_layers, config.expansion, config.kernel)
        self.out_norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(config.dim, config.latent_dim)
        self.shortcut = nn.Linear(2 * self.hop, config.latent_dim, bias=False)
        with torch.no_grad():
            self.shortcut.weight.copy_(_mdct_basis(self.hop, config.latent_dim))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        half = self.hop // 2
        missing = -x.shape[-1] % self.hop
        padded = F.pad(x[:, 0], (half, missing + self.hop - half))
        frames = padded.unfold(-1, 2 * self.hop, self.hop) * self.window  # (batch, frames, 2 hop)
        spectrum = torch.fft.rfft(frames, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        compress = (power + 1e-8) ** -0.35
        features = torch.cat([spectrum.real * compress, spectrum.imag * compress], dim=-1)
        hidden = self.out_norm(self.blocks(self.norm(self.embed(features))))
        linear = self.shortcut(frames).float()
        level = (linear.square().sum(-1, keepdim=True) + 1e-6) ** (-COMPRESSION / 2)
        latent: Tensor = (_LEVEL * level * linear + self.project(hidden)).transpose(1, 2)
        return latent


class EnvelopeEncoder(nn.Module):
    """(batch, 1, samples) -> (batch, envelope_dim, frames), from log magnitudes alone.

    A frame is seen through one window of four hops (12.5 Hz apart: bass notes are told apart) and
    two of one hop each (onsets are placed within the frame).
    """

    LONG_BANDS, SHORT_BANDS = 144, 40
    window: Tensor
    short_window: Tensor
    mel: Tensor
    short_mel: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.hop = hop = config.hop
        rate = config.sample_rate
        self.register_buffer("window", torch.hann_window(4 * hop), persistent=False)
        self.register_buffer("short_window", torch.hann_window(hop), persistent=False)
        long_bands = min(self.LONG_BANDS, hop // 4)
        short_bands = min(self.SHORT_BANDS, hop // 8)
        self.register_buffer("mel", mel_filters(rate, 4 * hop, long_bands), persistent=False)
        self.register_buffer("short_mel", mel_filters(rate, hop, short_bands), persistent=False)
        self.features_dim = long_bands + 2 * short_bands
        self.embed = nn.Linear(self.features_dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = _blocks(config.dim, config.envelope_layers, config.expansion, config.kernel)
        self.out_norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(config.dim, config.envelope_dim)

    def features(self, x: Tensor) -> Tensor:
        """Log magnitudes at about unit scale, (batch, 1, samples) -> (batch, frames, features)."""
        hop = self.hop
        missing = -x.shape[-1] % hop
        padded = F.pad(x[:, 0].float(), (3 * hop // 2, missing + 3 * hop // 2))
        long = _log_magnitude(padded.unfold(-1, 4 * hop, hop) * self.window, self.mel)
        count = long.shape[1]
        start = 3 * hop // 2 - hop // 4  # two windows of one hop, centred on the frame's halves
        inner = padded[:, start : start + (2 * count + 1) * (hop // 2)]
        short = _log_magnitude(inner.unfold(-1, hop, hop // 2) * self.short_window, self.short_mel)
        return torch.cat([long, short.reshape(len(short), count, -1)], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.blocks(self.norm(self.embed(self.features(x))))
        latent: Tensor = self.project(self.out_norm(hidden)).transpose(1, 2)
        return latent


def _log_magnitude(frames: Tensor, mel: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(frames, norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()
    with torch.autocast(frames.device.type, enabled=False):
        return (torch.log(power @ mel + 1e-7) + 8.0) / 6.0


class SplitEncoder(nn.Module):
    """(batch, 1, samples) -> (batch, envelope_dim + latent_dim, frames): the two latents."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.envelope = EnvelopeEncoder(config)
        self.waveform = WaveformEncoder(config)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.envelope(x).float(), self.waveform(x).float()], dim=1)


class SplitQuantizer(nn.Module):
    """Two of audiocraft's residual vector quantisers side by side, in its quantiser interface.

    Codes are (batch, codebooks, frames), those of the envelope first.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        from audiocraft.quantization.vq import ResidualVectorQuantizer

        def quantizer(dim: int, count: int) -> ResidualVectorQuantizer:
            return ResidualVectorQuantizer(
                dimension=dim,
                n_q=count,
                bins=config.bins,
                kmeans_init=False,  # the weights bring their codes
                threshold_ema_dead_code=0,  # audiocraft's revival is undone in the same step
            )

        self.dims = (config.envelope_dim, config.latent_dim)
        self.counts = (config.envelope_codebooks, config.codebooks - config.envelope_codebooks)
        self.bins = config.bins
        self.envelope = quantizer(self.dims[0], self.counts[0])
        self.waveform = quantizer(self.dims[1], self.counts[1])

    @property
    def parts(self) -> tuple[ResidualVectorQuantizer, ResidualVectorQuantizer]:
        return self.envelope, self.waveform

    def forward(self, x: Tensor, frame_rate: int) -> QuantizedResult:
        from audiocraft.quantization.base import QuantizedResult

        a, b = (q(part, frame_rate) for q, part in zip(self.parts, self.split(x), strict=True))
        return QuantizedResult(
            torch.cat([a.x, b.x], dim=1),
            torch.cat([a.codes, b.codes], dim=1),
            a.bandwidth + b.bandwidth,
            penalty=a.penalty + b.penalty,
        )

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (batch, envelope_dim + latent_dim, frames) -> envelope and waveform."""
        return x[:, : self.dims[0]], x[:, self.dims[0] :]

    def encode(self, x: Tensor) -> Tensor:
        codes = [q.encode(part) for q, part in zip(self.parts, self.split(x), strict=True)]
        return torch.cat(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        parts = codes[:, : self.counts[0]], codes[:, self.counts[0] :]
        latents = [q.decode(part) for q, part in zip(self.parts, parts, strict=True)]
        return torch.cat(latents, dim=1)

    @property
    def total_codebooks(self) -> int:
        return sum(self.counts)

    @property
    def num_codebooks(self) -> int:
        return sum(self.counts)

    def set_num_codebooks(self, n: int) -> None:
        """Raises :class:`ValueError` for any number but all: the decoder needs both halves."""
        if n != self.num_codebooks:
            raise ValueError(f"this codec always uses its {self.num_codebooks} codebooks, not {n}")


class SplitDecoder(nn.Module):
    """Two latents -> (batch, 1, frames * hop), by overlap-add of two-hop frames.

    Each frame is a linear image of its waveform latent (at first the inverse of the encoder's) plus
    a complex spectrum times a gain per band: the gain carries the wide dynamic range, so that the
    network's output works at unit scale.
    """

    window: Tensor
    band_of_bin: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.hop = config.hop
        self.register_buffer("window", _sine_window(2 * self.hop), persistent=False)
        self.register_buffer(
            "band_of_bin", _band_of_bin(self.hop + 1, config.bands), persistent=False
        )
        self.envelope_dim = config.envelope_dim
        self.embed = nn.Linear(config.envelope_dim + config.latent_dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = _blocks(config.dim, config.decoder_layers, config.expansion, config.kernel)
        self.out_norm = nn.LayerNorm(config.dim)
        self.spectrum = nn.Linear(config.dim, 2 * (self.hop + 1))
        self.gain = nn.Linear(config.dim, config.bands)
        nn.init.constant_(self.gain.bias, -2.0)
        nn.init.zeros_(self.spectrum.weight)
        nn.init.zeros_(self.spectrum.bias)
        self.shortcut = nn.Linear(config.latent_dim, 2 * self.hop, bias=False)
        with torch.no_grad():
            self.shortcut.weight.copy_(_mdct_basis(self.hop, config.latent_dim).T)

    def forward(self, latent: Tensor) -> Tensor:
        hidden = self.norm(self.embed(latent.transpose(1, 2)))
        hidden = self.out_norm(self.blocks(hidden))
        real, imag = self.spectrum(hidden).float().chunk(2, dim=-1)
        gain = self.gain(hidden).float().clamp(-12, 4).exp()[..., self.band_of_bin]
        frames = torch.fft.irfft(torch.complex(real * gain, imag * gain), norm="ortho")
        linear = latent[:, self.envelope_dim :].transpose(1, 2).float() / _LEVEL
        power = linear.square().sum(-1, keepdim=True) + 1e-12
        linear = linear * power ** (COMPRESSION / (1 - COMPRESSION) / 2)
        frames = (frames + self.shortcut(linear).float()) * self.window  # (batch, frames, 2 hop)
        batch, count, _ = frames.shape
        head, tail = frames[..., : self.hop], frames[..., self.hop :]
        silence = frames.new_zeros(batch, 1, self.hop)
        summed = torch.cat([head, silence], 1) + torch.cat([silence, tail], 1)
        half = self.hop // 2
        return summed.reshape(batch, 1, -1)[..., half : half + count * self.hop]


def _sine_window(length: int) -> Tensor:
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length)


def _mdct_basis(hop: int, count: int) -> Tensor:
    """The lowest `count` functions of the MDCT (to be windowed), (count, 2 * hop)."""
    n = torch.arange(2 * hop, dtype=torch.float64) + 0.5 + hop / 2
    k = torch.arange(count, dtype=torch.float64)[:, None] + 0.5
    return (math.sqrt(2 / hop) * torch.cos(torch.pi / hop * n * k)).float()


def _band_of_bin(bins: int, bands: int) -> Tensor:
    """Band index of each frequency bin: linear at the bottom, logarithmic above (mel-like)."""
    position = torch.log1p(torch.arange(bins) / 24.0)
    return (position / position[-1] * bands).long().clamp(max=bands - 1)


def mel_filters(rate: int, n_fft: int, bands: int) -> Tensor:
    """Triangular mel filters (HTK scale, 30 Hz to Nyquist), (n_fft // 2 + 1, bands), unit sums."""
    low, high = (2595 * torch.log10(torch.tensor(1 + f / 700.0)) for f in (30.0, rate / 2))
    edges = 700 * (10 ** (torch.linspace(float(low), float(high), bands + 2) / 2595) - 1)
    bins = torch.arange(n_fft // 2 + 1) * (rate / n_fft)
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    # A band narrower than a bin would be empty: it takes the nearest bin.
    nearest = (edges[1:-1] / (rate / n_fft)).round().long().clamp(max=n_fft // 2)
    empty = filters.sum(0) == 0
    filters[nearest[empty], torch.arange(bands)[empty]] = 1.0
    return filters / filters.sum(0)


def build_codec(config: CodecConfig) -> EncodecModel:
    """The codec with random weights in eval mode, as an audiocraft `EncodecModel`.

    Raises :class:`studio.core.errors.AudiocraftMissingError` where audiocraft is not installed.
    """
    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()
    from audiocraft.models.encodec import EncodecModel

    codec = EncodecModel(
        SplitEncoder(config),
        SplitDecoder(config),
        SplitQuantizer(config),
        frame_rate=config.frame_rate,
        sample_rate=config.sample_rate,
        channels=1,
    )
    return codec.eval()


def load_codec(directory: Path) -> EncodecModel:
    """The codec whose weights (fp16) and card lie in `directory`, in eval mode on the CPU.

    Raises :class:`CheckpointError` when a file is absent, damaged, or not the one the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = directory / WEIGHTS_NAME
    try:
        card = json.loads((directory / CARD_NAME).read_text(encoding="utf-8"))
        payload = path.read_bytes()
        config = CodecConfig(**card["config"]["codec"])
        expected = str(card["digest"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as exc:
        raise CheckpointError(f"no readable codec in {directory}: {exc}") from exc
    digest = hashlib.sha256(payload).hexdigest()
    if digest != expected:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {digest[:12]}…, its card says {expected[:12]}…; "
            "restore the file from the repository"
        )
    codec = build_codec(config)
    try:
        tensors = {name: value.float() for name, value in load(payload).items()}
        codec.load_state_dict({**tensors, **_kept_by_training(tensors)}, strict=True)
    except (SafetensorError, RuntimeError) as exc:
        raise CheckpointError(f"{path} does not fit its card: {exc}") from exc
    return codec.eval()


def _kept_by_training(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Buffers of audiocraft's codebooks that only training reads; the weights leave them out."""
    found: dict[str, Tensor] = {}
    for name, codes in tensors.items():
        if name.endswith("._codebook.embed"):
            codebook = name.removesuffix("embed")
            found[codebook + "embed_avg"] = codes.clone()
            found[codebook + "cluster_size"] = torch.ones(len(codes))
            found[codebook + "inited"] = torch.ones(1)
    return found
