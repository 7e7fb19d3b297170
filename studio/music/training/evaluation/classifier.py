"""Tells genre, mood, lead and tempo from ten seconds of sound: the judge of tag following.

Trained on the composer's renders, never on generated music; its own accuracy on other renders is
part of every report, because a judge that errs bounds what it can find. It sees statistics of a
log-mel spectrogram and the autocorrelation of onsets in four registers (beat and pattern), through
one hidden layer per kind of tag. The last shared layer's activations are the features of the
Fréchet distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studio.core.errors import HouseError
from studio.core.tags import KINDS
from studio.music.training.codec.network import mel_filters

__all__ = ["TagClassifier", "clip_features"]

_FFT, _BANDS, _LAGS = 2048, 64, 160  # window in samples, mel bands, lags of 20 ms (3.2 s)


def clip_features(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Features of one mono clip, (features,): the same number for every length over 4 s."""
    hop = rate // 50
    x = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    if len(x) < 4 * rate:
        raise HouseError("a clip must be at least four seconds long to be judged")
    frames = x.unfold(0, _FFT, hop) * torch.hann_window(_FFT)
    power = torch.fft.rfft(frames, norm="ortho").abs().square()
    mel = 0.5 * torch.log(power @ mel_filters(rate, _FFT, _BANDS) + 1e-7)  # (frames, bands)
    mel = mel - mel.mean()  # level is no tag
    change = mel[1:] - mel[:-1]
    onsets = change.clamp(min=0)
    parts = [mel.mean(0), mel.std(0), change.abs().mean(0), mel.quantile(0.95, 0)]
    groups = onsets.reshape(len(onsets), 4, -1).mean(2)  # (frames, registers)
    parts.extend(_autocorrelation(groups[:, g]) for g in range(4))
    parts.append(_autocorrelation(onsets.mean(1)))
    # How the spectrum repeats: similarity of frames a lag apart, blind to onsets.
    shape = mel - mel.mean(0)
    shape = shape / (shape.norm(dim=1, keepdim=True) + 1e-6)
    lags = range(8, _LAGS, 8)
    parts.append(torch.stack([(shape[lag:] * shape[:-lag]).sum(1).mean() for lag in lags]))
    out: NDArray[np.float32] = torch.cat(parts).numpy()
    return out


def _autocorrelation(x: Tensor) -> Tensor:
    x = x - x.mean()
    spectrum = torch.fft.rfft(x, 2 * len(x))
    correlation = torch.fft.irfft(spectrum.abs().square(), 2 * len(x))
    normalised: Tensor = correlation[4:_LAGS] / (correlation[0] + 1e-6)
    return normalised


class TagClassifier:
    """One small network over :func:`clip_features`; trained in seconds, the same every time."""

    def __init__(self, tags: Sequence[str], rate: int) -> None:
        self.rate = rate
        self.names = {kind: [t for t in tags if t.startswith(kind + "/")] for kind in KINDS}
        self._network: _Network | None = None
        self._mean = self._scale = np.zeros(0, np.float32)

    def fit(
        self, features: NDArray[np.float32], tags: Sequence[Sequence[str]], *, seed: int = 0
    ) -> None:
        """Train on features (clips, features) and the tags of each clip (one of every kind)."""
        self._mean = features.mean(0)
        self._scale = features.std(0) + 1e-4
        x = torch.from_numpy((features - self._mean) / self._scale)
        wanted = torch.tensor([self._labels(t) for t in tags])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(x.shape[1], [len(self.names[kind]) for kind in KINDS])
            optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
            epochs = 60
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
            for _ in range(epochs):
                for rows in torch.split(torch.randperm(len(x)), 64):
                    outputs = network(x[rows])
                    loss = sum(
                        nn.functional.cross_entropy(output, wanted[rows, k], label_smoothing=0.05)
                        for k, output in enumerate(outputs)
                    )
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[union-attr]  # a sum of four tensors
                    optimizer.step()
                schedule.step()
        self._network = network.eval()

    def features(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack([clip_features(clip, self.rate) for clip in clips])

    @torch.no_grad()
    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Activations of the shared hidden layer, (clips, 48): features of the Fréchet distance."""
        out: NDArray[np.float32] = self._trained().shared(self._input(features)).numpy()
        return out

    @torch.no_grad()
    def predict(self, features: NDArray[np.float32]) -> list[dict[str, str]]:
        """The likeliest tag of each kind for every clip."""
        outputs = self._trained()(self._input(features))
        picks = [output.argmax(1).tolist() for output in outputs]
        return [
            {kind: self.names[kind][picks[k][row]] for k, kind in enumerate(KINDS)}
            for row in range(len(features))
        ]

    def _input(self, features: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy((features - self._mean) / self._scale).float()

    def _trained(self) -> _Network:
        if self._network is None:
            raise HouseError("the tag classifier has not been trained")
        return self._network

    def _labels(self, tags: Sequence[str]) -> list[int]:
        of_kind = {tag.partition("/")[0]: tag for tag in tags}
        return [self.names[kind].index(of_kind[kind]) for kind in KINDS]


class _Network(nn.Module):
    def __init__(self, inputs: int, classes: Sequence[int]) -> None:
        super().__init__()
        self.wide = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(inputs, 256), nn.GELU(), nn.Dropout(0.3)
        )
        self.narrow = nn.Sequential(nn.Linear(256, 48), nn.GELU())
        self.heads = nn.ModuleList(nn.Linear(256 + 48, count) for count in classes)

    def shared(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.narrow(self.wide(x))
        return hidden

    def forward(self, x: Tensor) -> list[Any]:
        wide = self.wide(x)
        hidden = torch.cat([wide, self.narrow(wide)], 1)
        return [head(hidden) for head in self.heads]
