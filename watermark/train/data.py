"""Host audio for training: music from a folder, synthetic speech, noise.

A *shard* is one flat ``.npy`` of int16 samples at 16 kHz mono. ``build_shard`` makes one from a
directory of wav, flac or npy files (a house catalogue rendered by the studio; music of third
parties has no place here), ``build_speech`` one from sentences spoken by espeak-ng. Both are cut
anywhere by :class:`HostSampler`, so tracks need no index.
"""

from __future__ import annotations

import io
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from watermark.models.networks import SEAL_RATE

__all__ = ["HostSampler", "audio_files", "build_shard", "build_speech", "read_mono"]

_WORDS = re.findall(
    r"\w+",
    """river stone window music garden seven quiet morning under copper market never letter distance
    orange method winter table follow second between silver people answer mountain early question
    number travel station blue forest remember yellow engine paper simple""",
)
_VOICES = ("en-gb", "en-us", "de", "fr-fr", "es", "it", "pt", "pl", "sv", "nl", "fi", "tr")


def audio_files(folder: Path) -> list[Path]:
    """The wav, flac, ogg, opus, mp3 and npy files below ``folder``, sorted."""
    suffixes = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".npy"}
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)


def read_mono(path: Path, npy_rate: int = SEAL_RATE) -> NDArray[np.float32]:
    """One file as mono float32 at 16 kHz.

    An npy holds (samples,) or (channels, samples) at ``npy_rate``.
    """
    if path.suffix.lower() == ".npy":
        raw, rate = np.load(path, mmap_mode="r"), npy_rate
        data = np.asarray(raw, dtype=np.float32)
        if np.issubdtype(raw.dtype, np.integer):
            data /= 32768
        mono = data.mean(axis=0) if data.ndim == 2 else data
    else:
        data, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = data.mean(axis=1)
    if rate != SEAL_RATE:
        mono = soxr.resample(mono, rate, SEAL_RATE, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def build_shard(
    folder: Path,
    out: Path,
    *,
    max_hours: float,
    npy_rate: int = SEAL_RATE,
    only: str = "",
    seed: int = 0,
) -> float:
    """Collect music below ``folder`` into the shard ``out``; returns its seconds.

    Files (with ``only`` in their name) are taken in a seeded random order, up to ``max_hours``.
    """
    files = [path for path in audio_files(folder) if only in path.name]
    random.Random(seed).shuffle(files)
    parts: list[NDArray[np.int16]] = []
    total, limit = 0, int(max_hours * 3600 * SEAL_RATE)
    for path in files:
        part = _to_int16(read_mono(path, npy_rate))
        parts.append(part)
        total += len(part)
        if total >= limit:
            break
    if not parts:
        raise FileNotFoundError(f"no wav, flac or npy file below {folder}")
    np.save(out, np.concatenate(parts))
    return total / SEAL_RATE


def _sentences(rng: random.Random, minutes: float) -> Iterator[tuple[str, str, int, int]]:
    for _ in range(int(minutes * 6)):  # a sentence lasts about ten seconds
        text = " ".join(rng.choices(_WORDS, k=22))
        yield text, rng.choice(_VOICES), rng.randint(120, 210), rng.randint(20, 80)


def build_speech(out: Path, *, minutes: float, seed: int = 0) -> float:
    """Speech by espeak-ng in several voices into the shard ``out``; returns its seconds."""
    parts: list[NDArray[np.int16]] = []
    for text, voice, speed, pitch in _sentences(random.Random(seed), minutes):
        command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
        # Arguments are our own word list; espeak-ng is looked up on the PATH on purpose.
        spoken = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603
        data, rate = soundfile.read(io.BytesIO(_sized(spoken)), dtype="float32")
        parts.append(_to_int16(soxr.resample(data, rate, SEAL_RATE, quality="HQ")))
    np.save(out, np.concatenate(parts))
    return sum(map(len, parts)) / SEAL_RATE


def _sized(wav: bytes) -> bytes:
    """espeak-ng writes a stream header without lengths; fill them in (canonical 44-byte header)."""
    size = len(wav) - 44
    riff, data = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    return wav[:4] + riff + wav[8:40] + data + wav[44:]


class HostSampler:
    """Random host segments: music, speech, noise and mixtures of them, at random levels."""

    def __init__(self, music: list[Path], speech: list[Path], seed: int) -> None:
        self._music = [np.load(p, mmap_mode="r") for p in music]
        self._speech = [np.load(p, mmap_mode="r") for p in speech]
        self._rng = np.random.default_rng(seed)

    def batch(self, size: int, samples: int) -> Tensor:
        """(size, samples) float32 at 16 kHz; no row is silent."""
        return torch.from_numpy(np.stack([self._segment(samples) for _ in range(size)]))

    def _cut(self, shards: list[NDArray[np.int16]], samples: int) -> NDArray[np.float32]:
        weights = np.array([len(s) for s in shards], dtype=float)
        cut: NDArray[np.float32] = np.zeros(samples, np.float32)
        for _ in range(20):  # silence between tracks is common: try again
            shard = shards[self._rng.choice(len(shards), p=weights / weights.sum())]
            start = int(self._rng.integers(0, len(shard) - samples))
            cut = shard[start : start + samples].astype(np.float32) / np.float32(32768)
            if float(np.sqrt(np.mean(cut**2))) > 2e-3:
                break
        return cut

    def _noise(self, samples: int) -> NDArray[np.float32]:
        """Noise with a power-law spectrum between white and brown."""
        spectrum = np.fft.rfft(self._rng.standard_normal(samples))
        tilt = np.arange(1, len(spectrum) + 1) ** (-self._rng.uniform(0, 1))
        return _unit(np.fft.irfft(spectrum * tilt, samples).astype(np.float32))

    def _segment(self, samples: int) -> NDArray[np.float32]:
        host: NDArray[np.floating]
        draw = self._rng.random()
        if not self._speech or draw < 0.72:
            host = self._cut(self._music, samples)
        elif draw < 0.82:
            host = self._cut(self._speech, samples)
        elif draw < 0.88:
            host = self._noise(samples)
        elif draw < 0.95:
            ratio = np.float32(10 ** self._rng.uniform(-0.5, 0.5))
            speech = self._cut(self._speech, samples)
            host = _unit(self._cut(self._music, samples)) + ratio * _unit(speech)
        else:
            ratio = np.float32(10 ** self._rng.uniform(-1.5, -0.5))
            host = _unit(self._cut(self._music, samples)) + ratio * self._noise(samples)
        peak = max(float(np.abs(host).max()), 1e-4)
        level = 10 ** self._rng.uniform(-1.2, -0.02)  # peak between -24 and -0.2 dBFS
        return (host * np.float32(level / peak)).astype(np.float32)


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (x / max(float(np.sqrt(np.mean(x**2))), 1e-5)).astype(np.float32)
