"""Distortions of watermarked audio during training.

Each function takes and returns (batch, samples) at 16 kHz and passes gradients: analytically where
it is linear, straight through (the identity) around a real codec. Rows are treated one by one, so a
batch holds many attacks.
"""

from __future__ import annotations

import io
import math
from typing import Any

import av
import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from watermark.models.networks import SEAL_RATE

__all__ = ["attack", "codec_round_trip", "pulsed", "shift", "speed"]

_CODECS = (("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libopus"))
# Frames of a codec are counted in samples, so each rate beats at another pulse.
_CODEC_RATES = {"libmp3lame": (16_000, 22_050, 24_000, 44_100), "aac": (16_000, 44_100)}


def shift(x: Tensor, offsets: Tensor, samples: int) -> Tensor:
    """Row i from sample ``offsets[i]`` on, ``samples`` long: misalignment against the cells."""
    index = offsets[:, None] + torch.arange(samples, device=x.device)
    return torch.gather(x, 1, index)


def speed(x: Tensor, ratio: Tensor) -> Tensor:
    """Row i played ``ratio[i]`` times as fast around its middle (4-point cubic interpolation)."""
    n = x.shape[-1]
    middle = (n - 1) / 2
    position = (torch.arange(n, device=x.device) - middle) * ratio[:, None] + middle
    position = position.clamp(1, n - 3.001)
    base = position.floor().long()
    f = position - base
    p0, p1, p2, p3 = (torch.gather(x, 1, base + k) for k in (-1, 0, 1, 2))
    # Catmull-Rom
    return p1 + 0.5 * f * (
        p2 - p0 + f * (2 * p0 - 5 * p1 + 4 * p2 - p3 + f * (3 * (p1 - p2) + p3 - p0))
    )


def codec_round_trip(
    x: NDArray[np.float32], container: str, codec: str, bitrate: int, rate: int = SEAL_RATE
) -> NDArray[np.float32]:
    """Mono 16 kHz samples through a real encoder and decoder, delay taken out by correlation.

    ``rate`` is what the encoder is fed at, Hz.
    """
    buffer = io.BytesIO()
    data = soxr.resample(x, SEAL_RATE, rate, quality="QQ") if rate != SEAL_RATE else x
    form = {"libmp3lame": "s16p", "libopus": "s16"}.get(codec, "fltp")
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bitrate
        block = np.clip(data, -1, 1)[None]
        if form != "fltp":
            block = (block * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=form, layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    buffer.seek(0)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SEAL_RATE)
    parts: list[NDArray[np.float32]] = []
    read: Any
    with av.open(buffer) as read:
        for frame in read.decode(audio=0):
            parts.extend(f.to_ndarray()[0] for f in resampler.resample(frame))
        parts.extend(f.to_ndarray()[0] for f in resampler.resample(None))
    y = np.concatenate(parts)
    size = 1 << (len(x) + len(y)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)), size)
    lag = int(np.argmax(np.concatenate([correlation[:3000], correlation[-3000:]])))
    lag = lag if lag < 3000 else lag - 6000
    aligned = np.zeros_like(x)
    source = y[max(lag, 0) :]
    start = max(-lag, 0)
    count = min(len(source), len(x) - start)
    aligned[start : start + count] = source[:count]
    return aligned


def _filter(x: Tensor, response: Tensor) -> Tensor:
    """Zero-phase filtering of one row by a magnitude response over its rfft bins."""
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(x) * response, n=x.shape[-1])
    return filtered


def pulsed(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Rows with a periodic gain or periodic clicks, often at the pilot's own 80 ms: no seal.

    A pilot that answers to any pulse of its period calls a tremolo or a ticking clock sealed.
    """
    n, device = x.shape[-1], x.device
    seconds = torch.arange(n, device=device) / SEAL_RATE
    rows = []
    for row in x:
        period = float(rng.choice([0.02, 0.04, 0.08, 0.08, 0.16, rng.uniform(0.05, 0.13)]))
        phase = torch.remainder(seconds / period + float(rng.random()), 1.0)
        if rng.random() < 0.5:  # a gain: sine, or a decay from every beat
            shape = torch.sin(2 * math.pi * phase) if rng.random() < 0.5 else 1 - 2 * phase
            rows.append(row * 10 ** (float(rng.uniform(0.5, 8)) / 20 * shape))
            continue
        decay = float(rng.uniform(0.001, 0.02)) / period
        clicks = torch.randn(n, device=device) * torch.exp(-phase / decay)
        level = 10 ** (float(rng.uniform(-25, 10)) / 20)
        scale = (row.square().mean() / clicks.square().mean().clamp_min(1e-12)).sqrt()
        rows.append(row + clicks * scale * level)
    return torch.stack(rows)


def _one(x: Tensor, other: Tensor, rng: np.random.Generator, codec_share: float) -> Tensor:
    n = x.shape[-1]
    freqs = torch.fft.rfftfreq(n, 1 / SEAL_RATE).to(x.device)
    if rng.random() < codec_share:
        container, codec = _CODECS[int(rng.integers(len(_CODECS)))]
        rate = int(rng.choice(_CODEC_RATES.get(codec, (48_000,))))
        least = 32_000 if rate == 44_100 else 16_000  # what encoders take at that rate
        bitrate = int(rng.choice([b for b in (16_000, 24_000, 32_000, 48_000) if b >= least]))
        coded = codec_round_trip(x.detach().cpu().numpy(), container, codec, bitrate, rate)
        return x + (torch.from_numpy(coded).to(x.device) - x).detach()
    kind = int(rng.integers(10))
    if kind == 0:  # white to pink noise, 8 to 35 dB below
        tilt = 1 / (1 + freqs) ** (0.5 * float(rng.random()))
        noise = _filter(torch.randn(n, device=x.device), tilt)
        level = 10 ** (-float(rng.uniform(8, 35)) / 20)
        return x + noise * (x.detach().square().mean() / noise.square().mean()).sqrt() * level
    if kind == 1:  # low-pass 2 to 6 kHz
        cutoff = float(rng.uniform(2000, 6000))
        return _filter(x, 1 / (1 + (freqs / cutoff) ** 12).sqrt())
    if kind == 2:  # high-pass 100 to 1200 Hz
        cutoff = float(rng.uniform(100, 1200))
        return _filter(x, 1 / (1 + (cutoff / (freqs + 1e-3)) ** 8).sqrt())
    if kind == 3:  # a drawn equaliser, +-9 dB
        knots = torch.tensor(rng.uniform(-9, 9, 8), dtype=torch.float32)[None, None]
        curve = torch.nn.functional.interpolate(knots, len(freqs), mode="linear")[0, 0]
        return _filter(x, (10 ** (curve / 20)).to(x.device))
    if kind == 4:  # echo
        delay = int(rng.uniform(0.02, 0.25) * SEAL_RATE)
        return x + float(rng.uniform(0.1, 0.5)) * torch.roll(x, delay)
    if kind == 5:  # soft compression: the gain follows the level over 50 ms
        local = torch.nn.functional.avg_pool1d(x.square()[None, None], 801, 1, 400)[0, 0]
        return x * (local + 1e-5) ** (-0.5 * float(rng.uniform(0.1, 0.5)))
    if kind == 6:  # clipping
        return torch.tanh(x * float(rng.uniform(1, 4)) / (x.detach().abs().max() + 1e-5))
    if kind == 7:  # under or over other sound, from 3 dB above to 15 dB below
        level = 10 ** (-float(rng.uniform(-3, 15)) / 20)
        power = x.detach().square().mean() / other.square().mean().clamp_min(1e-12)
        mixed: Tensor = x + other * power.sqrt() * level
        return mixed
    if kind == 8:  # a room: decaying noise behind the direct sound
        seconds = torch.arange(int(0.3 * SEAL_RATE), device=x.device) / SEAL_RATE
        response = torch.randn(len(seconds), device=x.device)
        response = response * 10 ** (-3 * seconds / float(rng.uniform(0.15, 0.7)))
        size = n + len(seconds)
        wet = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(response, size), size)[:n]
        level = 10 ** (-float(rng.uniform(3, 15)) / 20)
        scale = (x.detach().square().mean() / wet.detach().square().mean().clamp_min(1e-12)).sqrt()
        room: Tensor = x + wet * scale * level
        return room
    band = float(rng.uniform(3400, 4000))  # telephone band
    return _filter(x, ((freqs > 250) & (freqs < band)).float())


def attack(
    x: Tensor,
    rng: np.random.Generator,
    *,
    share: float,
    codec_share: float,
    others: Tensor | None = None,
) -> Tensor:
    """Attack a random ``share`` of the rows, ``codec_share`` of them by a codec; always finite.

    ``others``, of x's shape, are what rows are mixed with; default the rows themselves, rolled.
    """
    others = torch.roll(x.detach(), 1, 0) if others is None else others
    rows = [
        _one(row, other, rng, codec_share) if rng.random() < share else row
        for row, other in zip(x, others, strict=True)
    ]
    return torch.nan_to_num(torch.stack(rows))


def cosine(progress: float) -> float:
    """1 at progress 0, 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
