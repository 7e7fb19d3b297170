"""Synthetic music for the seal's tests: chords with attacks, a bass line and a noisy beat."""

import numpy as np

from watermark.audio.waveform import Waveform


def music(duration_s: float, rate: int, channels: int = 1, *, seed: int = 5) -> Waveform:
    """Deterministic, of any rate (content up to 7 kHz), peak about 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(duration_s * rate)) / rate
    x = np.zeros_like(t)
    for start in np.arange(0.0, duration_s, 0.25):
        since = t - start
        on = (since >= 0) & (since < 1.5)
        s = since[on]
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        note = sum(np.sin(2 * np.pi * root * k * s) / k for k in range(1, 9) if root * k < rate / 2)
        x[on] += note * np.exp(-3 * s) * np.minimum(1, s / 0.005) * rng.uniform(0.3, 1)
        hit = (since >= 0) & (since < 0.12)
        x[hit] += 0.7 * rng.standard_normal(int(hit.sum())) * np.exp(-30 * since[hit])
    x += 0.01 * rng.standard_normal(len(t))
    x *= 0.5 / max(float(np.abs(x).max()), 1e-9)
    pan = np.array([1.0]) if channels == 1 else np.linspace(0.9, 1.1, channels)
    return Waveform((x[None] * pan[:, None]).astype(np.float32), rate)
