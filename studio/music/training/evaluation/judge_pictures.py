"""Pictures of pieces put together from pictures of single notes: many for little.

A judge of tags needs thousands of clips. A render takes about a second each; but a log-mel picture
of a piece is nearly the sum of the pictures of its notes, whose power adds. So every note of every
instrument is rendered once, and a piece's picture is the sum of its notes' pictures, each at its
onset, length, level and place, with mastering's shelf and room as power too. What is lost is how
partials of different notes beat. Renders, not these pictures, say how good a judge is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.music.composer.notation.score import Score
from studio.music.models.house.excitation import InstrumentTables
from studio.music.models.house.mastering import room, shelf
from studio.music.models.house.notes import (
    FRAME,
    FRAME_RATE,
    RATE,
    TimedScore,
    Voice,
    level_gain,
    pan_gains,
    voices,
)
from studio.music.training.evaluation.judge_clips import BANDS, WINDOW, mel_bands, picture
from studio.music.training.stems.rendering import StemRenderer

__all__ = ["NotePictures"]

Picture = NDArray[np.float32]

_SILENCE = 1e-10  # power: -100 dB
_HELD_S = 2.2
_STRUCK_S = 0.2
_VELOCITY = 100
_ONSET = 0.5  # a frame sees 22 ms before its middle: the share of the first frame


class NotePictures:
    """Draws pictures of scores; renders a note when it is first needed."""

    def __init__(self, renderer: StemRenderer, tables: InstrumentTables) -> None:
        self._renderer, self._tables = renderer, tables
        self._notes: dict[tuple[bool, int, int], tuple[Picture, float]] = {}

    def of_score(self, score: Score) -> Picture:
        """Natural logs of levels of middle and side, (2, frames, bands), as of a render."""
        timed = TimedScore.from_score(score)
        power = np.zeros((2, timed.frames, BANDS), np.float32)
        for notes in timed.stems:
            for voice in voices(notes):
                self._add(voice, power)
        power += _rooms(power[0]) * np.float32((0.5 * max(score.mix.reverb, 0.0)) ** 2)
        tilt = (np.abs(np.fft.rfft(shelf(score.mix.brightness_db), WINDOW)) ** 2) @ mel_bands()
        logs: Picture = 0.5 * np.log(power * tilt.astype(np.float32) + _SILENCE)
        return logs

    def _add(self, voice: Voice, power: Picture) -> None:
        note = voice.note
        seen, release = self._note(note.percussion, note.program, note.pitch)
        place = voice.onset / FRAME
        first, frames = int(place), power.shape[1]
        if first >= frames or not len(seen):
            return
        sounds = seen
        if not note.percussion:
            held = max(1, round(voice.length / FRAME))
            ringing = np.exp(-2 * release * np.arange(1, 26, dtype=np.float32) / FRAME_RATE)
            if held <= len(seen):
                tail = seen[held - 1] * ringing[:, None]
                sounds = np.concatenate([seen[:held], tail])
            else:
                more = np.repeat(seen[-1:], held - len(seen), 0)
                sounds = np.concatenate([seen, more, seen[-1] * ringing[:, None]])
        if voice.cut is not None:
            sounds = sounds[: max(1, round(voice.cut / FRAME))]
        later = np.float32(place - first)
        moved = np.zeros((len(sounds) + 1, BANDS), np.float32)
        moved[:-1] = sounds * (1 - later)
        moved[1:] += sounds * later
        moved = moved[: frames - first]
        loud = level_gain(note) ** 2 * (note.velocity / _VELOCITY) ** 4
        left, right = pan_gains(note.pan)
        for row, gain in enumerate(((left + right) / 2, (left - right) / 2)):
            if gain:
                power[row, first : first + len(moved)] += moved * np.float32(loud * gain**2)

    def _note(self, percussion: bool, program: int, pitch: int) -> tuple[Picture, float]:
        """Power of a long note (frames, bands), and how fast it is released, nepers a second."""
        key = (percussion, program, pitch)
        if key not in self._notes:
            length = round((_STRUCK_S if percussion else _HELD_S) * RATE)
            sound = self._renderer.note(program, pitch, _VELOCITY, length, percussion=percussion)
            sound = sound if percussion else sound[:length]
            found = self._tables.find(program, pitch, percussion)
            release = 40.0 if found is None else found[0].release_db
            self._notes[key] = (
                np.exp(2 * picture(sound[None])[0]) - np.float32(_SILENCE),
                release * float(np.log(10)) / 20,
            )
        return self._notes[key]


@lru_cache(maxsize=1)
def _room_kernels() -> NDArray[np.float64]:
    """What the room makes of the power of each band over time, (middle and side, frames, bands)."""
    left, right = room()
    count = -(-len(left) // FRAME)
    kernels = np.zeros((2, count, BANDS))
    for row, response in enumerate(((left + right) / 2, (left - right) / 2)):
        padded = np.pad(response, (0, count * FRAME - len(response))).reshape(count, FRAME)
        kernels[row] = np.abs(np.fft.rfft(padded, WINDOW)) ** 2 @ mel_bands()
    return kernels


def _rooms(middle: Picture) -> Picture:
    """Power of the room's answer in middle and side, (2, frames, bands)."""
    kernels = _room_kernels()
    size = 1 << (len(middle) + kernels.shape[1]).bit_length()
    answer = np.fft.irfft(
        np.fft.rfft(middle, size, axis=0)[None] * np.fft.rfft(kernels, size, axis=1), size, axis=1
    )
    return np.maximum(answer[:, : len(middle)], 0).astype(np.float32)
