"""Detection: is there a seal, in which seconds, whose, and how sure is that.

Every view of the file (the mono mix; left, right and their difference if the mix says no) is read
by :mod:`watermark.reading`, whatever its alignment, and judged twice:

* by the **detection score**, the mean pilot log odds over the audible cells of the whole file or of
  its best window, against the threshold measured on real unmarked music of that duration
  (:mod:`watermark.calibration`);
* with a codebook, by the **registry's evidence**: :func:`watermark.identify.identify` on the soft
  bits of the file, of the stretches that look sealed, and of windows. Its bound on a false
  attribution is exact, so an identification counts as detection even where the pilot is weak.

"Nothing found" is a result, not an error; files that cannot be read raise.

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio import DecodeLimits, Waveform, source_name, stream
from watermark.calibration import DurationCalibration, FalsePositiveRate
from watermark.decoding import AudioSource
from watermark.identify import MAX_CHANCE, Codebook, Identification, identify
from watermark.models import SealModel
from watermark.reading import Reading, View, read_view

__all__ = ["Detection", "Segment", "detect"]

_BLOCK_S = 10.0
_BIN_S = 0.25  # resolution of the timeline and of segments
_SMOOTH_S = 1.0  # the timeline's span
_CLIP = 12.0  # log odds; a cell counts at most this much in a score
_WINDOWS_S = (30.0, 10.0)  # looked at separately in files much longer than they are
_SEARCH_S, _SEARCH_HOP_S, _SEARCH_MOST = 12.0, 6.0, 8  # windows the codebook is tried on

Progress = Callable[[float, float | None], None]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch that reads as sealed: seconds of the file, and its mean pilot log odds."""

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """What was found in one file.

    Attributes:
        file: its name, None for a waveform.
        duration_s: seconds.
        detected: the score is above the threshold, or the seal is identified.
        score: mean pilot log odds of the file or of its best window.
        p_value: share of unmarked clips of that duration that score as high, times the windows
            looked at; with an identification, the smaller of it and the bound on a false
            attribution. None for weights that nobody calibrated.
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
        if message_logits:
            data["message_logits"] = np.round(self.message_logits, 3).tolist()
            data["message_phase_s"] = round(self.message_phase_s, 3)
        return data


def detect(
    source: AudioSource | Waveform,
    *,
    model: SealModel,
    codebook: Codebook | None = None,
    limits: DecodeLimits | None = None,
    progress: Progress | None = None,
) -> Detection:
    """Look for a seal.

    Args:
        source: a path, a file's bytes, or a waveform; hours long if need be (a path is streamed).
        model: the pair of weights to read with.
        codebook: the registry; with it, the seal is named.
        limits: for decoding; default :data:`watermark.audio.STREAM_LIMITS`.
        progress: called with seconds read and, where it is known, seconds in all.

    Raises:
        AudioError: the file could not be decoded (see :mod:`watermark.errors`).
    """

    def blocks() -> Iterator[Waveform]:
        if isinstance(source, Waveform):
            step = round(_BLOCK_S * source.rate)
            parts: Iterator[Waveform] = (
                Waveform(source.samples[:, at : at + step], source.rate)
                for at in range(0, source.length, step)
            )
            total: float | None = source.duration_s
        else:
            parts, total = stream(source, block_s=_BLOCK_S, limits=limits), None
        done = 0.0
        for part in parts:
            yield part
            done += part.duration_s
            if progress is not None:
                progress(done, total)

    name = None if isinstance(source, Waveform) else source_name(source)
    channels = 1

    def counted() -> Iterator[Waveform]:
        nonlocal channels
        for block in blocks():
            channels = block.channels
            yield block

    best = _judge(read_view(counted(), model, "mix"), model, codebook, name, "mix")
    tries: list[tuple[View, float]] = []
    if model.polarity_sensitive:
        tries.append(("mix", -1.0))
    if channels >= 2:
        views: tuple[View, ...] = ("left", "right", "side")
        tries += [(view, 1.0) for view in views]
    for view, sign in tries:
        if best.detected:
            break
        other = _judge(read_view(blocks(), model, view, sign=sign), model, codebook, name, view)
        if other.detected or other.score - other.threshold > best.score - best.threshold:
            best = other
    return best


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
    reading: Reading, model: SealModel, codebook: Codebook | None, name: str | None, view: View
) -> Detection:
    window = _best_window(reading, model)
    alarm = window.margin > 0
    timeline = _timeline(reading)
    segments = _segments(reading, timeline, model)
    found = _identify(reading, codebook, segments) if codebook is not None else None
    p_value = fpr = None
    if window.row is not None:
        p_value = min(1.0, window.row.p_value(window.score) * window.looks)
        rate = (window.row.held_out or window.row.false_positive_rate).upper
        fpr = 1 - (1 - rate) ** window.looks
    if found is not None and (p_value is None or found.chance_bound < p_value):
        p_value = found.chance_bound
    phase_s, logits = _message_logits(reading, found)
    return Detection(
        file=name,
        duration_s=reading.duration_s,
        detected=alarm or found is not None,
        score=window.score,
        p_value=p_value,
        threshold=window.threshold,
        false_positive_rate=fpr,
        alarms=(window.row.held_out or window.row.false_positive_rate) if window.row else None,
        calibrated_s=window.row.duration_s if window.row else None,
        segments=segments if alarm or found is not None else (),
        timeline=timeline,
        message_logits=logits,
        message_phase_s=phase_s,
        model=model.id,
        view=view,
        identification=found,
    )


def clip_score(reading: Reading, mask: NDArray[np.bool_] | None = None) -> float:
    """The detection score of a stretch: mean clipped pilot log odds over its audible cells.

    A stretch with less than half a second of sound scores as surely unmarked.
    """
    use = reading.audible if mask is None else reading.audible & mask
    if int(use.sum()) * reading.cell_s < 0.5:
        return -_CLIP
    return float(np.clip(reading.pilot[use], -_CLIP, _CLIP).mean())


def _threshold(model: SealModel, duration_s: float) -> tuple[float, DurationCalibration | None]:
    """The threshold for a duration; log odds 0 for weights that nobody calibrated."""
    if model.calibration is None:
        return 0.0, None
    row = model.calibration.at(duration_s)
    return row.threshold, row


def _best_window(reading: Reading, model: SealModel) -> _Window:
    """The whole file, or the window of it that is furthest above its threshold."""
    duration = reading.duration_s
    threshold, row = _threshold(model, duration)
    best = _Window(clip_score(reading), threshold, row, 1)
    for span in _WINDOWS_S:
        if duration < 1.5 * span:
            continue
        threshold, row = _threshold(model, span)
        looks = math.ceil(duration / span) + best.looks
        for start in np.arange(0.0, duration - span / 2, span / 4):
            score = clip_score(reading, reading.between(start, start + span))
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
        score = clip_score(reading, reading.between(start, end))
        if end - start >= 1.0 and score > _threshold(model, end - start)[0]:
            stop = round(min(end, reading.duration_s), 3)
            segments.append(Segment(start, stop, score))
    return tuple(segments)


def _identify(
    reading: Reading, codebook: Codebook, segments: tuple[Segment, ...]
) -> Identification | None:
    """Try the codebook on the file, then on its sealed stretches, then on its likeliest windows."""
    duration = reading.duration_s
    # An exhaustive search of a large registry is worth its time where the pilot says "sealed".
    likely_sealed = clip_score(reading) > 0 or bool(segments)
    spans = [(0.0, duration)]
    spans += [(s.start_s, s.end_s) for s in segments if s.end_s - s.start_s < duration - 1.0]
    if duration > 1.5 * _SEARCH_S:
        starts = np.arange(0.0, duration - _SEARCH_S / 2, _SEARCH_HOP_S)
        scores = [clip_score(reading, reading.between(s, s + _SEARCH_S)) for s in starts]
        likely = [i for i in np.argsort(scores)[::-1][:_SEARCH_MOST] if scores[i] > 0]
        spans += [(float(starts[i]), float(starts[i]) + _SEARCH_S) for i in likely]
    for number, (start, end) in enumerate(spans):
        part = replace(reading, duration_s=min(end, duration))
        logits = part.on_grid(reading.cell_s, start)
        if not np.any(logits):
            continue
        # Every span counts as searched (a union bound), so the bound holds for all together.
        found = identify(
            logits,
            codebook,
            hop_s=reading.cell_s,
            window_s=reading.cell_s,
            thorough=likely_sealed or number > 0,
            max_chance=MAX_CHANCE / len(spans),
        )
        if found is not None:
            return replace(
                found,
                offset_s=_refined(found, codebook, reading, start, end),
                chance_bound=min(1.0, found.chance_bound * len(spans)),
                searched=found.searched * len(spans),
            )
    return None


def _refined(
    found: Identification, codebook: Codebook, reading: Reading, start_s: float, end_s: float
) -> float:
    """Where the file's second 0 lies in the original, to the step of the alignments (5 ms).

    The search knows the place to a twelfth of a second. Cells of the original begin at whole cells,
    so where the file's cells begin leaves a few candidates a cell apart; the messages decide.
    """
    rough = found.offset_s - start_s
    use = reading.between(start_s, end_s) & reading.audible
    words = _words(codebook, found)
    if not use.any() or words is None:
        return rough
    cell = reading.cell_s
    turn = np.exp(2j * np.pi * (reading.start_s[use] + rough) / cell).mean()
    near = rough - float(np.angle(turn)) / (2 * np.pi) * cell
    signs = np.unpackbits(words.astype(">u2").view(np.uint8)).reshape(-1, 16) * 2.0 - 1.0
    middles = reading.start_s[use] + cell / 2
    best, best_sum = near, -np.inf
    for candidate in near + cell * np.arange(-3, 4):
        second = np.floor(middles + candidate).astype(int)
        inside = (second >= 0) & (second < len(signs))
        agreement = float((reading.bits[use][inside] * signs[second[inside]]).sum())
        if agreement > best_sum:
            best, best_sum = float(candidate), agreement
    return best


def _words(codebook: Codebook, found: Identification) -> NDArray[np.uint16] | None:
    """The registered sequence of the seal found, 16-bit words by second."""
    wanted = np.frombuffer(found.seal_id.value, np.uint8)
    for group in codebook.groups:
        at = np.flatnonzero((group.ids == wanted).all(axis=1) & (group.epochs == found.epoch))
        if len(at):
            return np.ascontiguousarray(group.words[:, at[0]])
    return None


def _message_logits(
    reading: Reading, found: Identification | None
) -> tuple[float, NDArray[np.float32]]:
    """Soft bits per second at the phase where seconds agree with themselves most."""
    if found is not None:
        phase = (-found.offset_s) % 1.0
        phase -= phase > 0.95  # a second that begins just before the file
        return phase, reading.on_grid(1.0, phase).astype(np.float32)
    best_phase, best_energy = 0.0, -1.0
    for phase in np.arange(0.0, 1.0, 0.04):
        rows = reading.on_grid(1.0, float(phase))
        energy = float(np.abs(rows).mean()) if len(rows) else 0.0
        if energy > best_energy * 1.0001:
            best_phase, best_energy = float(phase), energy
    return best_phase, reading.on_grid(1.0, best_phase).astype(np.float32)
