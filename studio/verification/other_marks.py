"""Watermarks of others, reported as separate evidence.

A reader is named, brings its own calibration, and never touches the verdict: what it finds stands
beside it, under its name. A reader is found by configuration, ``verify.other_readers``, as
``package.module:function``; the function takes nothing and returns a :class:`MarkReader`.

>>> finding = MarkFinding("AudioSeal", "0.2.0", 0.97, None, "1011000011110000")
>>> finding.text()
'score 0.97; nobody has calibrated this reader here, so it is a hint at most; message b0f0'
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from studio.core.errors import ConfigError

if TYPE_CHECKING:
    from watermark.audio.waveform import Waveform

__all__ = ["MarkCalibration", "MarkFinding", "MarkReader", "calibrate", "load_readers"]


@dataclass(frozen=True, slots=True)
class MarkCalibration:
    """At which rate a reader calls unmarked sound marked, counted on so many clips."""

    threshold: float
    alarms: int
    clips: int
    duration_s: float  # of each clip

    @property
    def upper(self) -> float:
        """Upper bound of the false-positive rate, at 95 % confidence."""
        from watermark.util.stats import clopper_pearson

        return clopper_pearson(self.alarms, self.clips, tail=0.05)[1]


@dataclass(frozen=True, slots=True)
class MarkFinding:
    """What one reader found in one recording."""

    reader: str
    version: str
    score: float
    calibration: MarkCalibration | None  # None: nobody has measured its false alarms here
    message: str | None = None  # bits, the first first

    @property
    def detected(self) -> bool | None:
        """Whether the score is above the threshold; None where there is none."""
        return None if self.calibration is None else self.score > self.calibration.threshold

    def text(self) -> str:
        """The finding in plain words."""
        parts = [f"score {self.score:.2f}"]
        if self.calibration is None:
            parts.append("nobody has calibrated this reader here, so it is a hint at most")
        else:
            side = "above" if self.detected else "not above"
            parts.append(
                f"{side} its threshold {self.calibration.threshold:.2f}, which at most "
                f"{self.calibration.upper:.2%} of unmarked clips pass "
                f"({self.calibration.alarms} of {self.calibration.clips})"
            )
        if self.message and self.detected is not False:
            parts.append(f"message {int(self.message, 2):0{len(self.message) // 4}x}")
        return "; ".join(parts)

    def to_json(self) -> dict[str, object]:
        known = self.calibration
        return {
            "reader": self.reader,
            "version": self.version,
            "score": self.score,
            "detected": self.detected,
            "threshold": None if known is None else known.threshold,
            "false_positive_rate": None if known is None else known.upper,
            "message": self.message,
            "text": self.text(),
        }


class MarkReader(Protocol):
    """Reads the marks of one system."""

    name: str
    """Of the system, as people know it."""

    def read(self, recording: Waveform) -> MarkFinding:
        """What is found in a decoded recording. Raises :class:`watermark.errors.AudioError`."""


def load_readers(names: Sequence[str]) -> tuple[MarkReader, ...]:
    """The readers that the configuration names. Raises :class:`ConfigError`."""
    readers: list[MarkReader] = []
    for name in names:
        module, _, function = name.partition(":")
        try:
            readers.append(getattr(importlib.import_module(module), function)())
        except (ImportError, AttributeError, TypeError, ValueError) as exc:
            raise ConfigError(
                f"verify.other_readers: {name} is no package.module:function of a reader ({exc})"
            ) from exc
    return tuple(readers)


def calibrate(
    reader: MarkReader, clips: Iterable[Waveform], *, threshold: float, duration_s: float
) -> MarkCalibration:
    """Count the alarms of a reader on unmarked clips at a threshold that was chosen beforehand."""
    scores = [reader.read(clip).score for clip in clips]
    alarms = sum(score > threshold for score in scores)
    return MarkCalibration(threshold, alarms, len(scores), duration_s)
