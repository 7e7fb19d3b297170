"""The result of detection: score, error rates, segments, identity.

>>> Segment(start_s=1.0, end_s=4.25, score=3.2).end_s
4.25
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.coding.identify import Identification
from watermark.detection.readout import View
from watermark.detection.retiming import Retiming
from watermark.models.calibration import FalsePositiveRate

__all__ = ["Detection", "KeyedEvidence", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch that reads as sealed: seconds of the file, and its detection score."""

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, slots=True)
class KeyedEvidence:
    """A stretch that follows the scramble of a registered epoch, whichever seal it is.

    Attributes:
        epoch: of the key.
        chance_bound: upper bound on the chance that audio not sealed under this key follows it as
            well, at any place, alignment and stretch looked at.
        start_s: where the stretch begins in the file.
        end_s: where it ends.
    """

    epoch: int
    chance_bound: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """What was found in one file.

    Attributes:
        file: its name, None for a waveform.
        duration_s: seconds.
        detected: the score is above the threshold, or a registered key or seal was found.
        score: of the file or of its best window; the pilot's contrast, in standard deviations.
        p_value: share of unmarked clips of that duration that score as high, times the windows
            looked at; with a registered key or seal, the least of it and their bounds. None for
            weights that nobody calibrated.
        threshold: of the score.
        false_positive_rate: of the threshold, its upper 95 % limit, times the windows looked at.
        alarms: the count behind that rate, or None.
        calibrated_s: clip duration of that count, seconds.
        segments: to 0.25 s; empty where nothing was detected.
        timeline: mean pilot log odds around the middle of every 0.25 s, (bins,).
        message_logits: soft bits per second on the best sub-second phase, (seconds, 16).
        message_phase_s: where the first of those seconds begins in the file.
        model: id of the weights.
        view: which mono signal it was found in.
        identification: the registered seal, or None.
        keyed: that it is sealed under a registered key, seal named or not; or None.
        retiming: the change of speed or tempo that was undone before it was found, or None.
        notes: what of the file was missing, damaged, left out or read in a way of its own.
    """

    file: str | None
    duration_s: float
    detected: bool
    score: float
    p_value: float | None
    threshold: float
    false_positive_rate: float | None
    alarms: FalsePositiveRate | None
    calibrated_s: float | None
    segments: tuple[Segment, ...]
    timeline: NDArray[np.float32]
    message_logits: NDArray[np.float32]
    message_phase_s: float
    model: str
    view: View
    identification: Identification | None
    keyed: KeyedEvidence | None = None
    retiming: Retiming | None = None
    notes: tuple[str, ...] = ()

    def to_json(self, *, message_logits: bool = False) -> dict[str, Any]:
        """Plain data under the names of the command line's contract."""
        data: dict[str, Any] = {
            "file": self.file,
            "duration_s": round(self.duration_s, 3),
            "detected": self.detected,
            "score": round(self.score, 4),
            "p_value": self.p_value,
            "threshold": round(self.threshold, 4),
            "false_positive_rate": self.false_positive_rate,
            "segments": [
                {"start_s": s.start_s, "end_s": s.end_s, "score": round(s.score, 4)}
                for s in self.segments
            ],
            "model": self.model,
            "view": self.view,
            "calibration": None,
            "identification": None,
            "keyed": None,
            "notes": list(self.notes),
        }
        if self.alarms is not None:
            data["calibration"] = {
                "clips": self.alarms.clips,
                "alarms": self.alarms.alarms,
                "interval": [round(self.alarms.lower, 6), round(self.alarms.upper, 6)],
                "confidence": 0.95,
                "duration_s": self.calibrated_s,
            }
        if self.identification is not None:
            found = self.identification
            data["identification"] = {
                "seal_id": found.seal_id.hex,
                "epoch": found.epoch,
                "score": round(found.score, 3),
                "chance_bound": found.chance_bound,
                "offset_s": round(found.offset_s, 3),
                "bit_accuracy": round(found.bit_accuracy, 4),
                "seconds_used": found.seconds_used,
            }
        if self.keyed is not None:
            data["keyed"] = {
                "epoch": self.keyed.epoch,
                "chance_bound": self.keyed.chance_bound,
                "start_s": round(self.keyed.start_s, 3),
                "end_s": round(self.keyed.end_s, 3),
            }
        if self.retiming is not None:
            data["retiming"] = {"kind": self.retiming.kind, "factor": self.retiming.factor}
        if message_logits:
            data["message_logits"] = np.round(self.message_logits, 3).tolist()
            data["message_phase_s"] = round(self.message_phase_s, 3)
        return data
