"""Detection: is there a seal, in which seconds, whose, and how sure is that.

Every view of the file (the mono mix; if it names no seal and the channels differ enough for others
to say more, left, right and their difference) is read by :mod:`watermark.reading`, whatever its
alignment, and judged twice:

* by the **detection score**, over the audible cells of the whole file or of its best window: how
  far the pilot's mean log odds stand above those on alignments where a seal would make it deny
  (:func:`watermark.reading.contrast`), against the threshold measured on real unmarked music of
  that duration, coarsely coded music included (:mod:`watermark.calibration`);
* with a codebook, by the **registry's evidence** (:mod:`watermark.attribution`): do the soft bits
  follow the scramble of an epoch, and the sequence of a seal? Both bounds on a false claim are
  exact, so either counts as detection even where the pilot is weak.

On request, what was found in neither way is looked for at other speeds and tempos
(:mod:`watermark.retiming`). "Nothing found" is a result, not an error; files that cannot be read
raise.

>>> import numpy as np
>>> from watermark.audio import Waveform
>>> from watermark.models import load_seal_model
>>> noise = np.random.default_rng(0).standard_normal((1, 4 * 16_000)).astype(np.float32)
>>> found = detect(Waveform(0.1 * noise, 16_000), model=load_seal_model())
>>> found.detected, found.segments, found.identification
(False, (), None)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from watermark.attribution import attribute
from watermark.audio import DecodeLimits, Waveform, source_name, stream
from watermark.calibration import DurationCalibration
from watermark.decoding import AudioSource
from watermark.detection import Detection, Segment
from watermark.identify import Codebook
from watermark.models import SEAL_RATE, SealModel
from watermark.reading import Reading, View, read_views
from watermark.retiming import find_retiming

__all__ = ["Detection", "Segment", "detect"]

_BLOCK_S = 10.0
_BIN_S = 0.25  # resolution of the timeline and of segments
_SMOOTH_S = 1.0  # the timeline's span
_CLIP = 12.0  # log odds; a cell counts at most this much in the timeline
_SIDES_FROM = 0.25  # power of the difference against the mix, from which sides are read
_RETIMED_S = 600.0  # of a file that is looked at for other speeds, to bound the memory
_UNCALIBRATED = 2.0  # contrast that unmarked music was never seen to reach
_WINDOWS_S = (30.0, 10.0)  # looked at separately in files much longer than they are

Progress = Callable[[float, float | None], None]


def detect(
    source: AudioSource | Waveform,
    *,
    model: SealModel,
    codebook: Codebook | None = None,
    limits: DecodeLimits | None = None,
    progress: Progress | None = None,
    speed_search: bool = False,
) -> Detection:
    """Look for a seal.

    Args:
        source: a path, a file's bytes, or a waveform; hours long if need be (a path is streamed).
        model: the pair of weights to read with.
        codebook: the registry; with it, the seal is named.
        limits: for decoding; default :data:`watermark.audio.STREAM_LIMITS`.
        progress: called with seconds read and, where it is known, seconds in all.
        speed_search: where nothing is found, also look at speeds and tempos up to 5 % off, in the
            first ten minutes. What is found so counts every try in its rates.

    Raises:
        AudioError: the file could not be decoded (see :mod:`watermark.errors`).
    """
    name = None if isinstance(source, Waveform) else source_name(source)
    total = source.duration_s if isinstance(source, Waveform) else None
    mixed = apart = 0.0  # energy of the sum and of the difference of the channels

    def counted() -> Iterator[Waveform]:
        nonlocal mixed, apart
        done = 0.0
        for block in _blocks(source, limits):
            if block.channels >= 2:
                left, right = block.samples[0, ::8], block.samples[1, ::8]
                mixed += float(np.square(left + right).sum())
                apart += float(np.square(left - right).sum())
            yield block
            done += block.duration_s
            if progress is not None:
                progress(done, total)

    def judged(blocks: Iterable[Waveform], views: tuple[View, ...], sign: float) -> Detection:
        readings = read_views(blocks, model, views, sign=sign)
        found = [_judge(reading, model, codebook, name, v) for v, reading in readings.items()]
        return max(found, key=_merit)

    best = judged(counted(), ("mix",), 1.0)
    if not best.detected and model.polarity_sensitive:
        best = max(best, judged(_blocks(source, limits), ("mix",), -1.0), key=_merit)
    unnamed = codebook is not None and best.identification is None
    if (unnamed or not best.detected) and apart > _SIDES_FROM * mixed:
        sides = judged(_blocks(source, limits), ("left", "right", "side"), 1.0)
        best = max(best, sides, key=_merit)
    if not best.detected and speed_search:
        found = _retimed(source, model, codebook, limits, name)
        best = best if found is None else found
    return best


def _blocks(source: AudioSource | Waveform, limits: DecodeLimits | None) -> Iterator[Waveform]:
    if not isinstance(source, Waveform):
        yield from stream(source, block_s=_BLOCK_S, limits=limits)
        return
    step = round(_BLOCK_S * source.rate)
    for at in range(0, source.length, step):
        yield Waveform(source.samples[:, at : at + step], source.rate)


def _merit(detection: Detection) -> tuple[bool, bool, float]:
    named = detection.identification is not None
    return named, detection.detected, detection.score - detection.threshold


def _retimed(
    source: AudioSource | Waveform,
    model: SealModel,
    codebook: Codebook | None,
    limits: DecodeLimits | None,
    name: str | None,
) -> Detection | None:
    """What is found once a change of speed or tempo is undone, in seconds of the file as it is."""
    parts: list[NDArray[np.float32]] = []
    seconds = 0.0
    for block in _blocks(source, limits):
        parts.append(block.mono().resample(SEAL_RATE).samples[0])
        seconds += block.duration_s
        if seconds >= _RETIMED_S:
            break
    if not parts:
        return None
    mono = Waveform(np.concatenate(parts)[None], SEAL_RATE)
    retiming, looks = find_retiming(mono, model)
    if retiming is None:
        return None
    reading = read_views([retiming.undo(mono)], model, ("mix",))["mix"]
    found = _judge(reading, model, codebook, name, "mix", looks=looks)
    if not found.detected:
        return None
    slower = retiming.factor  # seconds of the undone signal per second of the file
    segments = tuple(
        replace(s, start_s=round(s.start_s / slower, 3), end_s=round(s.end_s / slower, 3))
        for s in found.segments
    )
    bins = int(np.ceil(mono.duration_s / _BIN_S - 1e-6))
    at = np.minimum((np.arange(bins) + 0.5) * slower, len(found.timeline) - 1).astype(int)
    return replace(
        found,
        duration_s=seconds,
        segments=segments,
        timeline=found.timeline[at],
        retiming=retiming,
    )


# -- judging one reading ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch judged on its own."""

    score: float
    threshold: float
    row: DurationCalibration | None
    looks: int  # windows of this length in the file

    @property
    def margin(self) -> float:
        return self.score - self.threshold


def _judge(
    reading: Reading,
    model: SealModel,
    codebook: Codebook | None,
    name: str | None,
    view: View,
    *,
    looks: int = 1,
) -> Detection:
    """``looks``: how often this file was looked at in another way before; rates count them."""
    window = _best_window(reading, model)
    alarm = window.margin > 0
    timeline = _timeline(reading)
    segments = _segments(reading, timeline, model)
    attribution = attribute(reading, model, codebook, segments, looks=looks)
    found, keyed = attribution.identification, attribution.keyed
    named = found is not None or keyed is not None
    p_value = fpr = None
    if window.row is not None:
        p_value = min(1.0, window.row.p_value(window.score) * window.looks * looks)
        rate = (window.row.held_out or window.row.false_positive_rate).upper
        # The threshold was raised for the looks within the file, not for other views of it.
        fpr = 1 - (1 - rate) ** looks
    bounds = [evidence.chance_bound for evidence in (found, keyed) if evidence is not None]
    p_value = min([*bounds, *([] if p_value is None else [p_value])], default=None)
    return Detection(
        file=name,
        duration_s=reading.duration_s,
        detected=alarm or named,
        score=window.score,
        p_value=p_value,
        threshold=window.threshold,
        false_positive_rate=fpr,
        alarms=(window.row.held_out or window.row.false_positive_rate) if window.row else None,
        calibrated_s=window.row.duration_s if window.row else None,
        segments=segments if alarm or named else (),
        timeline=timeline,
        message_logits=attribution.message_logits,
        message_phase_s=attribution.message_phase_s,
        model=model.id,
        view=view,
        identification=found,
        keyed=keyed,
    )


def _threshold(
    model: SealModel, duration_s: float, looks: int = 1
) -> tuple[float, DurationCalibration | None]:
    """The threshold for the best of ``looks`` stretches of a duration; for weights that nobody
    calibrated, a guess."""
    if model.calibration is None:
        return (_UNCALIBRATED if model.contrasted else 0.0), None
    row = model.calibration.at(duration_s)
    return row.threshold_over(looks), row


def _best_window(reading: Reading, model: SealModel) -> _Window:
    """The whole file, or the window of it that is furthest above its threshold."""
    duration = reading.duration_s
    threshold, row = _threshold(model, duration)
    best = _Window(reading.score(), threshold, row, 1)
    for span in _WINDOWS_S:
        if duration < 1.5 * span:
            continue
        looks = math.ceil(duration / span) + best.looks
        threshold, row = _threshold(model, span, looks)
        for start in np.arange(0.0, duration - span / 2, span / 4):
            score = reading.score(start, start + span)
            if score - threshold > best.margin:
                best = _Window(score, threshold, row, looks)
    return best


def _timeline(reading: Reading) -> NDArray[np.float32]:
    """Mean pilot log odds within half a second of the middle of every 0.25 s, (bins,)."""
    bins = int(np.ceil(reading.duration_s / _BIN_S - 1e-6))
    middles = (np.arange(bins) + 0.5) * _BIN_S
    cells = reading.start_s + reading.cell_s / 2
    value = np.where(reading.audible, np.clip(reading.pilot, -_CLIP, _CLIP), 0.0)
    sums = np.concatenate([[0.0], np.cumsum(value)])
    counts = np.concatenate([[0.0], np.cumsum(reading.audible)])
    low = np.searchsorted(cells, middles - _SMOOTH_S / 2)
    high = np.searchsorted(cells, middles + _SMOOTH_S / 2)
    count = counts[high] - counts[low]
    mean = (sums[high] - sums[low]) / np.maximum(count, 1)
    return np.where(count > 0, mean, -_CLIP).astype(np.float32)


def _segments(
    reading: Reading, timeline: NDArray[np.float32], model: SealModel
) -> tuple[Segment, ...]:
    """Stretches whose timeline is positive and whose own score passes for their length."""
    high = np.concatenate([[False], timeline > 0, [False]])
    edges = np.flatnonzero(np.diff(high.astype(np.int8)))
    runs = [[float(a) * _BIN_S, float(b) * _BIN_S] for a, b in edges.reshape(-1, 2)]
    merged: list[list[float]] = []
    for run in runs:
        if merged and run[0] - merged[-1][1] < 1.0:
            merged[-1][1] = run[1]
        else:
            merged.append(run)
    segments = []
    for start, end in merged:
        score = reading.score(start, end)
        looks = math.ceil(reading.duration_s / max(end - start, 1.0))
        if end - start >= 1.0 and score > _threshold(model, end - start, looks)[0]:
            stop = round(min(end, reading.duration_s), 3)
            segments.append(Segment(start, stop, score))
    return tuple(segments)
