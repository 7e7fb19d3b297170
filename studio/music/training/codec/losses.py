"""What the codec is trained on: error of the waveform in decibels, and of log-mel spectra.

The first keeps phase and pitch true (it *is* the negative of the signal-to-distortion ratio that is
reported); the second keeps the bands alive in which a waveform cannot be matched at 4 kbit/s, where
the first alone would rather be silent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studio.music.training.codec.network import mel_filters

__all__ = ["MultiScaleMel", "si_sdr", "waveform_error_db"]


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, (..., samples) -> (...).

    Le Roux et al., "SDR - half-baked or well done?", arXiv:1811.02508, with means removed.

    >>> tone = torch.sin(torch.arange(8000) / 10)
    >>> noise = torch.cos(torch.arange(8000) / 3) / 10
    >>> round(float(si_sdr(2 * (tone + noise), tone)))
    20
    """
    estimate = estimate - estimate.mean(-1, keepdim=True)
    target = target - target.mean(-1, keepdim=True)
    energy = target.square().sum(-1, keepdim=True) + 1e-9
    projection = (estimate * target).sum(-1, keepdim=True) / energy * target
    residual = estimate - projection
    ratio = (projection.square().sum(-1) + 1e-9) / (residual.square().sum(-1) + 1e-9)
    return 10 * torch.log10(ratio)


def waveform_error_db(estimate: Tensor, target: Tensor, floor: float = 1e-5) -> Tensor:
    """Energy of the error over that of the target, in dB, (batch, 1, samples) -> (batch,).

    `floor` (mean square, -50 dB full scale) keeps near-silent segments from ruling the batch.
    """
    error = (estimate - target).square().mean((-1, -2)) + 0.1 * floor
    return 10 * torch.log10(error / (target.square().mean((-1, -2)) + floor))


class MultiScaleMel(nn.Module):
    """Mean absolute difference of log-mel spectra in nepers, averaged over window lengths."""

    def __init__(self, rate: int, windows: Sequence[int], bands: int = 64) -> None:
        super().__init__()
        self.rate = rate
        self.windows = tuple(windows)
        for n_fft in self.windows:
            count = min(bands, n_fft // 8)
            self.register_buffer(f"mel_{n_fft}", mel_filters(rate, n_fft, count), persistent=False)
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def log_mel(self, x: Tensor, n_fft: int) -> Tensor:
        """(batch, 1, samples) -> (batch, frames, bands), natural logarithm of magnitude."""
        window: Tensor = getattr(self, f"window_{n_fft}")
        mel: Tensor = getattr(self, f"mel_{n_fft}")
        frames = x[:, 0].float().unfold(-1, n_fft, n_fft // 2) * window
        spectrum = torch.fft.rfft(frames, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        return 0.5 * torch.log(power @ mel + 1e-7)

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        losses = []
        for n_fft in self.windows:
            with torch.no_grad():
                reference = self.log_mel(target, n_fft)
            losses.append((self.log_mel(estimate, n_fft) - reference).abs().mean())
        return torch.stack(losses).mean()
