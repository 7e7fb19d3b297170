"""Detection: is there a seal, in which seconds, whose, and how sure is that.

Every view of the file (the mono mix; if it names no seal and the channels differ enough for others
to say more, left, right and their difference) is read by :mod:`watermark.reading`, whatever its
alignment, and judged twice:

* by the **detection score**, over the audible cells of the whole file or of its best window: how
  far the pilot's mean log odds stand above those on alignments where a seal would make it deny
  (:func:`watermark.reading.contrast`), against the threshold measured on real unmarked music of
  that duration, coarsely coded music included (:mod:`watermark.calibration`);
* with a codebook, by the **registry's evidence**: :func:`watermark.identify.identify` on the soft
  bits of the file, of the stretches that look sealed, and of windows. Its bound on a false
  attribution is exact, so an identification counts as detection even where the pilot is weak.

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

from watermark.audio import DecodeLimits, Waveform, source_name, stream
from watermark.calibration import DurationCalibration
from watermark.decoding import AudioSource
from watermark.detection import Detection, Segment
from watermark.identify import MAX_CHANCE, Codebook, Identification, identify
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
_BESIDE_FROM = 1.2  # contrast from which a seal is looked for under another one
_LIKELY = 1.0  # contrast from which a large registry is searched exhaustively
_WINDOWS_S = (30.0, 10.0)  # looked at separately in files much longer than they are
_SEARCH_S, _SEARCH_HOP_S, _SEARCH_MOST = 12.0, 6.0, 8  # windows the codebook is tried on

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
    found = _identify(reading, codebook, segments, looks) if codebook is not None else None
    p_value = fpr = None
    if window.row is not None:
        p_value = min(1.0, window.row.p_value(window.score) * window.looks * looks)
        rate = (window.row.held_out or window.row.false_positive_rate).upper
        # The threshold was raised for the looks within the file, not for other views of it.
        fpr = 1 - (1 - rate) ** looks
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


def _identify(
    reading: Reading, codebook: Codebook, segments: tuple[Segment, ...], looks: int = 1
) -> Identification | None:
    """Try the codebook on the file, then on its sealed stretches, then on its likeliest windows."""
    duration = reading.duration_s
    # An exhaustive search of a large registry is worth its time where the pilot says "sealed".
    likely_sealed = reading.score() > _LIKELY or bool(segments)
    spans = [(0.0, duration)]
    spans += [(s.start_s, s.end_s) for s in segments if s.end_s - s.start_s < duration - 1.0]
    if duration > 1.5 * _SEARCH_S:
        starts = np.arange(0.0, duration - _SEARCH_S / 2, _SEARCH_HOP_S)
        scores = [reading.score(s, s + _SEARCH_S) for s in starts]
        likely = [i for i in np.argsort(scores)[::-1][:_SEARCH_MOST] if scores[i] > _LIKELY]
        spans += [(float(starts[i]), float(starts[i]) + _SEARCH_S) for i in likely]
    found = _search(reading, codebook, spans, 2 * len(spans) * looks, likely_sealed)
    if found is not None or reading.score() < _BESIDE_FROM:
        return found
    # A stranger's seal on another grid, if that is what was read, leaves ours beside it. Half of
    # the chance bound is kept for these further looks.
    rivals = reading.rivals.shape[1]
    hits = [
        hit
        for rival in range(rivals)
        if (hit := _search(reading.beside(rival), codebook, spans[:1], 2 * rivals * looks, False))
    ]
    return min(hits, key=lambda hit: hit.chance_bound, default=None)


def _search(
    reading: Reading,
    codebook: Codebook,
    spans: list[tuple[float, float]],
    tries: int,
    likely_sealed: bool,
) -> Identification | None:
    """The first span that names a seal, at a bound that counts ``tries`` searches."""
    for number, (start, end) in enumerate(spans):
        part = replace(reading, duration_s=min(end, reading.duration_s))
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
            max_chance=MAX_CHANCE / tries,
        )
        if found is not None:
            return replace(
                found,
                offset_s=_refined(found, codebook, reading, start, end),
                chance_bound=min(1.0, found.chance_bound * tries),
                searched=found.searched * tries,
            )
    return None


def _refined(
    found: Identification, codebook: Codebook, reading: Reading, start_s: float, end_s: float
) -> float:
    """Where the file's second 0 lies in the original, to the step of the alignments (5 ms) or,
    where few seconds are there to tell neighbouring cells apart, to a cell.

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
    sizes = np.abs(reading.bits[use])
    bits = np.clip(reading.bits[use], -np.median(sizes), np.median(sizes))  # no cell decides alone
    best, best_sum = near, -np.inf
    for candidate in near + cell * np.arange(-3, 4):
        second = np.floor(middles + candidate).astype(int)
        inside = (second >= 0) & (second < len(signs))
        agreement = float((bits[inside] * signs[second[inside]]).sum())
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
