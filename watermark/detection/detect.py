"""Detection: is there a watermark, where, whose, and how sure is that.

Every view of the file (the mono mix; if it names no seal and the channels differ enough for others
to say more, each channel and the difference of the first two) is read by
:mod:`watermark.detection.readout`, whatever its alignment, and judged twice:

* by the **detection score**, over the audible cells of the whole file or of its best window: how
  far the pilot's mean log odds stand above those on alignments where a seal would make it deny
  (:func:`watermark.detection.readout.contrast`), against the threshold measured on real unmarked
  music of that duration, coarsely coded music included (:mod:`watermark.models.calibration`);
* with a codebook, by the **registry's evidence** (:mod:`watermark.detection.attribution`): do the
  soft bits follow the scramble of an epoch, and the sequence of a seal? Both bounds on a false
  claim are exact, so either counts as detection even where the pilot is weak.

A file that is quiet throughout, in which that finds nothing, is read once more at a normal level.
On request, what was found in neither way is looked for at other speeds and tempos
(:mod:`watermark.detection.retiming`). Every further way of looking raises the threshold or counts
in the stated rate. "Nothing found" is a result, not an error; files that cannot be read
raise.

>>> import numpy as np
>>> from watermark.audio.waveform import Waveform
>>> from watermark.models.loading import load_seal_model
>>> noise = np.random.default_rng(0).standard_normal((1, 4 * 16_000)).astype(np.float32)
>>> found = detect(Waveform(0.1 * noise, 16_000), model=load_seal_model())
>>> found.detected, found.segments, found.identification
(False, (), None)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.decoding import AudioSource
from watermark.audio.waveform import (
    STREAM_LIMITS,
    AudioInfo,
    DecodeLimits,
    Waveform,
    as_source,
    source_name,
    stream,
)
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.detection.attribution import attribute
from watermark.detection.readout import Readout, View, channel_views, read_views, signal_of
from watermark.detection.result import Detection, Segment
from watermark.detection.retiming import find_retiming
from watermark.errors import AudioError
from watermark.models.base import SEAL_RATE, SealModel, require_model
from watermark.models.calibration import OperatingPoint

if TYPE_CHECKING:
    import torch

__all__ = ["Detection", "Segment", "detect"]

_BLOCK_S = 10.0
_BIN_S = 0.25  # resolution of the timeline and of segments
_SMOOTH_S = 1.0  # the timeline's span
_CLIP = 12.0  # log odds; a cell counts at most this much in the timeline
_SIDES_FROM = 0.25  # power of the channels' differences against the mix, from which they are read
_CANCELS_FROM = 100.0  # the same, from which the mix is left aside
_QUIET_PEAK = 0.1  # -20 dBFS: a file whose peak is below is read at a normal level too
_NORMAL_PEAK = 0.5
_RETIMED_S = 600.0  # of a file that is looked at for other speeds, to bound the memory
_KEPT_BYTES = 2**27  # samples of a file that is read more than once: 6 minutes of stereo
_UNCALIBRATED = 2.0  # contrast that unmarked music was never seen to reach
_WINDOWS_S = (30.0, 10.0)  # looked at separately in files much longer than they are

Progress = Callable[[float, float | None], None]


def detect(
    source: AudioSource | Waveform | NDArray[Any] | torch.Tensor,
    *,
    model: SealModel,
    rate: float | None = None,
    codebook: Codebook | Iterable[CodebookEntry] | None = None,
    limits: DecodeLimits | None = None,
    progress: Progress | None = None,
    speed_search: bool = False,
) -> Detection:
    """Detect a seal.

    Args:
        source: a path, a file's bytes, a waveform, or an array or tensor of samples; hours long
            if need be (a path is streamed).
        model: the pair of weights to read with.
        rate: of an array or tensor, Hz.
        codebook: the registry, or its entries; with it, the seal is named.
        limits: for decoding; default :data:`watermark.audio.waveform.STREAM_LIMITS`.
        progress: called with seconds read and, where it is known, seconds in all.
        speed_search: where nothing is found, also look at speeds and tempos up to 5 % off, in the
            first ten minutes. The threshold is raised for every try.

    A file may hold several audio streams: each is looked at, and the best finding given.

    Raises:
        AudioError: the file could not be decoded (see :mod:`watermark.errors`), or the source is
            nothing that can be read.
        CodebookError: a codebook of another kind.
        SealModelError: a model that is not loaded.
    """
    source = as_source(source, rate)
    registry = None if codebook is None else Codebook.of(codebook)
    require_model(model)
    info = AudioInfo()
    file = _File(source, limits, progress, info)
    best = _detect_stream(source, file, model, registry, speed_search)
    if isinstance(source, Waveform):
        return best
    notes = list(info.remarks)
    first = (limits or STREAM_LIMITS).stream
    for number in range(first + 1, info.streams):
        other = _File(source, replace(limits or STREAM_LIMITS, stream=number), progress)
        try:
            found = _detect_stream(source, other, model, registry, speed_search)
        except AudioError as exc:
            notes.append(f"audio stream {number + 1} could not be read ({_reason(exc)})")
            continue
        if _merit(found) > _merit(best):
            best = found
            first = number
    if info.streams > 1:
        notes.append(f"{info.streams} audio streams; this is the finding on stream {first + 1}")
    return replace(best, notes=tuple(notes))


def _reason(error: AudioError) -> str:
    return str(error).split(": ", 1)[-1]


def _detect_stream(
    source: AudioSource | Waveform,
    file: _File,
    model: SealModel,
    codebook: Codebook | None,
    speed_search: bool,
) -> Detection:
    name = None if isinstance(source, Waveform) else source_name(source)
    judge = _Judge(model, codebook, name)
    best = _read(file, judge)
    tries = 1  # readings of the file that are done, each with the stated rate of false alarms
    if file.is_quiet and _unfinished(best, codebook):
        best = max(best, _read(file, replace(judge, before=1), file.raising), key=_merit)
        tries = 2
    if not best.detected and speed_search:
        found = _retimed(file, replace(judge, before=tries))
        # What was not found was looked for in every way: the rate is that of all together.
        best = found or judge.counting(best, tries + 1)
    return best


class _File:
    """A source that is read several times, and what the first reading tells of it.

    Decoded once if its samples can be kept (128 MB), else as often as it is read.
    """

    def __init__(
        self,
        source: AudioSource | Waveform,
        limits: DecodeLimits | None,
        progress: Progress | None,
        info: AudioInfo | None = None,
    ) -> None:
        self._source, self._limits, self._progress = source, limits, progress
        self._info = info  # filled by the first reading
        self._first = True
        self._kept: list[Waveform] | None = None  # the whole file
        self.channels = 1
        self.mixed = self.apart = 0.0  # energy of the mix, and of what the channels add to it
        self.peak = 0.0  # largest sample of any channel

    @property
    def differs(self) -> bool:
        """The channels differ enough for one to say more than their mix."""
        return self.apart > _SIDES_FROM * self.mixed

    @property
    def is_quiet(self) -> bool:
        return 0 < self.peak < _QUIET_PEAK

    @property
    def raising(self) -> float:
        """The gain that brings a quiet file to a normal level."""
        return _NORMAL_PEAK / self.peak if self.is_quiet else 1.0

    def blocks(self) -> Iterator[Waveform]:
        if self._kept is not None:
            yield from self._kept
            return
        first, self._first = self._first, False
        done = 0.0
        kept: list[Waveform] = []
        size = 0
        for block in _blocks(self._source, self._limits, self._info if first else None):
            if first:
                self._measure(block)
            yield block
            done += block.duration_s
            size += block.samples.nbytes
            if size <= _KEPT_BYTES:
                kept.append(block)
            else:
                kept.clear()
            if first and self._progress is not None:
                whole = self._source.duration_s if isinstance(self._source, Waveform) else None
                self._progress(done, whole)
        if size <= _KEPT_BYTES:
            self._kept = kept

    def _measure(self, block: Waveform) -> None:
        self.channels = block.channels
        if not block.length:
            return
        self.peak = max(self.peak, float(block.samples.max()), -float(block.samples.min()))
        if block.channels >= 2:
            some = block.samples[:, ::8].astype(np.float64)
            mean = some.mean(axis=0)
            self.mixed += block.channels * float(np.square(mean).sum())
            self.apart += float(np.square(some - mean).sum())


def _blocks(
    source: AudioSource | Waveform, limits: DecodeLimits | None, info: AudioInfo | None
) -> Iterator[Waveform]:
    if not isinstance(source, Waveform):
        yield from stream(source, block_s=_BLOCK_S, limits=limits, info=info)
        return
    step = round(_BLOCK_S * source.rate)
    for at in range(0, source.length, step):
        yield Waveform(source.samples[:, at : at + step], source.rate)


def _unfinished(found: Detection, codebook: Codebook | None) -> bool:
    """Whether another look may say more."""
    return not found.detected or (codebook is not None and found.identification is None)


def _read(file: _File, judge: _Judge, gain: float = 1.0) -> Detection:
    """The best of what the views show, at one level."""

    def judged(views: tuple[View, ...], gain: float) -> Detection:
        readings = read_views(file.blocks(), judge.model, views, gain=gain)
        return max((judge(reading, v) for v, reading in readings.items()), key=_merit)

    best = judged(("mix",), gain)
    if not best.detected and judge.model.polarity_sensitive:
        best = max(best, judged(("mix",), -gain), key=_merit)
    if _unfinished(best, judge.codebook) and file.differs:
        best = max(best, judged(channel_views(file.channels), gain), key=_merit)
    return best


def _merit(detection: Detection) -> tuple[bool, bool, float]:
    named = detection.identification is not None
    return named, detection.detected, detection.score - detection.threshold


def _retimed(file: _File, judge: _Judge) -> Detection | None:
    """What is found once a change of speed or tempo is undone, in seconds of the file as it is."""
    # Where the channels cancel, the mix has nothing to undo.
    view = "left" if file.apart > _CANCELS_FROM * file.mixed else "mix"
    parts: list[NDArray[np.float32]] = []
    seconds = 0.0
    for block in file.blocks():
        signal = np.ascontiguousarray(signal_of(block, view)) * np.float32(file.raising)
        parts.append(Waveform(signal[None], block.rate).resample(SEAL_RATE).samples[0])
        seconds += block.duration_s
        if seconds >= _RETIMED_S:
            break
    if not parts:
        return None
    mono = Waveform(np.concatenate(parts)[None], SEAL_RATE)
    retiming, looks = find_retiming(mono, judge.model)
    if retiming is None:
        return None
    reading = read_views([retiming.undo(mono)], judge.model, ("mix",))["mix"]
    found = replace(judge, looks=looks)(reading, view)
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
    point: OperatingPoint | None
    looks: int  # at stretches like it, in this reading and in others

    @property
    def margin(self) -> float:
        return self.score - self.threshold


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges readings of one file.

    Attributes:
        model, codebook: to judge with.
        name: of the file.
        looks: ways of reading the file of which the best is judged; thresholds and bounds are
            raised so that together they alarm as one does.
        before: readings judged before this one, each at the rate of one.
    """

    model: SealModel
    codebook: Codebook | None
    name: str | None
    looks: int = 1
    before: int = 0

    def __call__(self, reading: Readout, view: View) -> Detection:
        window = self._best_window(reading)
        alarm = window.margin > 0
        timeline = _timeline(reading)
        segments = self._segments(reading, timeline)
        attribution = attribute(
            reading, self.model, self.codebook, segments, looks=self.looks + self.before
        )
        found, keyed = attribution.identification, attribution.keyed
        named = found is not None or keyed is not None
        p_value = None
        if window.point is not None:
            looks = window.looks + self.before
            p_value = min(1.0, window.point.p_value(window.score) * looks)
        counted = None if window.point is None else window.point.counted
        bounds = [evidence.chance_bound for evidence in (found, keyed) if evidence is not None]
        p_value = min([*bounds, *([] if p_value is None else [p_value])], default=None)
        detection = Detection(
            file=self.name,
            duration_s=reading.duration_s,
            detected=alarm or named,
            score=window.score,
            p_value=p_value,
            threshold=window.threshold,
            false_positive_rate=None,
            alarms=None if counted is None else counted.stated_rate,
            calibrated_s=None if counted is None else counted.duration_s,
            segments=segments if alarm or named else (),
            timeline=timeline,
            message_logits=attribution.message_logits,
            message_phase_s=attribution.message_phase_s,
            model=self.model.id,
            view=view,
            identification=found,
            keyed=keyed,
        )
        return self.counting(detection, self.before + 1)

    def counting(self, detection: Detection, readings: int) -> Detection:
        """The result with the error rate of so many readings."""
        if detection.alarms is None:
            return detection
        rate = 1 - (1 - detection.alarms.upper) ** readings
        return replace(detection, false_positive_rate=rate)

    def _point(self, duration_s: float, looks: int) -> tuple[float, OperatingPoint | None]:
        """The threshold for the best of ``looks`` stretches of a duration, in the best of this
        judge's ways of reading; for weights that nobody calibrated, a guess."""
        if self.model.calibration is None:
            return (_UNCALIBRATED if self.model.contrasted else 0.0), None
        point = self.model.calibration.at(duration_s)
        return point.threshold_over(looks, self.looks), point

    def _best_window(self, reading: Readout) -> _Window:
        """The whole file, or the window of it that is furthest above its threshold."""
        duration = reading.duration_s
        threshold, point = self._point(duration, 1)
        best = _Window(reading.score(), threshold, point, self.looks)
        windows = 1
        for span in _WINDOWS_S:
            if duration < 1.5 * span:
                continue
            windows += math.ceil(duration / span)
            threshold, point = self._point(span, windows)
            for start in np.arange(0.0, duration - span / 2, span / 4):
                score = reading.score(start, start + span)
                if score - threshold > best.margin:
                    best = _Window(score, threshold, point, windows * self.looks)
        return best

    def _segments(self, reading: Readout, timeline: NDArray[np.float32]) -> tuple[Segment, ...]:
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
            if end - start >= 1.0 and score > self._point(end - start, looks)[0]:
                stop = round(min(end, reading.duration_s), 3)
                segments.append(Segment(start, stop, score))
        return tuple(segments)


def _timeline(reading: Readout) -> NDArray[np.float32]:
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
