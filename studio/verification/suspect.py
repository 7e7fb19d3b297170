"""A suspect recording: decoded once and kept if short, decoded again if long.

Hours of audio are examined in the memory of minutes. The first pass makes the fingerprint and knows
the duration; what is looked at more closely later is cut out in further passes, in the order in
which it stands in the file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watermark.audio.waveform import DecodeLimits, Waveform
    from watermark.fingerprint.haitsma_kalker import Fingerprint, Fingerprinter

__all__ = ["Room", "SuspectAudio", "clearest", "played", "sha256_of", "speed_spans", "views_of"]

_BLOCK_S = 10.0
_HOLD_S = 1200.0  # of a recording that is held in memory
_HOLD_VALUES = 2**26  # samples times channels: 256 MB, 12 minutes of CD audio
_QUIET_PEAK = 0.1  # -20 dBFS: a recording whose peak is below is brought to a normal level
_NORMAL_PEAK = 0.5
_CANCELLED = 0.2  # power of the mix against the loudest channel, below which the channels cancel

_SPEED_SPAN_S = 30.0
"""How much is looked at for its speed at a time."""

_SPEED_SPANS = 6
"""Places of a long recording that are looked at for their speed."""


def _nobody(_seconds: float) -> None:
    """Progress that nobody follows."""


class Room:
    """Samples times channels that may still be examined, over all streams of a file."""

    def __init__(self, values: int | None = None) -> None:
        self._most = self._left = values

    def take(self, values: int) -> None:
        """Raises :class:`watermark.errors.AudioTooLongError`."""
        if self._most is None or self._left is None:
            return
        self._left -= values
        if self._left < 0:
            from watermark.errors import AudioTooLongError

            raise AudioTooLongError(
                f"more than {self._most} samples, counted over all channels and streams; "
                "fewer channels, a lower sample rate or a shorter piece can be examined"
            )


@dataclass(frozen=True, slots=True)
class SuspectAudio:
    """What was decoded.

    Attributes:
        source: path or content.
        duration_s: of all of it.
        sha256: of the file.
        whole: the samples, or None where there are too many to hold.
        print: the fingerprint of the mix; None under half a second.
        limits: on decoding.
        peak: the largest sample of the file.
        gain: that was put on what is held, cut out and fingerprinted; 1 unless the file is quiet.
        apart: energy of what the channels differ by, against that of their mix.
        streams: audio streams of the file, of which this is one.
        notes: what of the file was missing, damaged, left out or read in a way of its own.
        on_progress: called with the seconds read in every pass; may raise to stop the work.
    """

    source: Path | bytes
    duration_s: float
    sha256: str
    whole: Waveform | None
    print: Fingerprint | None
    limits: DecodeLimits
    peak: float = 1.0
    gain: float = 1.0
    apart: float = 0.0
    streams: int = 1
    notes: tuple[str, ...] = ()
    on_progress: Callable[[float], None] = _nobody
    _others: list[Fingerprint] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        source: str | Path | bytes,
        limits: DecodeLimits,
        *,
        progress: Callable[[float], None] | None = None,
        room: Room | None = None,
    ) -> SuspectAudio:
        """Decode to the end, in a child process where ``limits`` say so.

        ``room`` bounds what is examined beside ``limits``.

        Raises :class:`watermark.errors.AudioError`, and :class:`OSError` for a file that cannot be
        hashed.
        """
        from watermark.audio.waveform import AudioInfo, stream
        from watermark.fingerprint.haitsma_kalker import Fingerprinter

        source = source if isinstance(source, bytes) else Path(source)
        digest = sha256_of(source, limits.max_bytes)
        printer, levels, duration_s, values = Fingerprinter(), _Levels(), 0.0, 0
        held: list[Waveform] = []
        info = AudioInfo()
        for block in stream(source, block_s=_BLOCK_S, limits=limits, info=info):
            printer.push(block)
            levels.push(block)
            duration_s += block.duration_s
            values += block.samples.size
            if room is not None:
                room.take(block.samples.size)
            if duration_s > _HOLD_S or values > _HOLD_VALUES:
                held = []
            elif held or duration_s == block.duration_s:
                held.append(block)
            if progress is not None:
                progress(duration_s)
        whole = _louder(_joined(held), levels.gain) if held else None
        recording = cls(
            source,
            duration_s,
            digest,
            whole,
            _finished(printer),
            limits,
            peak=levels.peak,
            gain=levels.gain,
            apart=levels.apart,
            streams=info.streams,
            notes=info.remarks,
            on_progress=progress or _nobody,
        )
        if levels.gain == 1.0:
            return recording
        return replace(recording, print=next(iter(recording._prints(("mix",))), None))

    @classmethod
    def of(cls, waveform: Waveform) -> SuspectAudio:
        """A recording made here, like one whose change of speed was undone."""
        from watermark.audio.waveform import DecodeLimits

        levels = _Levels()
        levels.push(waveform)
        recording = cls(
            b"", waveform.duration_s, "", waveform, None, DecodeLimits(), apart=levels.apart
        )
        return replace(recording, print=next(iter(recording._prints(("mix",))), None))

    def other_prints(self) -> Sequence[Fingerprint]:
        """The fingerprints of each channel and of the difference of the first two.

        None of a mono recording. Made when first asked for; a long recording is decoded again.
        """
        from watermark.detection.readout import channel_views

        if not self._others and self.apart > 0:
            channels = next(iter(self._blocks())).channels
            self._others.extend(self._prints(channel_views(channels)))
        return self._others

    def _prints(self, views: Sequence[str]) -> Sequence[Fingerprint]:
        """The fingerprints of views, without those that are too short for one."""
        from watermark.audio.waveform import Waveform
        from watermark.detection.readout import signal_of
        from watermark.fingerprint.haitsma_kalker import Fingerprinter

        printers = {view: Fingerprinter() for view in views}
        for block in self._blocks():
            for view, printer in printers.items():
                printer.push(Waveform(signal_of(block, view)[None], block.rate))
        found = [_finished(printer) for printer in printers.values()]
        return [print_ for print_ in found if print_ is not None]

    def cut(self, spans: Sequence[tuple[float, float]]) -> Iterator[tuple[int, Waveform]]:
        """These stretches (seconds), each with its number, by their start; one in memory at a time.

        Raises :class:`watermark.errors.AudioError`: the file changed since, or the time is up.
        """
        order = sorted(range(len(spans)), key=lambda number: spans[number])
        if self.whole is not None:
            for number in order:
                yield number, self.whole.slice(*spans[number])
            return
        blocks = self._blocks()
        held: list[Waveform] = []
        first_s = end_s = 0.0  # of what is held
        for number in order:
            start_s, stop_s = spans[number]
            while held and first_s + held[0].duration_s <= start_s:
                first_s += held.pop(0).duration_s
            while end_s < stop_s and (block := next(blocks, None)) is not None:
                end_s += block.duration_s
                held.append(block)
                if first_s + held[0].duration_s <= start_s:
                    first_s += held.pop(0).duration_s
            if held:
                yield number, _joined(held).slice(max(0.0, start_s - first_s), stop_s - first_s)

    def _blocks(self) -> Iterator[Waveform]:
        """The recording at the level at which it is examined."""
        from watermark.audio.waveform import stream

        if self.whole is not None:
            yield self.whole
            return
        read_s = 0.0
        for block in stream(self.source, block_s=_BLOCK_S, limits=self.limits):
            read_s += block.duration_s
            self.on_progress(read_s)
            yield _louder(block, self.gain)


class _Levels:
    """How loud a recording is, and how far its channels differ; from its blocks."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._mixed = self._apart = 0.0

    def push(self, block: Waveform) -> None:
        import numpy as np

        if not block.length:
            return
        self.peak = max(self.peak, float(block.samples.max()), -float(block.samples.min()))
        if block.channels > 1:
            some = block.samples[:, ::8].astype(np.float64)
            mean = some.mean(axis=0)
            self._mixed += block.channels * float(np.square(mean).sum())
            self._apart += float(np.square(some - mean).sum())

    @property
    def gain(self) -> float:
        """What brings a quiet recording to a normal level."""
        return _NORMAL_PEAK / self.peak if 0 < self.peak < _QUIET_PEAK else 1.0

    @property
    def apart(self) -> float:
        if self._apart == 0:
            return 0.0
        return self._apart / self._mixed if self._mixed else math.inf


def clearest(waveform: Waveform) -> Waveform:
    """One channel: the mix or, where the channels cancel in it, the loudest of them."""
    import numpy as np

    from watermark.audio.waveform import Waveform as Audio

    mix = waveform.mono()
    if waveform.channels == 1 or not waveform.length:
        return mix
    powers = np.square(waveform.samples, dtype=np.float64).mean(axis=1)
    loudest = int(powers.argmax())
    if np.square(mix.samples, dtype=np.float64).mean() >= _CANCELLED * powers[loudest]:
        return mix
    return Audio(waveform.samples[loudest : loudest + 1], waveform.rate)


def views_of(waveform: Waveform) -> Iterator[Waveform]:
    """The views of a recording other than its mix, each as one channel."""
    from watermark.audio.waveform import Waveform as Audio
    from watermark.detection.readout import channel_views, signal_of

    for view in channel_views(waveform.channels):
        yield Audio(signal_of(waveform, view)[None], waveform.rate)


def played(waveform: Waveform, speed: float) -> Waveform:
    """The same samples, played ``speed`` times as fast, at (nearly) the same rate."""
    from watermark.audio.waveform import Waveform as Played

    return Played(waveform.samples, round(waveform.rate * speed)).resample(waveform.rate)


def speed_spans(duration_s: float, offset_s: float | None) -> list[tuple[float, float]]:
    """Where to search for a changed speed: where the seal was read, else all over."""
    length_s = min(duration_s, _SPEED_SPAN_S)
    if offset_s is not None:
        start_s = min(max(0.0, -offset_s), duration_s - length_s)
        return [(start_s, start_s + length_s)]
    count = min(_SPEED_SPANS, max(1, round(duration_s / (2 * _SPEED_SPAN_S))))
    middles = [(k + 0.5) * duration_s / count for k in range(count)]
    return [(m - length_s / 2, m + length_s / 2) for m in middles]


def _louder(waveform: Waveform, gain: float) -> Waveform:
    import numpy as np

    from watermark.audio.waveform import Waveform as Audio

    if gain == 1.0:
        return waveform
    return Audio(waveform.samples * np.float32(gain), waveform.rate)


def _finished(printer: Fingerprinter) -> Fingerprint | None:
    from watermark.errors import FingerprintError

    try:
        return printer.finish()
    except FingerprintError:
        return None


def _joined(blocks: Sequence[Waveform]) -> Waveform:
    import numpy as np

    from watermark.audio.waveform import Waveform

    return Waveform(np.concatenate([block.samples for block in blocks], axis=1), blocks[0].rate)


def sha256_of(source: Path | bytes, max_bytes: int) -> str:
    """The digest of a file; empty where it is no file, or larger than ``max_bytes``."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if not source.is_file() or source.stat().st_size > max_bytes:
        return ""  # decoding refuses it; hashing it would take for ever
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
