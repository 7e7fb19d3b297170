"""How the pitch of a recorded note moves: its first slide, and vibrato.

Both are measured from the phases of the lowest harmonics and taken out of the note, so that its
partials can then be measured as steady ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from studio.music.models.house.excitation import BEND_TIMES_S
from studio.music.models.house.notes import RATE

__all__ = ["Movement", "without_movement"]


@dataclass(frozen=True, slots=True)
class Movement:
    """How a note's pitch moves: vibrato (rate, depth in cents, delay) and cents at its start."""

    vibrato: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bend: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(len(BEND_TIMES_S), np.float32)
    )


_CENTS = 1200 / np.log(2)  # of a relative deviation of frequency


def without_movement(
    sound: NDArray[np.float64], base: float
) -> tuple[NDArray[np.float64], Movement]:
    """The note with the movement of its pitch taken out, and that movement."""
    window, hop = (4096 if base < 110 else 2048), 480
    count = (len(sound) - window) // hop
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop][:count]
    frames = frames * np.hanning(window)
    tracks, powers = [], []
    for k in range(1, 7):
        if k * base > 8000:
            break
        value = frames @ np.exp(-2j * np.pi * k * base * np.arange(window) / RATE)
        turn = np.exp(-2j * np.pi * k * base * hop / RATE)
        step = np.angle(value[1:] * np.conj(value[:-1]) * turn)
        tracks.append(step / (2 * np.pi * hop / RATE) / (k * base))
        powers.append(np.abs(value[1:]) ** 2)
    if not tracks:
        return sound, Movement()
    weight = np.sum(powers, 0)
    track = np.sum(np.array(powers) * tracks, 0) / np.maximum(weight, 1e-20)
    loud = weight > weight.max() * 1e-5
    steady = loud.copy()
    steady[:8] = False
    if steady.sum() < 80 or np.abs(track[steady]).max() > 0.03:
        return sound, Movement()
    track = np.where(loud, track - np.median(track[steady]), 0)
    time = np.arange(count - 1) * hop / RATE
    middle = time + (window / 2 + hop / 2) / RATE
    vibrato = _vibrato(np.where(steady, track, 0), time)
    # A movement that the harmonics do not share is beating, not pitch.
    early = (middle < BEND_TIMES_S[-1]) & loud
    apart = np.sum(np.array(powers) * (np.array(tracks) - np.median(tracks) - track) ** 2, 0)
    shared = np.sum(weight[early] * track[early] ** 2)
    bend = np.zeros(len(BEND_TIMES_S))
    if early.any() and np.sum(apart[early]) < 0.5 * shared:
        width = 15 if vibrato[1] > 0 else 3
        first = int(np.argmax(early))
        padded = np.concatenate([np.full(first, track[first]), track[first:]])
        smooth = np.convolve(
            np.pad(padded, width // 2, mode="edge"), np.ones(width) / width, "valid"
        )
        bend = np.clip(np.interp(BEND_TIMES_S, middle, smooth) * _CENTS, -150, 150)
        bend[-1] = 0.0
    if np.abs(bend).max() < 5:
        bend[:] = 0.0
    if not vibrato[1] and not bend.any():
        return sound, Movement()
    smooth = np.convolve(track, np.ones(5) / 5, "same")
    if not vibrato[1]:
        smooth[middle > BEND_TIMES_S[-1]] = 0
    instants = np.arange(len(sound)) / RATE
    inner = np.cumsum(1 + np.interp(instants, middle, smooth)) / RATE  # the note's own time
    return np.interp(instants, inner, sound), Movement(vibrato, bend.astype(np.float32))


def _vibrato(track: NDArray[np.float64], time: NDArray[np.float64]) -> tuple[float, float, float]:
    """Rate in Hz, depth in cents and delay in seconds; zeros where there is none."""
    centred = track - np.convolve(track, np.ones(41) / 41, "same")
    rates = np.arange(3.5, 8.5, 0.1)
    half = slice(len(time) // 3, None)
    score = np.abs(np.exp(-2j * np.pi * rates[:, None] * time[half]) @ centred[half])
    depth = 2 * score.max() / len(time[half])
    if depth * _CENTS < 4 or depth**2 / 2 < 0.4 * np.mean(centred[half] ** 2):
        return 0.0, 0.0, 0.0
    strength = np.convolve(np.abs(centred), np.ones(25) / 25, "same")
    begin = time[int(np.argmax(strength > 0.35 * depth))]
    rate = float(rates[np.argmax(score)])
    return rate, float(depth * _CENTS), float(max(0.0, begin - 0.1))
