"""Clips for the benchmark: from a folder of music, or synthetic.

>>> clip = synthetic_clips(count=1, seconds=2.0)[0]
>>> clip.name, clip.waveform.duration_s
('synthetic-1', 2.0)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watermark.audio.waveform import CHILD_LIMITS, Waveform, stream
from watermark.errors import AudioError, BenchError

__all__ = ["Clip", "load_clips", "synthetic_clips"]

_AUDIO = {".wav", ".flac", ".mp3", ".m4a", ".opus", ".ogg", ".aac", ".aiff", ".webm"}
_READ_S = 120.0  # seconds of a file looked at to take a clip from


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of music to seal; its name appears in the report."""

    name: str
    waveform: Waveform


def load_clips(
    folder: str | os.PathLike[str], *, count: int, seconds: float
) -> tuple[list[Clip], list[str]]:
    """Clips from a folder's audio files, in order of name: (clips, why others were left out).

    Each clip is taken from a quarter into the first two minutes, past an introduction.

    Raises:
        BenchError: no folder, or not one file that serves.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BenchError(f"no folder {place.name}")
    clips: list[Clip] = []
    left_out: list[str] = []
    for path in sorted(p for p in place.rglob("*") if p.suffix.lower() in _AUDIO):
        if len(clips) == count:
            break
        try:
            blocks = stream(path, block_s=_READ_S, limits=CHILD_LIMITS)
            waveform = next(blocks)
        except AudioError as exc:
            left_out.append(str(exc))
            continue
        spare = waveform.duration_s - seconds
        if spare < 0:
            left_out.append(f"{path.name}: shorter than {seconds:g} s")
            continue
        clip = waveform.slice(spare / 4, spare / 4 + seconds)
        if float(np.abs(clip.samples).max()) < 1e-3:
            left_out.append(f"{path.name}: silence")
            continue
        clips.append(Clip(path.name, clip))
    if not clips:
        raise BenchError(f"no audio file of {seconds:g} s or more in {place.name}")
    return clips, left_out


def synthetic_clips(*, count: int, seconds: float, seed: int = 0) -> list[Clip]:
    """Music made up on the spot, for a bench without files: chords, bass and a beat, 32 kHz stereo.

    It is simpler than real music; figures from it are a smoke test, and say so in the report.
    """
    rate = 32_000
    clips = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        length = round(seconds * rate)
        beat = rate * 60 / rng.uniform(80, 140)
        mix = np.zeros((2, length + 2 * rate))
        root = rng.integers(40, 52)
        for step in range(int(length / (beat / 2)) + 1):
            at = round(step * beat / 2)
            degree = (0, 5, 7, 3)[step // 8 % 4]
            if step % 2 == 0:
                _pluck(mix, at, 440 * 2 ** ((root + degree - 69) / 12), 0.20, 0.5, rate, rng)
            notes = rng.choice([12, 15, 19, 22, 24, 27], size=rng.integers(1, 3), replace=False)
            for note in notes:
                pitch = 440 * 2 ** ((root + degree + note - 69) / 12)
                _pluck(mix, at, pitch, 0.12, rng.uniform(0.2, 0.8), rate, rng)
            hit = rng.standard_normal(rate // 8) * np.exp(-np.arange(rate // 8) / (rate / 60))
            mix[:, at : at + len(hit)] += hit * (0.08 if step % 4 == 2 else 0.02)
        samples = mix[:, :length] / np.abs(mix[:, :length]).max() * 0.7
        waveform = Waveform(np.ascontiguousarray(samples, np.float32), rate)
        clips.append(Clip(f"synthetic-{number + 1}", waveform))
    return clips


def _pluck(
    mix: NDArray[np.float64],
    at: int,
    hz: float,
    level: float,
    pan: float,
    rate: int,
    rng: np.random.Generator,
) -> None:
    seconds = np.arange(min(rate * 2 // 3, mix.shape[1] - at)) / rate
    tone = np.zeros(len(seconds))
    for harmonic in range(1, 7):
        decay = np.exp(-seconds * (3 + harmonic))
        phase = 2 * np.pi * harmonic * hz * seconds + rng.uniform(0, 6)
        tone += decay * np.sin(phase) / harmonic
    mix[:, at : at + len(tone)] += level * tone * np.array([[1 - pan], [pan]])
