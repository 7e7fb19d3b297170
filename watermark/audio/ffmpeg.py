"""Decode by FFmpeg's libraries (PyAV), packet by packet.

Whatever a packet gives is kept when the next one fails. The demuxers and decoders that may be used
stand in a list; no protocol is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.channels import NAMES, Layout, alike, order
from watermark.audio.containers import View
from watermark.audio.limits import AudioInfo, Guard, Subtype, no_such_stream
from watermark.errors import (
    AudioError,
    AudioTooLongError,
    UnreadableAudioError,
    UnsupportedAudioError,
)

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

__all__ = ["ffmpeg_blocks", "foreign_errors", "open_container"]

_MAX_DAMAGED = 0.5  # share of undecodable packets beyond which the file is called unreadable
# Demuxers and decoders FFmpeg may use. Playlists, subtitles, network and image formats are absent.
_FORMATS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"
)
_CODECS = (
    "aac,aac_latm,ac3,alac,amrnb,amrwb,eac3,flac,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,"
    "vorbis,libvorbis,wavpack,wmav1,wmav2,wmapro,adpcm_ms,adpcm_ima_wav,pcm_alaw,pcm_mulaw,pcm_u8,"
    "pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,"
    "pcm_f64le,pcm_f64be"
)
_MOST_PLANES = 7  # PyAV 18 reads one plane too many where a frame has eight, and crashes
_MOST_STREAMS = 16  # audio streams of a file that are told apart
_MOST_FAILURES = 8  # of a demuxer in a row, before the rest of the file is given up
_SLACK_S = 0.25  # a container may state so much more than its packets hold: priming, rounding
_BEYOND_S = 1.0  # what a file holds beyond its header's word is worth a note from here on
_XING_WITHIN = 1 << 18  # bytes in which the first frame of an MP3 stands, behind tags and a picture
# Formats whose header states how long the audio is.
_STATING = ("flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")
_LOSSLESS = ("alac", "flac", "wavpack", "pcm_")  # codecs, by the beginning of their name
# Integer sample formats of FFmpeg: offset and full scale.
_INTEGER_SCALE = {"u8": (128.0, 128.0), "s16": (0.0, 32768.0), "s32": (0.0, 2147483648.0)}


class _BoundedFile:
    """The file FFmpeg reads: refuses to go on after the deadline, whatever a demuxer loops on.

    The exception raised in a callback comes out of FFmpeg as some I/O error; ``stopped`` keeps the
    real one.
    """

    def __init__(self, inner: View, guard: Guard) -> None:
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


def foreign_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises on damaged files.

    Its own errors (some are also OSError, PermissionError, EOFError or ValueError), and bare
    IndexError, ValueError and UnicodeDecodeError were seen.
    """
    import av

    return (av.FFmpegError, OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError)


def open_container(file: Any) -> Any:
    """An open file as FFmpeg's container: listed formats and codecs, no protocol."""
    import av

    options = {
        "protocol_whitelist": "",
        "format_whitelist": _FORMATS,
        "codec_whitelist": _CODECS,
        "probesize": "2000000",
        "max_probe_packets": "500",
    }
    return av.open(file, mode="r", options=options, metadata_errors="replace")


def ffmpeg_blocks(
    view: View, guard: Guard, info: AudioInfo
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Samples and rate of one audio stream of a file, block by block, as the decoder gives them.

    Raises as :func:`watermark.audio.decoding.decode_blocks` does.
    """
    foreign = foreign_errors()
    bounded = _BoundedFile(view, guard)
    try:
        container = open_container(bounded)
    except foreign as exc:
        raise bounded.stopped or UnreadableAudioError(
            f"{guard.name}: not an audio file that can be read"
        ) from exc
    try:
        streams = container.streams.audio
        if not streams:
            raise UnreadableAudioError(f"{guard.name}: the file has no audio stream")
        info.streams = max(info.streams, min(len(streams), _MOST_STREAMS))
        if len(streams) > _MOST_STREAMS and guard.limits.stream == 0:
            info.notes.append(f"only {_MOST_STREAMS} of {len(streams)} audio streams can be read")
        if guard.limits.stream >= len(streams):
            raise no_such_stream(guard)
        stream = streams[guard.limits.stream]
        # None, whatever its type says, where FFmpeg has no decoder or may not use it.
        context: Any = stream.codec_context
        if context is None or context.name not in _CODECS.split(","):
            raise UnsupportedAudioError(f"{guard.name}: the audio codec is not handled")
        context.thread_count = 1
        info.layout = _custom_layout(context) or info.layout
        yield from _packets(container, stream, view, guard, info)
        if bounded.stopped is not None:
            raise bounded.stopped
    except foreign as exc:
        raise bounded.stopped or UnreadableAudioError(
            f"{guard.name}: the audio is damaged"
        ) from exc
    finally:
        container.close()


def _custom_layout(context: Any) -> Layout | None:
    """The channels of a stream that has them in an order of its own (CAF, QuickTime), else None.

    PyAV 18 frees the memory of such a layout twice, once with each frame. So it is read once, and
    the decoder is given one without an order; the samples stay as they are.
    """
    layout = context.layout
    names = tuple(channel.name for channel in layout.channels)
    canonical = set(names) <= set(NAMES) and order(names) == list(range(len(names)))
    if canonical or set(names) == {"NONE"}:
        return None
    context.layout = f"{len(names)} channels"
    return names if len(set(names)) == len(names) else None


def _packets(
    container: Any, stream: Any, view: View, guard: Guard, info: AudioInfo
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode packet by packet; damaged ones are passed over while most are good."""
    foreign = foreign_errors()
    good = damaged = failures = 0
    unpacker = _Unpacker()
    stated_s = _stated_s(container, stream, view)
    read_s = 0.0
    demuxer = container.demux(stream)
    ended = False
    while not ended:
        guard.check_deadline()
        try:
            packet = next(demuxer, None)
            failures = 0
        except foreign:
            damaged += 1
            failures += 1
            if failures < _MOST_FAILURES:
                demuxer = container.demux(stream)  # some demuxers can go on
                continue
            packet = None  # the rest is missing; what the decoder still holds is not
        ended = packet is None
        try:
            frames = stream.codec_context.decode(packet)
        except foreign:
            damaged += not ended
            continue
        good += bool(frames)
        for frame in frames:
            guard.check_format(frame.layout.nb_channels, frame.sample_rate)
            if guard.samples == 0 == read_s:
                _describe(info, stream.codec_context.name, frame)
            read_s += frame.samples / frame.sample_rate
            for samples in unpacker.samples(frame):
                yield samples, frame.sample_rate
    if damaged > _MAX_DAMAGED * (good + damaged):
        raise UnreadableAudioError(
            f"{guard.name}: the audio is damaged ({damaged} of {good + damaged} packets)"
        )
    if stated_s is not None and read_s < stated_s:
        info.damage = (
            f"the file is cut short: it states {stated_s:.1f} s of audio, and {read_s:.1f} s "
            "could be read"
        )
    elif stated_s is not None and read_s > stated_s + _BEYOND_S:
        info.notes.append(
            f"the header states {stated_s:.1f} s of audio, and {read_s:.1f} s are there; all were "
            "read"
        )
    if damaged:
        info.damage = info.damage or (
            f"the audio is damaged: {damaged} of {good + damaged} packets cannot be decoded"
        )


def _stated_s(container: Any, stream: Any, view: View) -> float | None:
    """The least that the header promises, seconds; None where it is a guess or nothing."""
    if container.format.name == "mp3":
        place = view.tell()
        view.seek(0)
        frames = _xing_frames(view.read(_XING_WITHIN))
        view.seek(place)
        rate = stream.codec_context.sample_rate
        if frames is None or not rate:
            return None
        size = 1152 if rate >= 32_000 else 576
        return (frames - 4) * size / int(rate) - _SLACK_S
    if container.format.name not in _STATING:
        return None
    if container.format.name == "flac":
        return None if stream.duration is None else float(stream.duration * stream.time_base) - 1e-5
    if stream.duration is not None:
        return float(stream.duration * stream.time_base) - _SLACK_S
    if len(container.streams.audio) == 1 == len(container.streams) and container.duration:
        return float(container.duration / 1e6) - _SLACK_S
    return None


def _xing_frames(head: bytes) -> int | None:
    """How many frames the first frame of an MP3 states."""
    places = [at for at in (head.find(b"Xing"), head.find(b"Info")) if at >= 0]
    if not places or not head[min(places) + 7 : min(places) + 8] or not head[min(places) + 7] & 1:
        return None
    return int.from_bytes(head[min(places) + 8 : min(places) + 12], "big")


def _describe(info: AudioInfo, codec: str, frame: AudioFrame) -> None:
    """Layout and sample format, from the first frame of a stream."""
    given = tuple(channel.name for channel in frame.layout.channels)
    names: Layout | None = given
    if set(given) == {"NONE"} and info.layout is not None and len(info.layout) == len(given):
        names = info.layout  # known from elsewhere
    elif len(set(given)) < len(given) or "NONE" in given or "UNK" in given:
        names = None
    if info.layout is None or not alike(info.layout, names, len(info.layout)):
        info.layout = names
    kind = frame.format.name.removesuffix("p")
    if codec.startswith(_LOSSLESS) and codec not in ("pcm_alaw", "pcm_mulaw"):
        wide: Subtype = "PCM_32" if codec.startswith("pcm_s32") else "PCM_24"
        subtypes: dict[str, Subtype] = {"u8": "PCM_16", "s16": "PCM_16", "s32": wide}
        info.subtype = subtypes.get(kind, "FLOAT")


class _Unpacker:
    """Frames to float32 ``(channels, n)``; keeps the converter of frames with many planes."""

    def __init__(self) -> None:
        self._converter: Any = None
        self._kind: tuple[str, str, int] | None = None

    def samples(self, frame: AudioFrame) -> Iterator[NDArray[np.float32]]:
        if not frame.format.is_planar or frame.layout.nb_channels <= _MOST_PLANES:
            yield _samples(frame)
            return
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            packed = frame.format.name.removesuffix("p")
            self._converter = av.AudioResampler(packed, frame.layout, frame.sample_rate)
            self._kind = kind
        for part in self._converter.resample(frame):
            yield _samples(part)


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
