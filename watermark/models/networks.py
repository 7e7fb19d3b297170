"""Spectral AudioSeal: generator and detector on a band spectrogram.

AudioSeal's networks (San Roman et al., 2024, https://arxiv.org/abs/2401.17264) read and write a
waveform. Ours are built by the same package from a reduced configuration and read and write 88
bands of a short-time spectrum instead. The generator draws a *gain pattern* over the bands and the
mark is the host itself, made a little louder here and a little softer there::

    mark = istft(X * (exp(10 ** (-K / 20) * depth * pattern) - 1))

so it rides on the host's own phase (a polarity flip cannot touch it), is silent where the host is
silent, and its strength K is a depth in dB below the host. ``depth`` follows what the host masks:
where a band is steady (a sustained tone, on which the ear hears a wobble of 0.3 dB) the pattern is
shallow, where the band fluctuates by itself it is deep. A steady band also disturbs the detector
less, so the shallow mark there is about as readable.

The time grid: frames of 10 ms (hop 160 at 16 kHz); a *cell* is 8 frames, 80 ms, the networks' own
hop. The message is constant within a cell and changes where second ``k`` of the track begins.

>>> import torch
>>> spectrum = Spectrum()
>>> x = torch.sin(torch.arange(16000) * 0.3)[None]      # (batch, samples) at 16 kHz
>>> spectrum.log_energy(spectrum.stft(x)).shape          # (batch, bands, frames)
torch.Size([1, 88, 101])
>>> cell_seconds(26).tolist()[10:16]                     # which second each cell belongs to
[0, 0, 1, 1, 1, 1]
"""

from __future__ import annotations

import importlib
import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CELL_FRAMES",
    "CELL_SAMPLES",
    "HOP",
    "MESSAGE_BITS",
    "SEAL_RATE",
    "DepthConfig",
    "NetworkConfig",
    "SpectralDetector",
    "SpectralGenerator",
    "Spectrum",
    "audioseal",
    "cell_seconds",
    "network_dict",
]

SEAL_RATE = 16_000  # Hz; marks are made and read at this rate only
N_FFT = 512  # samples
HOP = 160  # samples, 10 ms
BANDS = 88
LOW_HZ, HIGH_HZ = 150.0, 7_500.0
MEAN_FRAMES = (
    101  # 1 s: the moving mean taken off the log energies, and the pattern's unit-rms span
)
MESSAGE_BITS = 16
CELL_FRAMES = 8  # the networks' hop
CELL_SAMPLES = CELL_FRAMES * HOP
ENERGY_FLOOR = 1e-6  # of |X|^2: white noise at about -83 dBFS; keeps digital silence finite
FEATURE_CLIP_DB = 24.0
FEATURE_SCALE_DB = 6.0
_SLOPE = 0.1  # of the networks' leaky rectifiers, for negative values


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of the audioseal networks (`audioseal.builder.SEANetConfig`, reduced)."""

    n_filters: int = 64
    dimension: int = 64
    ratios: tuple[int, ...] = (2, 4)
    n_residual_layers: int = 1
    nbits: int = MESSAGE_BITS


@dataclass(frozen=True, slots=True)
class DepthConfig:
    """How deep the pattern may go, from how much the band fluctuates by itself.

    The fluctuation is the deviation (dB rms, over ``span_frames``) of a band's level from its own
    local mean: modulations too slow to mask the 12.5 Hz pattern (a decay, a swell) do not count.
    Across bands, a band that stands out of its neighbours is heard by itself and gets less, one in
    the shadow of louder neighbours is masked by them and gets more: for every dB of prominence the
    depth falls by ``prominence_slope`` dB.
    """

    floor: float = 0.35  # on a perfectly steady band
    ceiling: float = 1.15  # on a transient or noise
    reference_db: float = 2.5  # the fluctuation at which the depth is 1
    span_frames: int = 21  # 0.2 s
    soft_cap: float = 2.2  # of the unit-rms pattern
    prominence_slope: float = 0.0  # dB of depth per dB above the neighbours' mean level
    prominence_bands: int = 15  # neighbours that count, odd
    prominence_limit_db: float = 12.0


def cell_seconds(cells: int, first_cell: int = 0) -> Tensor:
    """The track second each cell belongs to (by its middle), shape (cells,), int64."""
    index = torch.arange(first_cell, first_cell + cells)
    return (index * CELL_FRAMES + CELL_FRAMES // 2) * HOP // SEAL_RATE


def _band_edges() -> list[float]:
    """Centres of the bands in FFT bins: at least one bin apart, then a constant ratio."""
    bin_hz = SEAL_RATE / N_FFT
    low, high = LOW_HZ / bin_hz, HIGH_HZ / bin_hz
    steps_low, steps_high = 1.0, 1.2  # bisect on the ratio that makes the last centre `high`
    for _ in range(60):
        ratio = (steps_low + steps_high) / 2
        position = low
        for _ in range(BANDS - 1):
            position += max(1.0, position * (ratio - 1))
        if position < high:
            steps_low = ratio
        else:
            steps_high = ratio
    centres, position = [low], low
    for _ in range(BANDS - 1):
        position += max(1.0, position * (steps_low - 1))
        centres.append(position)
    return centres


def _moving_mean(x: Tensor, frames: int) -> Tensor:
    """Centred mean over ``frames`` (odd), at the ends over what there is; x is (B, C, T).

    By running sums (in double: a difference of large sums), six times as fast as a pooling kernel.
    """
    half, length = frames // 2, x.shape[-1]
    sums = F.pad(x.double().cumsum(-1), (1, 0))
    sums = F.pad(sums, (half, half), mode="replicate")
    at = torch.arange(length, device=x.device)
    count = (at + half + 1).clamp_max(length) - (at - half).clamp_min(0)
    return ((sums[..., frames:] - sums[..., :-frames]) / count).to(x.dtype)


def _overlapped(frames: Tensor) -> Tensor:
    """Frames (B, T, 512) a hop apart, added up: (B, (T + 3) * 160)."""
    batch, count, length = frames.shape
    out = frames.new_zeros(batch, count + length // HOP, HOP)
    for block, first in enumerate(range(0, length, HOP)):
        part = frames[:, :, first : first + HOP]
        out[:, block : block + count, : part.shape[-1]] += part
    return out.reshape(batch, -1)


class Spectrum(nn.Module):
    """The fixed front end: waveform to bands, band gains back to a waveform. No parameters."""

    window: Tensor
    bands: Tensor

    def __init__(self, depth: DepthConfig | None = None) -> None:
        super().__init__()
        self.depth_config = depth or DepthConfig()
        centres = _band_edges()
        bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
        rows = []
        for i, centre in enumerate(centres):
            below = centre - (centres[i - 1] if i else centre - 1)
            above = (centres[i + 1] if i + 1 < BANDS else centre + below) - centre
            rising, falling = 1 + (bins - centre) / below, 1 - (bins - centre) / above
            rows.append(torch.minimum(rising, falling).clamp_min(0))
        # Triangles that add up to one between the outermost centres: (bands, bins).
        self.register_buffer("bands", torch.stack(rows).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def stft(self, x: Tensor) -> Tensor:
        """(B, n) to complex (B, bins, n // 160 + 1); frame i is centred on sample 160 i."""
        return torch.stft(
            x, N_FFT, HOP, window=self.window, center=True, pad_mode="constant", return_complex=True
        )

    def istft(self, X: Tensor, length: int) -> Tensor:
        """The inverse of :meth:`stft`: (B, bins, T) to (B, length)."""
        # As torch.istft, which adds frames up through an index and takes four times as long.
        frames = torch.fft.irfft(X.transpose(1, 2), N_FFT) * self.window
        envelope = _overlapped(self.window.square().expand(1, frames.shape[1], -1))
        inside = slice(N_FFT // 2, N_FFT // 2 + length)
        return _overlapped(frames)[:, inside] / envelope[:, inside].clamp_min(1e-11)

    def log_energy(self, X: Tensor) -> Tensor:
        """Band levels in dB, (B, bands, T)."""
        power = X.real.square() + X.imag.square()
        return 10 * torch.log10(torch.matmul(self.bands, power) + ENERGY_FLOOR)

    def features(self, level: Tensor) -> Tensor:
        """What both networks see: levels without their moving mean of 1 s, clipped and scaled."""
        centred = level - _moving_mean(level, MEAN_FRAMES)
        return centred.clamp(-FEATURE_CLIP_DB, FEATURE_CLIP_DB) / FEATURE_SCALE_DB

    def depth(self, level: Tensor) -> Tensor:
        """How deep the pattern may go, (B, bands, T); see :class:`DepthConfig`."""
        c = self.depth_config
        deviation = (level - _moving_mean(level, c.span_frames)).square()
        fluctuation = (_moving_mean(deviation, c.span_frames) + 1e-6).sqrt()  # dB rms
        depth = (fluctuation / c.reference_db).clamp(c.floor, c.ceiling)
        if not c.prominence_slope:
            return depth
        around = _moving_mean(level.transpose(1, 2), c.prominence_bands).transpose(1, 2)
        prominence = (level - around).clamp(-c.prominence_limit_db, c.prominence_limit_db)
        return depth * torch.exp(-math.log(10) / 20 * c.prominence_slope * prominence)

    def mark(self, X: Tensor, gains: Tensor, length: int) -> Tensor:
        """The residual of band gains in nepers (B, bands, T) on the host X: (B, length)."""
        per_bin = torch.matmul(self.bands.transpose(0, 1), gains)
        return self.istft(X * torch.expm1(per_bin), length)


def _everywhere(x: Tensor, layer: nn.Conv1d, step: int) -> Tensor:
    """A layer (with the package's padding) at every frame, its inputs ``step`` frames apart."""
    size = layer.kernel_size[0]
    left = (size - layer.stride[0] + 1) // 2
    right = size - 1 - left
    if left == right:
        return F.conv1d(x, layer.weight, layer.bias, padding=left * step, dilation=step)
    padded = F.pad(x, (left * step, right * step))
    return F.conv1d(padded, layer.weight, layer.bias, dilation=step)


def _bent(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def audioseal(module: str) -> Any:
    """A module of the audioseal package (which scripts its classes as it is imported)."""
    with warnings.catch_warnings():
        # torch deprecates scripting; the package's import is the only use, and none of ours.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        return importlib.import_module(f"audioseal.{module}")


def _seanet(config: NetworkConfig) -> Any:
    return audioseal("builder").SEANetConfig(
        channels=BANDS,
        dimension=config.dimension,
        n_filters=config.n_filters,
        n_residual_layers=config.n_residual_layers,
        ratios=list(config.ratios),
        activation="LeakyReLU",
        activation_params={"negative_slope": _SLOPE},
        norm="none",  # the package's weight_norm crashes on Python >= 3.10
        norm_params={},
        kernel_size=7,
        last_kernel_size=7,
        residual_kernel_size=3,
        dilation_base=2,
        causal=False,
        pad_mode="constant",
        true_skip=True,
        compress=2,
        lstm=0,  # no recurrence: a long file can be cut anywhere
        disable_norm_outer_blocks=0,
    )


def network_dict(config: NetworkConfig, depth: DepthConfig) -> dict[str, Any]:
    """Both configurations as plain data, for the record beside the weights."""
    return {"network": asdict(config), "depth": asdict(depth)}


class SpectralGenerator(nn.Module):
    """Host and message to mark: audioseal's ``AudioSealWM`` between the band transforms."""

    def __init__(
        self, config: NetworkConfig | None = None, depth: DepthConfig | None = None
    ) -> None:
        super().__init__()
        config = config or NetworkConfig()
        self.spectrum = Spectrum(depth)
        builder = audioseal("builder")
        decoder = builder.DecoderConfig(None, None, 1.0)
        shape = builder.AudioSealWMConfig(config.nbits, _seanet(config), decoder)
        self.net: Any = builder.create_generator(shape)

    def pattern(self, features: Tensor, messages: Tensor) -> Tensor:
        """The unit-rms, softly capped gain pattern.

        Args:
            features: (B, bands, T).
            messages: one message per cell, (B, ceil(T / 8), 16) of {0, 1}.

        Returns: (B, bands, T).
        """
        # `.model`, not the module itself: the package would send the call through torch.compile.
        hidden = self.net.encoder.model(features)  # (B, dimension, cells)
        table = self.net.msg_processor.msg_processor.weight  # (2 * bits, dimension), rows 0 1 0 1 …
        zero, one = table[0::2], table[1::2]
        aux = zero.sum(0) + torch.matmul(messages.to(table.dtype), one - zero)  # (B, cells, dim)
        raw = self.net.decoder.model(hidden + aux.transpose(1, 2))[..., : features.shape[-1]]
        power = _moving_mean(raw.square().mean(1, keepdim=True), MEAN_FRAMES)
        cap = self.spectrum.depth_config.soft_cap
        unit: Tensor = raw / (power + 1e-6).sqrt()
        return cap * torch.tanh(unit / cap)

    def forward(self, x: Tensor, messages: Tensor, strength_db: float | Tensor) -> Tensor:
        """The mark for hosts x (B, n) at 16 kHz, messages per cell, depth K in dB: (B, n)."""
        return self.mark_and_pattern(x, messages, strength_db)[0]

    def mark_and_pattern(
        self, x: Tensor, messages: Tensor, strength_db: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mark of :meth:`forward`, and its unit-rms pattern (B, bands, T) before depth."""
        with torch.no_grad():
            X = self.spectrum.stft(x)
            level = self.spectrum.log_energy(X)
            features, depth = self.spectrum.features(level), self.spectrum.depth(level)
        pattern = self.pattern(features, messages)
        scale = 10 ** (-torch.as_tensor(strength_db, dtype=x.dtype, device=x.device) / 20)
        return self.spectrum.mark(X, scale * depth * pattern, x.shape[-1]), pattern


class SpectralDetector(nn.Module):
    """Waveform to logits per cell: audioseal's ``AudioSealDetector`` network on the bands."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        config = config or NetworkConfig()
        self.spectrum = Spectrum()
        builder = audioseal("builder")
        shape = builder.AudioSealDetectorConfig(config.nbits, _seanet(config))
        self.net: Any = builder.create_detector(shape)

    def cells(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits per cell of 80 ms from features (B, bands, T).

        The package's forward repeats each cell eight times through a transposed convolution and
        takes a softmax in place, which autograd refuses; the mean over the eight frames of a cell
        is the same linear map, computed once per cell.

        Returns: pilot (B, cells), the detection log odds; bits (B, cells, 16).
        """
        encoder, last = self.net.detector[0], self.net.detector[1]
        hidden = encoder.model(features)  # (B, dimension, cells)
        expand = encoder.reverse_convolution  # ConvTranspose1d, kernel = stride = 8
        weight = expand.weight.mean(-1)  # (dimension, output_dim): mean over the cell's frames
        wide = torch.matmul(weight.transpose(0, 1), hidden) + expand.bias[:, None]
        out = last(wide)  # (B, 2 + bits, cells)
        pilot: Tensor = out[:, 1] - out[:, 0]
        bits: Tensor = out[:, 2:].transpose(1, 2)
        return pilot, bits

    def folded(self) -> tuple[Tensor, Tensor]:
        """The encoder's last convolution, the expansion and the last layer as one convolution.

        Nothing bends between them, so this is exact. Weight (1 + bits, channels, 7) and bias
        (1 + bits,); output 0 is the pilot's log odds.
        """
        encoder, last = self.net.detector[0], self.net.detector[1]
        inner = next(m for m in encoder.model[-1].modules() if isinstance(m, nn.Conv1d))
        expand = encoder.reverse_convolution
        with torch.no_grad():
            inner_bias: Tensor = inner.bias.double()  # type: ignore[union-attr]  # it has one
            outer: Tensor = last.weight[..., 0].double()  # (2 + bits, output_dim)
            linear = outer @ expand.weight.double().mean(-1).T  # (2 + bits, dimension)
            weight = torch.einsum("od,dck->ock", linear, inner.weight.double())
            bias: Tensor = linear @ inner_bias + outer @ expand.bias.double() + last.bias.double()
            rows = torch.eye(len(bias), dtype=torch.float64)[1:]
            rows[0, 0] = -1.0  # the pilot: sealed minus not
            weight, bias = torch.einsum("po,ock->pck", rows, weight), rows @ bias
        return weight.float().contiguous(), bias.float()

    def shifted(self, features: Tensor, folded: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What :meth:`cells` says of features (1, bands, T) from frame 0, 1, … 7 on, all at once.

        A layer with a stride of n is computed at every frame, and the later ones look at every n-th
        frame around each (a dilated convolution): what layers before a stride say is the same at
        every shift. Half the work of eight calls. At either end, zeros stand beyond the features
        here and beyond each shift's own frames there, so the outermost cells differ.

        Returns: pilot (8, T // 8), bits (8, T // 8, 16).
        """
        hidden, step = features, 1  # frames from one step of a layer to its next
        for layer in self.net.detector[0].model[:-1]:
            convolutions = [m for m in layer.modules() if isinstance(m, nn.Conv1d)]
            if len(convolutions) == 1:
                hidden = _everywhere(hidden, convolutions[0], step)
                step *= convolutions[0].stride[0]
            elif convolutions:
                inner = hidden
                for convolution in convolutions:
                    inner = _everywhere(_bent(inner), convolution, step)
                hidden = hidden + inner
            else:
                hidden = _bent(hidden)
        weight, bias = folded
        around = step * (weight.shape[-1] // 2)
        out = F.conv1d(hidden, weight, bias, padding=around, dilation=step)[0]
        cells = out.shape[-1] // CELL_FRAMES
        by_shift = out[:, : cells * CELL_FRAMES].reshape(len(out), cells, CELL_FRAMES)
        return by_shift[0].T, by_shift[1:].permute(2, 1, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n) at 16 kHz, cells counted from sample 0, to (pilot, bits) as in :meth:`cells`."""
        return self.cells(self.spectrum.features(self.spectrum.log_energy(self.spectrum.stft(x))))
