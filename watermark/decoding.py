"""Hostile-input-proof decoding: from a path or bytes to bounded blocks of float samples.

What arrives here was sent by a stranger. A 396 kB FLAC can hold hours of silence, a WAV header can
claim a thousand channels, a playlist can name a URL. So nothing is believed: the content's first
bytes choose the decoder (a file's extension is never looked at), containers and codecs come from a
list, no protocol is allowed, audio is decoded block by block, and every block is checked against
:class:`DecodeLimits` before the next is made. Whatever goes wrong leaves as a
:class:`~watermark.errors.AudioError` that names the file and nothing else of the machine.

WAV, FLAC, AIFF and kin go through libsndfile (sample-exact), everything else through FFmpeg's
libraries (PyAV), which trim encoder delay and padding where the file states them. A file cut short,
or with damaged packets among good ones, is read as far as it can be: a suspect clip is worth
reading even if its end is missing. Packets that are mostly damaged are no audio.

>>> from watermark.audio import Waveform, encode
>>> import numpy as np
>>> data = encode(Waveform(np.zeros((1, 8000), np.float32), 8000), "wav")
>>> [block.shape for block, rate in decode_blocks(data, DecodeLimits())]
[(1, 8000)]
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import (
    AudioError,
    AudioTooLongError,
    UnreadableAudioError,
    UnsupportedAudioError,
)

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

__all__ = ["AudioSource", "DecodeLimits", "decode_blocks", "open_source", "source_name"]

AudioSource = str | os.PathLike[str] | bytes | bytearray | memoryview

_BLOCK = 65_536  # samples per channel asked of libsndfile at a time
_MAX_PEAK = 1e5  # 100 dB over full scale: beyond it squares and sums lose their meaning in float32
_MAX_DAMAGED = 0.5  # share of undecodable packets beyond which the file is called unreadable

# What libsndfile is asked to read. Ogg is left to FFmpeg, which reads both Vorbis and Opus.
_SNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"FORM", b".snd", b"riff", b"caff")

# Demuxers and decoders FFmpeg may use. Playlists, subtitles, network and image formats are absent.
_FORMATS = "aac,ac3,aiff,amr,asf,au,caf,eac3,flac,matroska,webm,mov,mp3,mpegts,ogg,w64,wav,wv"
_CODECS = (
    "aac,aac_latm,ac3,alac,amrnb,amrwb,eac3,flac,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,"
    "vorbis,libvorbis,wavpack,wmav1,wmav2,wmapro,adpcm_ms,adpcm_ima_wav,pcm_alaw,pcm_mulaw,pcm_u8,"
    "pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,"
    "pcm_f64le,pcm_f64be"
)

# Integer sample formats of FFmpeg: offset and full scale.
_INTEGER_SCALE = {"u8": (128.0, 128.0), "s16": (0.0, 32768.0), "s32": (0.0, 2147483648.0)}


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
        max_values: most samples times channels that :func:`watermark.audio.read` keeps in memory
            (2**28 are 1 GiB of float32); a stream keeps only a block and does not look at it.
        isolated: decode in a child process (:mod:`watermark.sandbox`), for files from outside;
            :func:`watermark.audio.read` and :func:`watermark.audio.stream` look at it.
        unfiltered: decode in the child even where the system refuses its system-call filter;
            otherwise :class:`watermark.errors.SandboxUnavailableError`.
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
    return _open(source, _Guard(source_name(source), limits))


def decode_blocks(
    source: AudioSource | io.BufferedIOBase, limits: DecodeLimits
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode to ``(samples (channels, n), rate in Hz)`` blocks; every block has the same rate.

    Blocks are of the decoder's size (at most a few seconds). At least one non-empty block comes, or
    an error is raised. An open binary file is read from its beginning, and closed.

    Raises:
        UnreadableAudioError: not there, not audio, empty, damaged, or holding NaN or infinity.
        UnsupportedAudioError: channels or sample rate outside the limits, or no listed codec.
        AudioTooLongError: over a limit on duration, bytes or time.
    """
    guard = _Guard(source_name(source), limits)
    opened = _open(source, guard)
    try:
        head = opened.read(12)
        opened.seek(0)
        if not head:
            raise UnreadableAudioError(f"{guard.name}: the file is empty")
        if head.startswith(_SNDFILE_MAGIC):
            blocks = _sndfile_blocks(opened, guard)
        else:
            blocks = _ffmpeg_blocks(opened, guard)
        for block, rate in blocks:
            guard.check(block, rate)
            guard.pause()
            yield block, rate
            guard.resume()
        if guard.samples == 0:
            raise UnreadableAudioError(f"{guard.name}: the file holds no audio samples")
    finally:
        opened.close()


class _Guard:
    """Applies the limits, block by block; keeps the clock of the time spent decoding."""

    def __init__(self, name: str, limits: DecodeLimits) -> None:
        self.name = name
        self.limits = limits
        self.samples = 0
        self._shape: tuple[int, int] | None = None
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
            raise UnsupportedAudioError(
                f"{self.name}: {channels} channels; 1 to {limits.max_channels} are handled"
            )
        if not limits.min_rate <= rate <= limits.max_rate:
            raise UnsupportedAudioError(
                f"{self.name}: sample rate {rate} Hz; "
                f"{limits.min_rate} to {limits.max_rate} Hz are handled"
            )
        if self._shape is None:
            self._shape = (channels, rate)
        elif self._shape != (channels, rate):
            raise UnsupportedAudioError(
                f"{self.name}: channels or sample rate change in the middle of the file"
            )

    def check(self, block: NDArray[np.float32], rate: int) -> None:
        self.check_format(block.shape[0], rate)
        self.check_deadline()
        self.samples += block.shape[1]
        if self.samples > self.limits.max_duration_s * rate:
            raise AudioTooLongError(
                f"{self.name}: longer than {self.limits.max_duration_s:g} s of audio"
            )
        # One pass finds NaN, infinity and nonsense: a comparison with NaN is false.
        if block.size and not float(np.abs(block).max()) <= _MAX_PEAK:
            raise UnreadableAudioError(
                f"{self.name}: holds samples that are NaN, infinite or far beyond full scale"
            )


class _BoundedFile:
    """The file FFmpeg reads: refuses to go on after the deadline, whatever a demuxer loops on.

    The exception raised in a callback comes out of FFmpeg as some I/O error; ``stopped`` keeps the
    real one.
    """

    def __init__(self, inner: io.BufferedIOBase, guard: _Guard) -> None:
        self._inner = inner
        self._guard = guard
        self.stopped: AudioError | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            self._guard.check_deadline()
        except AudioTooLongError as exc:
            self.stopped = exc
            return b""
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()


def _open(source: AudioSource | io.BufferedIOBase, guard: _Guard) -> io.BufferedIOBase:
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


def _too_big(guard: _Guard) -> AudioTooLongError:
    return AudioTooLongError(f"{guard.name}: larger than {guard.limits.max_bytes / 1e6:,.0f} MB")


def _sndfile_blocks(
    opened: io.BufferedIOBase, guard: _Guard
) -> Iterator[tuple[NDArray[np.float32], int]]:
    import soundfile

    try:
        file = soundfile.SoundFile(opened)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as exc:
        # WAV and AIFF may hold codecs that only FFmpeg knows.
        opened.seek(0)
        try:
            yield from _ffmpeg_blocks(opened, guard)
        except UnreadableAudioError:
            raise UnreadableAudioError(f"{guard.name}: not an audio file that can be read") from exc
        return
    with file:
        guard.check_format(file.channels, file.samplerate)
        while True:
            try:
                block = file.read(_BLOCK, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError, ValueError) as exc:
                if guard.samples == 0:
                    raise UnreadableAudioError(f"{guard.name}: the audio is damaged") from exc
                return  # cut short: what came before the damage was read
            if block.shape[0] == 0:
                return
            yield np.ascontiguousarray(block.T), int(file.samplerate)


def _ffmpeg_blocks(
    opened: io.BufferedIOBase, guard: _Guard
) -> Iterator[tuple[NDArray[np.float32], int]]:
    import av

    # What PyAV was seen to raise on damaged files: its own errors (some are also OSError,
    # PermissionError, EOFError or ValueError), and bare IndexError, ValueError, UnicodeDecodeError.
    foreign = (av.FFmpegError, OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError)
    bounded = _BoundedFile(opened, guard)
    options = {
        "protocol_whitelist": "",
        "format_whitelist": _FORMATS,
        "codec_whitelist": _CODECS,
        "probesize": "2000000",
        "max_probe_packets": "500",
    }
    try:
        container = av.open(bounded, mode="r", options=options, metadata_errors="replace")
    except foreign as exc:
        raise bounded.stopped or UnreadableAudioError(
            f"{guard.name}: not an audio file that can be read"
        ) from exc
    try:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise UnreadableAudioError(f"{guard.name}: the file has no audio stream")
        # None, whatever its type says, where FFmpeg has no decoder or may not use it.
        context: Any = stream.codec_context
        if context is None or context.name not in _CODECS.split(","):
            raise UnsupportedAudioError(f"{guard.name}: the audio codec is not handled")
        context.thread_count = 1
        yield from _packets(container, stream, guard, foreign)
        if bounded.stopped is not None:
            raise bounded.stopped
    except foreign as exc:
        raise bounded.stopped or UnreadableAudioError(
            f"{guard.name}: the audio is damaged"
        ) from exc
    finally:
        container.close()


def _packets(
    container: Any, stream: Any, guard: _Guard, foreign: tuple[type[Exception], ...]
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode packet by packet; damaged ones are passed over while most are good."""
    good = damaged = 0
    demuxer = container.demux(stream)
    while True:
        guard.check_deadline()
        try:
            packet = next(demuxer)
        except StopIteration:
            break
        except foreign:
            damaged += 1
            break  # the demuxer cannot go on: the rest is missing
        try:
            frames = packet.decode()
        except foreign:
            damaged += 1
            continue
        good += bool(frames)
        for frame in frames:
            guard.check_format(frame.layout.nb_channels, frame.sample_rate)
            yield _samples(frame), frame.sample_rate
    if damaged > _MAX_DAMAGED * (good + damaged):
        raise UnreadableAudioError(
            f"{guard.name}: the audio is damaged ({damaged} of {good + damaged} packets)"
        )


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    """A frame's samples as float32 ``(channels, n)``."""
    array = frame.to_ndarray()
    if not frame.format.is_planar:  # (1, n * channels), interleaved
        array = array.reshape(-1, frame.layout.nb_channels).T
    kind = frame.format.name.removesuffix("p")
    if kind in _INTEGER_SCALE:
        offset, scale = _INTEGER_SCALE[kind]
        return np.ascontiguousarray((array.astype(np.float64) - offset) / scale, np.float32)
    return np.ascontiguousarray(array, np.float32)
