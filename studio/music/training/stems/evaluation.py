"""Measures the stem codec on held-out tracks, beside the soundfont's own rendering.

* **log-mel error**: mean difference of 64 mel bands in dB, per stem and for the mix, with true
  tokens, without tokens, and of the excitation as it is;
* **valley to peak**: how far the spectrum falls between partials from 100 to 3000 Hz. Noise between
  partials fills these valleys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from studio.music.models.house.notes import FRAME, RATE, STEMS
from studio.music.models.house.stem_codec import StemCodec, mel_matrix
from studio.music.training.stems.data import SCALE, StemTracks

__all__ = ["StemReport", "evaluate_stem_codec", "log_mel_error", "valley_to_peak"]

_SILENT = 1e-3  # peak below which a stem counts as silent


@dataclass(frozen=True, slots=True)
class StemReport:
    """Mean figures in dB; ``errors`` by way of decoding and then by stem or ``mix``."""

    tracks: int
    errors: Mapping[str, Mapping[str, float]]
    valley_reference: float
    valley_decoded: float

    def text(self) -> str:
        """A small table."""
        names = (*STEMS, "mix")
        lines = [f"{'log-mel error, dB':20}" + "".join(f"{name:>9}" for name in names)]
        for way, row in self.errors.items():
            lines.append(f"{way:20}" + "".join(f"{row.get(n, float('nan')):9.2f}" for n in names))
        lines.append(
            f"valley to peak: reference {self.valley_reference:.1f} dB, "
            f"decoded {self.valley_decoded:.1f} dB ({self.tracks} tracks)"
        )
        return "\n".join(lines)


def log_mel(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levels of 64 mel bands in dB, (samples,) -> (instants, 64)."""
    spectrum = torch.stft(
        torch.from_numpy(sound), 1536, 384, window=torch.hann_window(1536), return_complex=True
    ).abs()
    levels = spectrum.T @ mel_matrix(1536, 64)
    return np.asarray(20 * torch.log10(levels + 1e-3).numpy())


def log_mel_error(sound: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Mean absolute difference of log-mel levels in dB."""
    return float(np.abs(log_mel(sound) - log_mel(reference)).mean())


def valley_to_peak(sound: NDArray[np.float32]) -> float:
    """Mean level of spectral valleys against the peaks beside them, 100 to 3000 Hz, in dB."""
    size = 4096
    window = torch.hann_window(size)
    spectrum = torch.stft(torch.from_numpy(sound), size, size // 2, window=window,
                          return_complex=True).abs().T.numpy()  # fmt: skip
    low, high = (round(f * size / RATE) for f in (100, 3000))
    db = 20 * np.log10(spectrum[:, low:high] + 1e-6)
    depths = []
    for row in db[db.max(1) > db.max() - 40]:
        inner = row[1:-1]
        peaks = 1 + np.flatnonzero(
            (inner > row[:-2]) & (inner >= row[2:]) & (inner > row.max() - 45)
        )
        for a, b in pairwise(peaks):
            if b - a >= 6:  # nearer peaks run together in this window
                depths.append(row[a:b].min() - 0.5 * (row[a] + row[b]))
    return float(np.mean(depths)) if depths else 0.0


@torch.no_grad()
def evaluate_stem_codec(codec: StemCodec, tracks: StemTracks, limit: int = 12) -> StemReport:
    """Decode held-out tracks and compare them with their targets."""
    ways: dict[str, dict[str, list[float]]] = {
        way: {name: [] for name in (*STEMS, "mix")}
        for way in ("excitation alone", "without tokens", "with tokens")
    }
    valleys: list[tuple[float, float]] = []
    for number in range(min(limit, len(tracks.tracks))):
        track = tracks.tracks[number]
        frames = track.place.shape[1]
        audio = np.asarray(track.audio[:, :, : frames * FRAME]).astype(np.float32) / SCALE
        decoded = {way: np.zeros_like(audio[0]) for way in ways}
        for stem in range(len(STEMS)):
            c, target = tracks.whole(number, stem)
            signals = torch.from_numpy(audio[1:, stem])[None]
            hidden, expected = codec.predict(c)
            tokens = codec.quantize(codec.encoder(target - expected, hidden), c.stem)
            added = codec.residual(codec.dequantize(tokens, c.stem), hidden)
            decoded["excitation alone"][stem] = audio[1:, stem].sum(0)
            for way, level in (("without tokens", expected), ("with tokens", expected + added)):
                gains = codec.decoder(level, c, hidden)
                decoded[way][stem] = codec.filter(gains, signals)[0].numpy()
        for way, stems in decoded.items():
            for stem, name in enumerate(STEMS):
                if np.abs(audio[0, stem]).max() > _SILENT:
                    ways[way][name].append(log_mel_error(stems[stem], audio[0, stem]))
            ways[way]["mix"].append(log_mel_error(stems.sum(0), audio[0].sum(0)))
        valleys.append(
            (valley_to_peak(audio[0].sum(0)), valley_to_peak(decoded["with tokens"].sum(0)))
        )
    means = {
        way: {name: float(np.mean(values)) for name, values in row.items() if values}
        for way, row in ways.items()
    }
    reference, own = np.mean(valleys, axis=0).tolist()
    return StemReport(len(valleys), means, reference, own)


def evaluate_folder(codec: Path, folder: Path, limit: int = 12) -> StemReport:
    """As :func:`evaluate_stem_codec`, from files."""
    return evaluate_stem_codec(StemCodec.load(codec), StemTracks(folder), limit)
