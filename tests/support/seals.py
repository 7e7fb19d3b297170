"""A seal model without training, for tests of everything around a seal.

It implements the real interface (:class:`watermark.models.base.SealModel`), so the real embedding,
detection and identification run over it; only the networks are replaced, by plain frequency-shift
keying: every bit has two tones, one says 0, the other 1. Audible, and readable from any codec.
"""

from __future__ import annotations

import numpy as np

from watermark.models.base import SealModel
from watermark.models.calibration import Calibration

_CELL = 1280  # samples at 16 kHz, 80 ms
_BINS = 40 + 4 * np.arange(32)  # of a cell's Fourier transform, 12.5 Hz apart: 500 to 2050 Hz


class TonalSeal(SealModel):
    """Strength 1 is a tone level of ``level`` per bit, whatever the host."""

    def __init__(self, level: float = 0.01, max_strength: float = 1.6, chip_cells: int = 0) -> None:
        self.name, self.id, self.digest = "tonal", "tonal-000000000000", "0" * 64
        self.strength_db, self.max_strength = 20.0, max_strength
        self.cell_samples, self.context_cells = _CELL, 1
        self.alignments = (0, _CELL // 2)
        self.polarity_sensitive = False
        self.chip_cells = chip_cells
        self.calibration: Calibration | None = None
        self.record: dict[str, object] = {}
        self._level = level
        self.strengths_used: list[float] = []

    def mark(self, samples, messages, strength):
        self.strengths_used.append(strength)
        cells = len(messages)
        spectrum = np.zeros((cells, _CELL // 2 + 1), np.complex64)
        chosen = _BINS[2 * np.arange(16) + messages]  # (cells, 16)
        spectrum[np.arange(cells)[:, None], chosen] = strength * self._level * _CELL / 2
        mark = np.fft.irfft(spectrum, _CELL, axis=1).reshape(-1)
        return mark[: len(samples)].astype(np.float32)

    def read(self, samples):
        pilots, bits = [], []
        cells = (len(samples) - self.alignments[-1]) // _CELL
        for offset in self.alignments:
            block = samples[offset : offset + cells * _CELL].reshape(cells, _CELL)
            power = np.abs(np.fft.rfft(block, axis=1)[:, _BINS]) ** 2 + 1e-9  # (cells, 32)
            logits = np.log(power[:, 1::2] / power[:, ::2])
            bits.append(np.clip(logits, -4, 4))
            pilots.append(np.abs(logits).mean(axis=1) - 2)
        return np.array(pilots, np.float32), np.array(bits, np.float32)


class SilentSeal(TonalSeal):
    """A broken seal model: it claims to mark and adds nothing."""

    def mark(self, samples, messages, strength):
        self.strengths_used.append(strength)
        return np.zeros(len(samples), np.float32)
