"""Calibrate a reader of others' marks on unmarked music: a threshold, and its stated error rate.

A threshold that is chosen on some recordings passes few of just these, so it is chosen on one half
and the alarms are counted on the other. Each recording gives one clip and counts once: clips of one
recording are much alike, and would make the rate look surer than it is.

>>> threshold_for([0.1, 0.4, 0.2, 0.3], 0.0), threshold_for([0.1, 0.4, 0.2, 0.3], 0.25)
(0.4, 0.3)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from studio.consent.types import format_instant
from studio.core.errors import UsageError
from studio.verification.other_marks import MarkCalibration

if TYPE_CHECKING:
    from studio.verification.other_marks import MarkReader
    from watermark.audio.waveform import Waveform

__all__ = ["LEAST_RECORDINGS", "ReaderCalibration", "calibrate_reader", "threshold_for"]

LEAST_RECORDINGS = 20
"""With fewer, no rate below 14 % can be stated, even without an alarm."""


@dataclass(frozen=True, slots=True)
class ReaderCalibration:
    """What a calibration found, and on what."""

    calibration: MarkCalibration
    reader: str
    version: str  # of the reader, its weights included
    target: float | None  # share of recordings that were let pass; None: the threshold was given
    chosen_on: int  # recordings that the threshold was chosen on; none of them was counted
    made_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The content of ``calibration.json``."""
        return {
            **asdict(self.calibration),
            "reader": self.reader,
            "version": self.version,
            "false_positive_rate": self.calibration.upper,
            "confidence": 0.95,
            "target": self.target,
            "chosen_on": self.chosen_on,
            "made_at": format_instant(self.made_at),
        }


def calibrate_reader(
    reader: MarkReader,
    clips: Iterable[tuple[str, Waveform]],
    *,
    duration_s: float,
    target: float = 0.01,
    threshold: float | None = None,
) -> ReaderCalibration:
    """Calibrate on one clip of each unmarked recording.

    Args:
        reader: gives scores.
        clips: each with the SHA-256 of its recording; one that comes again is left out.
        duration_s: of each clip.
        target: share of the recordings, of those it is chosen on, that may pass the threshold.
        threshold: chosen beforehand; then every recording is counted.

    Raises:
        UsageError: too few recordings.
    """
    scores: dict[str, float] = {}
    name = version = ""
    for digest, clip in clips:
        if digest not in scores:
            finding = reader.read(clip)
            name, version, scores[digest] = finding.reader, finding.version, finding.score
    if len(scores) < LEAST_RECORDINGS:
        raise UsageError(
            f"{len(scores)} different recordings of {duration_s:g} s and more can be read; a "
            f"calibration takes {LEAST_RECORDINGS} at least, and a rate below 1 % about 600"
        )
    ordered = [scores[digest] for digest in sorted(scores)]  # by digest: in no order of the music
    counted, chosen_on = ordered, 0
    if threshold is None:
        threshold = threshold_for(ordered[::2], target)
        counted, chosen_on = ordered[1::2], len(ordered[::2])
    alarms = sum(score > threshold for score in counted)
    return ReaderCalibration(
        MarkCalibration(threshold, alarms, len(counted), duration_s),
        name,
        version,
        None if chosen_on == 0 else target,
        chosen_on,
        datetime.now(UTC),
    )


def threshold_for(scores: Sequence[float], target: float) -> float:
    """The lowest score that at most a share ``target`` of the scores lies above."""
    return sorted(scores, reverse=True)[int(target * len(scores) + 1e-9)]
