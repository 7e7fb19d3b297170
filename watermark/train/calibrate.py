"""Calibrate the whole detector on real music without a watermark.

Music reaches a detector coded, often twice. So a share of every file is taken in stretches that are
first coded coarsely or resampled (:data:`CODINGS`), and counts like the rest.

The threshold of a duration lies a margin above the largest score that is not among the :data:`RATE`
of clips that may alarm, and is at least `LEAST`. How well
such a threshold holds on music that did not choose it is counted by leaving files out, one at a
time: the left-out file's clips against the threshold of all others. That count is what verdicts
state. Clips of one file are alike, so the interval around it is a little too narrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from watermark.audio.waveform import AudioFormat, Waveform, encode, read, stream
from watermark.detection.detect import detect
from watermark.models.base import SealModel
from watermark.models.calibration import DurationCalibration, FalsePositiveRate
from watermark.train.data import audio_files

__all__ = ["CODINGS", "MARGIN", "RATE", "Score", "calibrate", "count_alarms", "score_clips"]

#: The operating point: this share of unmarked clips may alarm. Half of the 1e-3 aimed at: other
#: music alarms more often than the music that chose a threshold.
RATE = 5e-4
#: Between the largest score that must not alarm and the threshold, in the score's own unit.
MARGIN = 0.05
#: No threshold lies below this, however low the few clips of a duration scored.
LEAST = 1.0
#: What coded stretches go through, in turn: a format with its bit/s, or a sample rate in Hz.
CODINGS: tuple[tuple[AudioFormat, int] | int, ...] = (
    ("mp3", 64_000),
    ("opus", 24_000),
    ("mp3", 32_000),
    ("m4a", 48_000),
    ("opus", 48_000),
    8_000,
)
_STRETCH_S = 60.0  # decoded and coded at a time


@dataclass(frozen=True, slots=True)
class Score:
    """One unmarked clip: which source and file it is from, how long it is, what it scored.

    ``coding`` is what it went through, "" for the music as it is in its file.
    """

    source: str
    file: str
    duration_s: float
    score: float
    coding: str = ""


def load(path: Path, npy_rate: int) -> Waveform:
    """A file of any handled format, or an npy at ``npy_rate``."""
    if path.suffix == ".npy":
        raw = np.load(path)
        scale = 32768 if np.issubdtype(raw.dtype, np.integer) else 1
        return Waveform(np.atleast_2d(raw).astype(np.float32) / np.float32(scale), npy_rate)
    return read(path)


def _stretches(path: Path, npy_rate: int) -> Iterator[Waveform]:
    if path.suffix == ".npy":
        whole = load(path, npy_rate)
        for start in np.arange(0.0, whole.duration_s, _STRETCH_S):
            yield whole.slice(float(start), float(start) + _STRETCH_S)
    else:
        yield from stream(path, block_s=_STRETCH_S)


def _coded(waveform: Waveform, coding: tuple[AudioFormat, int] | int) -> tuple[Waveform, str]:
    if isinstance(coding, int):
        return waveform.resample(coding), f"{coding} Hz"
    form, bitrate = coding
    return read(encode(waveform, form, bitrate=bitrate)), f"{form} {bitrate // 1000}k"


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
    coded_share: float = 0.0,
) -> None:
    """Score disjoint clips of every file; ``shares`` maps a duration to the share of clips taken.

    ``coded_share`` of the minutes of every file are coded first, each by the next of
    :data:`CODINGS`. Digitally silent clips (below -60 dBFS) are left out: they score as surely
    unmarked and would only flatter the rate.
    """
    stretches = coded = 0
    due = dict.fromkeys(shares, 0.0)
    for path in (p for p in audio_files(folder) if pattern in p.name):
        taken = dict.fromkeys(shares, 0)
        for stretch in _stretches(path, npy_rate):
            stretches += 1
            waveform, coding = stretch, ""
            if coded < coded_share * stretches and stretch.duration_s >= min(shares):
                waveform, coding = _coded(stretch, CODINGS[coded % len(CODINGS)])
                coded += 1
            for duration, share in shares.items():
                for index in range(int(waveform.duration_s / duration + 1e-3)):
                    due[duration] += share
                    if due[duration] < 1 or taken[duration] >= most_per_file:
                        continue
                    due[duration] -= 1
                    clip = waveform.slice(index * duration, (index + 1) * duration)
                    if float(np.sqrt(np.mean(clip.samples**2))) < 1e-3:
                        continue
                    taken[duration] += 1
                    score = detect(clip, model=model).score
                    log(Score(source, path.name, duration, score, coding))
            if max(taken.values()) >= most_per_file:
                break


def _row(duration_s: float, group: Sequence[Score]) -> DurationCalibration:
    scores = [s.score for s in group]
    row = DurationCalibration.from_scores(duration_s, scores, margin=MARGIN, rate=RATE)
    return replace(row, threshold=max(row.threshold, LEAST))


def calibrate(scores: Sequence[Score]) -> dict[str, Any]:
    """The ``calibration`` part of a weights record."""
    rows = []
    for duration in sorted({s.duration_s for s in scores}):
        group = [s for s in scores if s.duration_s == duration]
        row = _row(duration, group)
        alarms = 0
        for file in {s.file for s in group}:
            others = [s for s in group if s.file != file]
            threshold = _row(duration, others).threshold if others else LEAST
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
        coded = sum(1 for s in group if s.coding)
        files = len({s.file for s in group})
        sources.append(f"{name}: {files} files, clips: {clips}; {coded} of all coded first")
    return {"sources": sources, "date": datetime.now(UTC).date().isoformat(), "rows": rows}


def count_alarms(
    folder: Path,
    model: SealModel,
    *,
    duration_s: float,
    clips: int,
    most_per_file: int,
    speed_search: bool,
    stride: int = 1,
    log: Path | None = None,
) -> dict[str, Any]:
    """How often unmarked clips of any one duration are called sealed, and at what stated rate.

    Unlike :func:`score_clips` this sets nothing: it counts what
    :func:`watermark.detection.detect.detect` says with the calibration that there is. Clips are
    taken in turn from the files, from each at most ``most_per_file``, every ``stride``-th of those
    that follow each other; a third of them is coded first, by the next of :data:`CODINGS`.
    """
    counted = alarmed = retimed = 0
    files = set()
    stated = 0.0
    for path, clip, coding in _alarm_clips(folder, duration_s, most_per_file, stride):
        found = detect(clip, model=model, speed_search=speed_search)
        counted += 1
        files.add(path)
        alarmed += found.detected
        retimed += found.detected and found.retiming is not None
        stated = max(stated, found.false_positive_rate or 0.0)
        if log is not None:
            line = {"file": path.name, "coding": coding, "speed_search": speed_search}
            line |= {"duration_s": duration_s, "score": found.score, "threshold": found.threshold}
            line |= {"detected": found.detected, "retimed": found.retiming is not None}
            with log.open("a") as out:
                out.write(json.dumps(line) + "\n")
        if counted >= clips:
            break
    rate = FalsePositiveRate.of(alarmed, counted)
    return {
        "duration_s": duration_s,
        "speed_search": speed_search,
        "clips": counted,
        "files": len(files),
        "alarms": alarmed,
        "of_them_at_another_speed": retimed,
        "interval": [round(rate.lower, 6), round(rate.upper, 6)],
        "stated_rate": round(stated, 6),
    }


def _alarm_clips(
    folder: Path, duration_s: float, most_per_file: int, stride: int
) -> Iterator[tuple[Path, Waveform, str]]:
    """Clips of one duration; files in an order that mixes the sources."""
    paths = audio_files(folder)
    order = np.random.default_rng(0).permutation(len(paths))
    number = 0
    for path in (paths[i] for i in order):
        taken = seen = 0
        for clip in stream(path, block_s=duration_s):
            if clip.duration_s < duration_s - 1e-3 or taken >= most_per_file:
                break
            seen += 1
            if (seen - 1) % stride or float(np.sqrt(np.mean(clip.samples**2))) < 1e-3:
                continue
            taken += 1
            number += 1
            if number % 3 == 0:
                coded, coding = _coded(clip, CODINGS[number // 3 % len(CODINGS)])
                yield path, coded, coding
            else:
                yield path, clip, ""
