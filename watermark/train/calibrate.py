"""Calibration: the whole detector on real music that carries no seal.

The threshold of a duration is the largest score seen plus a margin, and at least `LEAST`. How well
such a threshold holds on music that did not choose it is counted by leaving files out, one at a
time: the left-out file's clips against the threshold of all others. That count is what verdicts
state. Clips of one file are alike, so the interval around it is a little too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from watermark.audio import Waveform, read
from watermark.calibration import DurationCalibration, FalsePositiveRate
from watermark.detect import detect
from watermark.models import SealModel
from watermark.train.data import audio_files

__all__ = ["MARGIN", "Score", "calibrate", "score_clips"]

#: Log odds between the largest unmarked score and the threshold.
MARGIN = 0.75
#: No threshold lies below this, however low the few clips of a duration scored.
LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Score:
    """One unmarked clip: which source and file it is from, how long it is, what it scored."""

    source: str
    file: str
    duration_s: float
    score: float


def load(path: Path, npy_rate: int) -> Waveform:
    """A file of any handled format, or an npy at ``npy_rate``."""
    if path.suffix == ".npy":
        raw = np.load(path)
        scale = 32768 if np.issubdtype(raw.dtype, np.integer) else 1
        return Waveform(np.atleast_2d(raw).astype(np.float32) / np.float32(scale), npy_rate)
    return read(path)


def score_clips(
    folder: Path,
    model: SealModel,
    *,
    source: str,
    shares: dict[float, float],
    npy_rate: int,
    most_per_file: int,
    log: Callable[[Score], None],
    pattern: str = "",
) -> None:
    """Score disjoint clips of every file; ``shares`` maps a duration to the share of clips taken.

    Digitally silent clips (below -60 dBFS) are left out: they score as surely unmarked and would
    only flatter the rate.
    """
    for path in (p for p in audio_files(folder) if pattern in p.name):
        waveform = load(path, npy_rate)
        for duration, share in shares.items():
            count = int(waveform.duration_s / duration)
            taken = max(1, min(round(count * share), most_per_file)) if count else 0
            for index in np.linspace(0, count - 1, taken).round().astype(int) if taken else ():
                clip = waveform.slice(index * duration, (index + 1) * duration)
                if float(np.sqrt(np.mean(clip.samples**2))) < 1e-3:
                    continue
                log(Score(source, path.name, duration, detect(clip, model=model).score))


def calibrate(scores: Sequence[Score]) -> dict[str, Any]:
    """The ``calibration`` part of a weights record."""
    rows = []
    for duration in sorted({s.duration_s for s in scores}):
        group = [s for s in scores if s.duration_s == duration]
        row = DurationCalibration.from_scores(duration, [s.score for s in group], margin=MARGIN)
        row = replace(row, threshold=max(row.threshold, LEAST))
        alarms = 0
        for file in {s.file for s in group}:
            others = max((s.score for s in group if s.file != file), default=0.0)
            threshold = max(others + MARGIN, LEAST)
            alarms += sum(1 for s in group if s.file == file and s.score > threshold)
        held_out = FalsePositiveRate.of(alarms, len(group))
        data = asdict(row) | {"held_out": asdict(held_out)}
        data["top"] = [round(v, 4) for v in row.top]
        data["quantiles"] = [round(v, 4) for v in row.quantiles]
        rows.append(data)
    sources = []
    for name in sorted({s.source for s in scores}):
        group = [s for s in scores if s.source == name]
        clips = ", ".join(
            f"{sum(1 for s in group if s.duration_s == d)} of {d:g} s"
            for d in sorted({s.duration_s for s in group})
        )
        sources.append(f"{name}: {len({s.file for s in group})} files, clips: {clips}")
    return {"sources": sources, "date": datetime.now(UTC).date().isoformat(), "rows": rows}
