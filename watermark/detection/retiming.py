"""Undo changed speed and tempo, found by search.

A seal's seconds and cells run with the music. Played 1 % too fast they are still read, beyond that
they drift apart. Twelve seconds of the file are read at factors 1 % apart up to 5 % either way, as
a change of speed (pitch moves too, undone by resampling) and of tempo (pitch stays, undone by
overlap and add); around the best, half a per cent finer. The whole is then read once more with the
best factor undone. Every factor tried is a look at the file, and is counted in its error rates.

>>> import numpy as np
>>> faster = Waveform(np.zeros((1, 16_000), np.float32), 16_000)
>>> Retiming("speed", 1.05).undo(faster).length        # played 1.05 times as fast: 5 % longer again
16800
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from watermark.audio.waveform import Waveform
from watermark.detection.readout import read_views
from watermark.models.base import SealModel

__all__ = ["Retiming", "find_retiming"]

_REACH = 0.05  # either way
_STEP = 0.01
_SPAN_S = 12.0  # of the file that is tried
_WORTH = 1.2  # contrast below which no factor is worth a second look


@dataclass(frozen=True, slots=True)
class Retiming:
    """A change a file has gone through: ``factor`` 1.02 means it plays 2 % faster than sealed."""

    kind: Literal["speed", "tempo"]
    factor: float

    def undo(self, waveform: Waveform) -> Waveform:
        """The waveform as long as it was, at its own rate."""
        if self.kind == "tempo":
            from watermark.audio.dsp import stretch

            samples = stretch(waveform.samples, waveform.rate, 1 / self.factor)
            return Waveform(np.ascontiguousarray(samples, np.float32), waveform.rate)
        import soxr

        frames = np.ascontiguousarray(waveform.samples.T)
        slower = soxr.resample(frames, waveform.rate, waveform.rate * self.factor, quality="HQ")
        return Waveform(np.ascontiguousarray(slower.T, np.float32), waveform.rate)


def find_retiming(mono: Waveform, model: SealModel) -> tuple[Retiming | None, int]:
    """The factor that shows most contrast, and how many were tried; None if none shows enough.

    It is right to about 1.5 %: the reader follows what is left, and so shows contrast beside it.

    Args:
        mono: the mono mix at the model's rate.
        model: whose pilot is asked.
    """
    middle, half = mono.duration_s / 2, _SPAN_S / 2
    part = mono.slice(max(0.0, middle - half), middle + half)
    scores: dict[Retiming, float] = {}

    def score(retiming: Retiming) -> float:
        if retiming not in scores:
            scores[retiming] = read_views([retiming.undo(part)], model, ("mix",))["mix"].score()
        return scores[retiming]

    count = round(_REACH / _STEP)
    factors = [round(1 + _STEP * k, 3) for k in range(-count, count + 1) if k]
    kinds: tuple[Literal["speed", "tempo"], ...] = ("speed", "tempo")
    best = max((Retiming(kind, factor) for kind in kinds for factor in factors), key=score)
    near = [Retiming(best.kind, round(best.factor + d, 3)) for d in (-0.005, 0.0, 0.005)]
    best = max(near, key=score)
    looks = len(scores) + 1
    return (best if score(best) >= _WORTH else None), looks
