"""Dry stems of a score, by FluidSynth and Debian's FluidR3Mono soundfont (MIT), at 48 kHz.

FluidSynth starts a note at the next block of 64 samples. To start it at any sample, every note is
rendered by itself, by a synthesiser of its own, and added where it belongs. That makes a stem
sample-accurate at any tempo and bit-identical whatever was rendered before, and the soundfont is
loaded once. Notes ring out after their note-off. A drum that another drum of its class stops (an
open hat, closed) fades as FluidSynth would fade it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.music.models.house.notes import (
    CUT_DB_PER_S,
    RATE,
    STEMS,
    TimedNote,
    TimedScore,
    Voice,
    level_gain,
    pan_gains,
    voices,
)
from studio.music.training.synthesiser import SoundfontSynthesiser

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StemRenderer"]

_SCALE = 2.0  # brings a part at 0 dB to about -20 dBFS
_CHUNK = 12_000  # samples rendered at a time while a note rings out
_SILENT = 2e-6
_LONGEST_RING_S = 6.0
_CACHE_BYTES = 256 * 2**20


class StemRenderer(SoundfontSynthesiser):
    """Renders notes and stems. Use as a context manager, or call :meth:`close`.

    Raises :class:`HouseError` where FluidSynth or the soundfont is missing.
    """

    def __init__(self, soundfont: Path | None = None) -> None:
        # A note is a few voices; more of them cost 1 ms a synthesiser.
        super().__init__(soundfont, rate=RATE, polyphony=16)
        self._cache: OrderedDict[tuple[int, ...], NDArray[np.float32]] = OrderedDict()
        self._cached = 0

    def stems(self, score: TimedScore) -> NDArray[np.float32]:
        """Dry mono stems of a score, shape (4, score.samples)."""
        return np.stack([self.stem(notes, score.samples) for notes in score.stems])

    def stereo_stems(self, score: TimedScore) -> NDArray[np.float32]:
        """Dry stems with every part at its place, shape (4, 2, score.samples)."""
        out = np.zeros((len(STEMS), 2, score.samples), np.float32)
        for stem, notes in enumerate(score.stems):
            for pan in sorted({note.pan for note in notes}):
                mono = self.stem([n for n in notes if n.pan == pan], score.samples)
                for side, gain in enumerate(pan_gains(pan)):
                    out[stem, side] += np.float32(gain) * mono
        return out

    def stem(self, notes: Sequence[TimedNote], samples: int) -> NDArray[np.float32]:
        """The notes together, dry, mono, shape (samples,)."""
        out = np.zeros(samples, np.float32)
        for voice in voices(notes):
            if voice.onset >= samples:
                continue
            sound = self._sound(voice)[: samples - voice.onset]
            out[voice.onset : voice.onset + len(sound)] += sound
        return _without_dc(out)

    def note(
        self, program: int, pitch: int, velocity: int, length: int, *, percussion: bool = False
    ) -> NDArray[np.float32]:
        """One note at 0 dB until it has rung out; `length` samples to its note-off.

        Raises :class:`HouseError` where the soundfont lacks the program.
        """
        key = (program, pitch, velocity, length, int(percussion))
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        sound = self._render(program, pitch, velocity, length, percussion)
        self._cache[key] = sound
        self._cached += sound.nbytes
        while self._cached > _CACHE_BYTES:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return sound

    def _sound(self, voice: Voice) -> NDArray[np.float32]:
        note = voice.note
        sound = self.note(
            note.program, note.pitch, note.velocity, voice.length, percussion=note.percussion
        ) * np.float32(level_gain(note))
        if voice.cut is not None and voice.cut < len(sound):
            after = np.arange(len(sound) - voice.cut, dtype=np.float32)
            sound[voice.cut :] *= 10 ** (after * np.float32(-CUT_DB_PER_S / 20 / RATE))
        return sound

    def _render(
        self, program: int, pitch: int, velocity: int, length: int, percussion: bool
    ) -> NDArray[np.float32]:
        channel = 9 if percussion else 0
        with self._fresh_synth() as synth:
            self._select(synth, channel, program, percussion=percussion)
            self._fs.fluid_synth_cc(synth, channel, 7, 127)
            self._fs.fluid_synth_noteon(synth, channel, pitch, velocity)
            pieces = [self._mono(synth, length)]
            self._fs.fluid_synth_noteoff(synth, channel, pitch)
            for _ in range(int(_LONGEST_RING_S * RATE / _CHUNK)):
                pieces.append(self._mono(synth, _CHUNK))
                if np.abs(pieces[-1]).max() < _SILENT:
                    break
        return np.concatenate(pieces)

    def _mono(self, synth: Any, samples: int) -> NDArray[np.float32]:
        return np.float32(0.5 * _SCALE) * self._pull(synth, samples)


def _without_dc(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A second-order high-pass at 25 Hz: some of the soundfont's pads carry a large offset."""
    from scipy.signal import butter, sosfilt

    sections = butter(2, 25, "highpass", fs=RATE, output="sos")
    result: NDArray[np.float32] = sosfilt(sections, samples.astype(np.float64)).astype(np.float32)
    return result
