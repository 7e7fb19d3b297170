"""A neural codec of the seal's bench: 32 kHz music as tokens, half of them for its waveform.

It is made to be an attack (:mod:`studio.music.training.codec_attack`). Like EnCodec
(arXiv:2210.13438) it is a convolutional encoder, residual vector quantisers and a decoder. A frame
has two latents, each with a quantiser of its own:

* the **envelope**, from magnitudes alone. It tells the decoder how loud each band is where the
  waveform cannot be followed;
* the **waveform**, a linear image of the frame which starts as its lowest MDCT coefficients. So the
  codec follows low partials before its first step of training.

The decoder is ConvNeXt blocks at the frame rate with overlap-add (after Vocos, arXiv:2306.00814);
strided convolutions at the sample rate cost about four times as much on a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import ConfigError
from studio.music.training.codec.quantizer import ResidualQuantizer

__all__ = ["BenchCodec", "CodecConfig", "ConvNeXtBlock", "mel_filters"]


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """Shape of the codec. Rates in Hz; one latent frame covers `hop` samples.

    Of the `codebooks`, the first `envelope_codebooks` belong to the envelope.
    """

    sample_rate: int = 32000
    frame_rate: int = 50
    dim: int = 192
    encoder_layers: int = 3
    envelope_layers: int = 2
    decoder_layers: int = 5
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

_COSINE_SCALE = 0.3  # brings the coefficients to about unit scale
_QUIET_NOISE = -6.0  # natural log of the noise before training

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
    two of one hop each (onsets are placed within the frame). A latent is a linear image of these
    log magnitudes, which starts as their lowest cosine coefficients, plus what the network makes
    of the frame and its neighbours.
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
        self.shortcut = nn.Linear(self.features_dim, config.envelope_dim, bias=False)
        with torch.no_grad():
            self.shortcut.weight.copy_(_cosine_basis(long_bands, short_bands, config.envelope_dim))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

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
        features = self.features(x)
        hidden = self.out_norm(self.blocks(self.norm(self.embed(features))))
        latent: Tensor = (self.shortcut(features) + self.project(hidden)).transpose(1, 2)
        return latent


def _log_magnitude(frames: Tensor, mel: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(frames, norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()
    with torch.autocast(frames.device.type, enabled=False):
        return (torch.log(power @ mel + 1e-7) + 8.0) / 6.0


class Decoder(nn.Module):
    """Two latents -> (batch, 1, frames * hop), by overlap-add of two-hop frames.

    A frame is the sum of three: a linear image of its waveform latent (at first the inverse of the
    encoder's); a complex spectrum times a gain per band, which carries the wide dynamic range, so
    that the network's output works at unit scale; and noise times a gain per band, for what no code
    can follow. The noise is the same whenever a sound is decoded.
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
        self.embed = nn.Linear(config.envelope_dim + config.latent_dim, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = _blocks(config.dim, config.decoder_layers, config.expansion, config.kernel)
        self.out_norm = nn.LayerNorm(config.dim)
        self.spectrum = nn.Linear(config.dim, 2 * (self.hop + 1))
        self.gain = nn.Linear(config.dim, config.bands)
        self.noise_gain = nn.Linear(config.dim, config.bands)
        nn.init.constant_(self.gain.bias, -2.0)
        nn.init.constant_(self.noise_gain.bias, _QUIET_NOISE)
        nn.init.zeros_(self.spectrum.weight)
        nn.init.zeros_(self.spectrum.bias)
        self.levels = nn.Linear(config.envelope_dim, 2 * config.bands, bias=False)
        nn.init.zeros_(self.levels.weight)
        self.shortcut = nn.Linear(config.latent_dim, 2 * self.hop, bias=False)
        with torch.no_grad():
            self.shortcut.weight.copy_(_mdct_basis(self.hop, config.latent_dim).T)

    def forward(self, envelope: Tensor, waveform: Tensor, noise_seed: int = 0) -> Tensor:
        both = torch.cat([envelope, waveform], dim=1).transpose(1, 2)
        hidden = self.out_norm(self.blocks(self.norm(self.embed(both))))
        real, imag = self.spectrum(hidden).float().chunk(2, dim=-1)
        levels, noise_levels = self.levels(envelope.transpose(1, 2)).chunk(2, dim=-1)
        gain = self._per_bin(self.gain(hidden) + levels)
        noise = self._noise(both.shape[1], noise_seed).to(gain)
        noise = noise * self._per_bin(self.noise_gain(hidden) + noise_levels)[..., None]
        spectrum = torch.complex(real * gain + noise[..., 0], imag * gain + noise[..., 1])
        frames = torch.fft.irfft(spectrum, norm="ortho")
        linear = waveform.transpose(1, 2).float() / _LEVEL
        power = linear.square().sum(-1, keepdim=True) + 1e-12
        linear = linear * power ** (COMPRESSION / (1 - COMPRESSION) / 2)
        frames = (frames + self.shortcut(linear).float()) * self.window  # (batch, frames, 2 hop)
        batch, count, _ = frames.shape
        head, tail = frames[..., : self.hop], frames[..., self.hop :]
        silence = frames.new_zeros(batch, 1, self.hop)
        summed = torch.cat([head, silence], 1) + torch.cat([silence, tail], 1)
        half = self.hop // 2
        return summed.reshape(batch, 1, -1)[..., half : half + count * self.hop]

    def _per_bin(self, gains: Tensor) -> Tensor:
        """Natural logs of gains of bands -> gains of frequency bins."""
        return gains.float().clamp(-12, 4).exp()[..., self.band_of_bin]

    def _noise(self, frames: int, seed: int) -> Tensor:
        """Real and imaginary parts of white noise, (frames, bins, 2), always on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(frames, self.hop + 1, 2, generator=generator)


def _sine_window(length: int) -> Tensor:
    return torch.sin(torch.pi * (torch.arange(length) + 0.5) / length)


def _mdct_basis(hop: int, count: int) -> Tensor:
    """The lowest `count` functions of the MDCT (to be windowed), (count, 2 * hop)."""
    n = torch.arange(2 * hop, dtype=torch.float64) + 0.5 + hop / 2
    k = torch.arange(count, dtype=torch.float64)[:, None] + 0.5
    return (math.sqrt(2 / hop) * torch.cos(torch.pi / hop * n * k)).float()


def _cosine_basis(long_bands: int, short_bands: int, count: int) -> Tensor:
    """The lowest cosines over a long spectrum, and over sum and difference of two short ones.

    (count, long_bands + 2 * short_bands); three quarters of them belong to the long spectrum.
    """
    kinds = count - 2 * (count // 8), count // 8
    long, short = (
        torch.cos(torch.pi / bands * (torch.arange(bands) + 0.5) * torch.arange(kept)[:, None])
        * math.sqrt(2 / bands)
        for bands, kept in zip((long_bands, short_bands), kinds, strict=True)
    )
    rows = [
        torch.cat([long, torch.zeros(len(long), 2 * short_bands)], dim=1),
        *(
            torch.cat([torch.zeros(len(short), long_bands), short, sign * short], dim=1)
            for sign in (1, -1)
        ),
    ]
    return _COSINE_SCALE * torch.cat(rows)


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


class BenchCodec(nn.Module):
    """Music (batch, 1, samples) as tokens (batch, codebooks, frames), and back."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.envelope_encoder = EnvelopeEncoder(config)
        self.waveform_encoder = WaveformEncoder(config)
        self.envelope = ResidualQuantizer(
            config.envelope_dim, config.envelope_codebooks, config.bins
        )
        self.waveform = ResidualQuantizer(
            config.latent_dim, config.codebooks - config.envelope_codebooks, config.bins
        )
        self.decoder = Decoder(config)

    def latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of envelope and waveform, (batch, dim, frames) each."""
        return self.envelope_encoder(x).float(), self.waveform_encoder(x).float()

    def encode(self, x: Tensor) -> Tensor:
        """Tokens of a sound, those of the envelope first; the last frame is filled with silence."""
        envelope, waveform = self.latents(x)
        return torch.cat([self.envelope.encode(envelope), self.waveform.encode(waveform)], dim=1)

    def dequantize(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of envelope and waveform as tokens tell them, (batch, dim, frames) each."""
        first = self.config.envelope_codebooks
        return self.envelope.decode(tokens[:, :first]), self.waveform.decode(tokens[:, first:])

    def decode(self, tokens: Tensor) -> Tensor:
        """The sound of whole frames, (batch, 1, frames * hop)."""
        sound: Tensor = self.decoder(*self.dequantize(tokens))
        return sound
