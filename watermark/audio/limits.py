"""Limits of decoding, and what is known of a file once opened.

>>> source_name("/music/song.wav")
'song.wav'
"""

from __future__ import annotations

import io
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from watermark.audio.channels import Layout
from watermark.errors import AudioFormatLimitError, AudioTooLongError, UnreadableAudioError

__all__ = [
    "AudioInfo",
    "AudioSource",
    "DecodeLimits",
    "Guard",
    "Subtype",
    "no_such_stream",
    "open_guarded",
    "open_source",
    "source_name",
]

AudioSource = str | os.PathLike[str] | bytes | bytearray | memoryview
Subtype = Literal["PCM_16", "PCM_24", "PCM_32", "FLOAT"]

_MAX_PEAK = 1e5  # 100 dB over full scale: beyond it squares and sums lose their meaning in float32


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """How much of a stranger's file is decoded before it is refused.

    Attributes:
        max_duration_s: longest audio, in seconds.
        max_channels: most channels.
        min_rate: lowest sample rate, Hz.
        max_rate: highest sample rate, Hz.
        max_bytes: largest file, bytes.
        deadline_s: longest time decoding may take, seconds of wall clock. A stream counts only the
            time spent inside the decoder, not its consumer's.
        max_values: most samples times channels that :func:`watermark.audio.waveform.read` keeps in
        memory
            (2**28 are 1 GiB of float32); a stream keeps only a block and does not look at it.
        isolated: decode in a child process (:mod:`watermark.audio.sandbox`), for files from
        outside;
            :func:`watermark.audio.waveform.read` and :func:`watermark.audio.waveform.stream` look
            at it.
        unfiltered: decode in the child even where the system refuses its system-call filter;
            otherwise :class:`watermark.errors.SandboxUnavailableError`.
        stream: which of a container's audio streams is decoded, from 0.
    """

    max_duration_s: float = 3600.0
    max_channels: int = 8
    min_rate: int = 8_000
    max_rate: int = 192_000
    max_bytes: int = 2 * 1024**3
    deadline_s: float = 120.0
    max_values: int = 2**28
    isolated: bool = False
    unfiltered: bool = False
    stream: int = 0


@dataclass(slots=True)
class AudioInfo:
    """What is known of a file beside its samples; complete once it was decoded to its end.

    Attributes:
        layout: names of the channels, in order; None: not stated.
        subtype: the sample format in which nothing of it is lost; None: a lossy codec.
        streams: audio streams that the file holds.
        damage: what is missing or broken, in words; None: nothing is.
        uniform: whether channels and rate are the same to the end.
        notes: what was put right, changed or left out in reading, in words.
    """

    layout: Layout | None = None
    subtype: Subtype | None = None
    streams: int = 1
    damage: str | None = None
    uniform: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that a reader of a verdict on the file should know."""
        return (*self.notes, *([] if self.damage is None else [self.damage]))


def source_name(source: AudioSource | io.BufferedIOBase) -> str:
    """The name an error may show: a path's last part, made printable; bytes have none."""
    if isinstance(source, (bytes, bytearray, memoryview, io.BufferedIOBase)):
        return "audio data"
    name = Path(os.fspath(source)).name or "file"
    return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in name)[:200]


def open_source(source: AudioSource, limits: DecodeLimits) -> io.BufferedIOBase:
    """The file, opened but not looked at: a regular one, and not over the limit on bytes.

    Raises :class:`UnreadableAudioError` and :class:`AudioTooLongError`.
    """
    return open_guarded(source, Guard(source_name(source), limits))


class Guard:
    """Applies the limits, block by block; keeps the clock of the time spent decoding."""

    def __init__(self, name: str, limits: DecodeLimits) -> None:
        self.name = name
        self.limits = limits
        self.samples = 0
        self._spent = 0.0
        self._since: float = time.monotonic()

    def pause(self) -> None:
        self._spent += time.monotonic() - self._since

    def resume(self) -> None:
        self._since = time.monotonic()

    def check_deadline(self) -> None:
        if self._spent + time.monotonic() - self._since > self.limits.deadline_s:
            raise AudioTooLongError(
                f"{self.name}: decoding took longer than {self.limits.deadline_s:g} s"
            )

    def check_format(self, channels: int, rate: int) -> None:
        limits = self.limits
        if not 1 <= channels <= limits.max_channels:
            raise AudioFormatLimitError(
                f"{self.name}: {channels} channels; 1 to {limits.max_channels} are handled"
            )
        if not limits.min_rate <= rate <= limits.max_rate:
            raise AudioFormatLimitError(
                f"{self.name}: sample rate {rate} Hz; "
                f"{limits.min_rate} to {limits.max_rate} Hz are handled"
            )

    def check_samples(self, block: NDArray[np.float32]) -> None:
        self.check_deadline()
        # One pass finds NaN, infinity and nonsense: a comparison with NaN is false.
        if block.size and not float(np.abs(block).max()) <= _MAX_PEAK:
            raise UnreadableAudioError(
                f"{self.name}: holds samples that are NaN, infinite or far beyond full scale"
            )

    def check_length(self, count: int, rate: int) -> None:
        self.samples += count
        if self.samples > self.limits.max_duration_s * rate:
            raise AudioTooLongError(
                f"{self.name}: longer than {self.limits.max_duration_s:g} s of audio"
            )


def open_guarded(source: AudioSource | io.BufferedIOBase, guard: Guard) -> io.BufferedIOBase:
    """Open a source with a guard; an open file is taken as it is."""
    if isinstance(source, io.BufferedIOBase):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        size = memoryview(source).nbytes
        if size > guard.limits.max_bytes:
            raise _too_big(guard)
        return io.BytesIO(source)
    try:
        # Non-blocking, so that a FIFO in an upload folder cannot hang the reader.
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as exc:  # ValueError: a NUL byte in the name
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a file name"
        raise UnreadableAudioError(f"{guard.name}: {reason.lower()}") from exc
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise UnreadableAudioError(f"{guard.name}: not a regular file")
    if info.st_size > guard.limits.max_bytes:
        os.close(descriptor)
        raise _too_big(guard)
    return os.fdopen(descriptor, "rb")


def _too_big(guard: Guard) -> AudioTooLongError:
    return AudioTooLongError(f"{guard.name}: larger than {guard.limits.max_bytes / 1e6:,.0f} MB")


def no_such_stream(guard: Guard) -> UnreadableAudioError:
    """The error for a file without the audio stream that was asked for."""
    return UnreadableAudioError(f"{guard.name}: no audio stream {guard.limits.stream + 1}")
