"""Encode WAV, FLAC, MP3, AAC (m4a), Opus and Vorbis, block by block.

WAV is written here, Ogg Vorbis by libsndfile, the others by FFmpeg's libraries (PyAV). libsndfile
crashes on a Vorbis write of more than about two minutes at once, so everything is written in
blocks.

Every channel keeps its meaning: a format gets the channels in the order and with the layout that
its readers expect (:mod:`watermark.audio.channels`), or the channels are refused.

Integer formats are rounded to the nearest step without dither, and clipped at full scale: a 16-bit
file that is read and written again comes out with the same samples, and digital silence stays
silence, which noise-shaping or TPDF dither would break. The rounding noise lies at -98 dBFS.
:attr:`Encoder.clipped` counts what was clipped, :attr:`Encoder.notes` says what else was changed.

Encoder delay: LAME, AAC and Opus put 1105, 1024 and 312 samples (at 48 kHz) in front. Each file
says so (Xing/LAME header, edit list, pre-skip), and :mod:`watermark.audio.decoding` takes them off
again, so a decoded file starts where its original starts. Opus and Vorbis come back with exactly
as many samples; MP3 and AAC may keep a part of the last frame (at most 1152 samples more).
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from watermark.audio.channels import USUAL, Layout, mask_of, order, writable
from watermark.audio.limits import Subtype
from watermark.audio.tags import (
    Tags,
    add_cover,
    fill_padding,
    flac_picture,
    id3_tag,
    picture_comment,
)
from watermark.audio.writers import BITS, Sink, VorbisWriter, WavWriter, Writer, steps
from watermark.errors import UnsupportedAudioError

__all__ = ["FORMATS", "AudioFormat", "Encoder", "Subtype", "can_write"]

AudioFormat = Literal["wav", "flac", "mp3", "m4a", "opus", "ogg"]
FORMATS: tuple[AudioFormat, ...] = get_args(AudioFormat)

_BLOCK = 65_536  # samples per channel handed to an encoder at a time

_SUBTYPES: dict[str, tuple[Subtype, ...]] = {
    "wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"),
    "flac": ("PCM_16", "PCM_24"),
}

# Bit rates of MPEG audio layer 3, kbit/s, by the sample rate from which on they hold.
_MP3_KBITS = (
    (32_000, (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)),
    (16_000, (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)),
    (0, (8, 16, 24, 32, 40, 48, 56, 64)),
)


class _Lossy:
    """What FFmpeg needs to know about one lossy format."""

    def __init__(
        self,
        muxer: str,
        codec: str,
        sample_format: str,
        rates: tuple[int, ...],
        bitrate: int,
    ) -> None:
        self.muxer = muxer
        self.codec = codec
        self.sample_format = sample_format
        self.rates = rates
        self.bitrate = bitrate  # bit/s, default


_LOSSY = {
    "mp3": _Lossy(
        "mp3",
        "libmp3lame",
        "fltp",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        192_000,
    ),
    "m4a": _Lossy(
        "ipod",
        "aac",
        "fltp",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
        160_000,
    ),
    "opus": _Lossy("ogg", "libopus", "flt", (48000,), 96_000),
}


def can_write(format: AudioFormat) -> bool:
    """Whether the codec of a format is in the libraries that are installed here.

    >>> can_write("wav"), can_write("flac")
    (True, True)
    """
    if format in ("wav", "ogg"):
        return True
    import av

    try:
        av.Codec("flac" if format == "flac" else _LOSSY[format].codec, "w")
    except ValueError:  # no such codec
        return False
    return True


class Encoder:
    """Writes blocks of samples into an open, seekable binary file.

    A rate that the codec does not know (Opus knows 48 kHz only) is resampled to the next one it
    does; ``rate`` says which.

    Args:
        file: where the encoded bytes go, from its position on; must be seekable, is not closed.
        format: one of :data:`FORMATS`.
        channels: channels of every block.
        rate: sample rate of every block, Hz.
        bitrate: bit/s, mp3, m4a and opus only; default 192k MP3, 160k AAC, 96k Opus.
        subtype: WAV and FLAC only; default PCM_16, which every browser plays.
        layout: which channel is which; None: the usual layout of so many.
        tags: title and the like, and pictures.

    Attributes:
        notes: what is not as it was asked for, in words.
        clipped: samples beyond full scale that an integer format had to clip.

    Raises:
        UnsupportedAudioError: the format cannot hold this many channels, this layout, rate or
            subtype.
        AudioTooLongError: more than a WAV file can hold (4 GiB).
        OSError: the disk's own errors.
    """

    def __init__(
        self,
        file: IO[bytes],
        format: AudioFormat,
        *,
        channels: int,
        rate: int,
        bitrate: int | None = None,
        subtype: Subtype | None = None,
        layout: Layout | None = None,
        tags: Tags | None = None,
    ) -> None:
        if format not in FORMATS:
            raise UnsupportedAudioError(
                f"cannot write format {format!r}; one of {', '.join(FORMATS)} is possible"
            )
        if subtype is not None and subtype not in _SUBTYPES.get(format, ()):
            raise UnsupportedAudioError(f"{format} has no subtype {subtype}")
        if bitrate is not None and format not in _LOSSY:
            raise UnsupportedAudioError(f"{format} is written without a bit rate")
        self.format = format
        self.channels = channels
        self.notes: list[str] = []
        self.clipped = 0
        stated = writable(layout, channels, format)
        self.layout = stated
        given = USUAL[channels] if layout is None else layout
        self._order: list[int] | None = order(given)
        if self._order == sorted(self._order):
            self._order = None
        self._full = 0 if format not in _SUBTYPES or subtype == "FLOAT" else 1
        tags = tags or Tags()
        self._writer: Writer
        if format == "wav":
            plain = layout is None or (channels <= 2 and stated == USUAL[channels])
            mask = None if plain else mask_of(stated)
            self._writer = WavWriter(file, channels, rate, subtype or "PCM_16", mask, tags)
        elif format == "ogg":
            self._writer = VorbisWriter(file, stated, rate, tags)
        elif format == "flac":
            self._writer = _FlacWriter(file, stated, rate, subtype or "PCM_16", tags)
        else:
            lossy = _LOSSY[format]
            written = next((r for r in lossy.rates if r >= rate), lossy.rates[-1])
            if written < rate:
                self.notes.append(f"written at {written} Hz, the highest rate of {format} here")
            allowed = _bitrate(format, bitrate, lossy.bitrate, written, channels)
            if bitrate is not None and allowed != bitrate:
                self.notes.append(
                    f"written with {allowed / 1000:g} kbit/s, the nearest to {bitrate / 1000:g} "
                    f"that {format} knows at {written} Hz"
                )
            self._writer = _LossyWriter(file, lossy, format, stated, (rate, written), allowed, tags)
        self.rate = self._writer.rate

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append ``(channels, n)`` samples of any length."""
        if samples.shape[0] != self.channels:
            raise UnsupportedAudioError(
                f"a block of {samples.shape[0]} channels in a file of {self.channels}"
            )
        for start in range(0, samples.shape[1], _BLOCK):
            block = samples[:, start : start + _BLOCK]
            if self._order is not None:
                block = block[self._order]
            if self._full:
                self.clipped += int(np.count_nonzero(np.abs(block) > self._full))
            self._writer.write(block)

    def close(self) -> None:
        """Flush the codec and write the trailer."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.abandon()  # whoever holds the file throws it away


def _bitrate(format: str, asked: int | None, default: int, rate: int, channels: int) -> int:
    """The bit rate that the format knows, nearest to what was asked for, bit/s."""
    wanted = default if asked is None else asked
    if format == "mp3":
        kbits = next(values for least, values in _MP3_KBITS if rate >= least)
        return min(kbits, key=lambda value: abs(value * 1000 - wanted)) * 1000
    most = 256_000 * channels if format == "opus" else 6 * rate * channels
    if asked is None and channels > 2:
        wanted = wanted * channels // 2
    return max(6_000 if format == "opus" else 8_000, min(most, wanted))


class _FfmpegWriter:
    """A codec of FFmpeg's in one of its containers."""

    def __init__(
        self,
        file: IO[bytes],
        kind: tuple[str, str, str],
        layout: Layout,
        rates: tuple[int, int],
        *,
        bitrate: int | None = None,
        options: dict[str, str] | None = None,
        text: dict[str, str] | None = None,
    ) -> None:
        import av
        import soxr

        muxer, codec, self._sample_format = kind
        given, self.rate = rates
        channels = len(layout)
        self._codec = codec
        self._file, self._base = file, file.tell()
        self._sink = Sink(file)
        self._resampler = (
            soxr.ResampleStream(given, self.rate, channels, dtype="float32", quality="VHQ")
            if self.rate != given
            else None
        )
        self._layout = "+".join(layout)
        self._channels = channels
        self._pts = 0
        # Frames go in interleaved, and PyAV converts them: planar ones of eight channels crash it.
        self._packed = self._sample_format.removesuffix("p")
        try:
            self._container: Any = av.open(self._sink, mode="w", format=muxer, options=options)
            stream: Any = self._container.add_stream(codec, rate=self.rate)
            self._stream = stream
            stream.layout = self._layout
            stream.format = self._sample_format
            if bitrate is not None:
                stream.bit_rate = bitrate
            stream.codec_context.thread_count = 1
            stream.codec_context.open()
            (stream if muxer == "ogg" else self._container).metadata.update(text or {})
        except (av.FFmpegError, ValueError, OSError) as exc:
            self._sink.check()
            raise UnsupportedAudioError(
                f"{muxer} cannot be written with {channels} channels at {self.rate} Hz"
                + (f" and {bitrate} bit/s" if bitrate else "")
            ) from exc

    def write(self, samples: NDArray[np.float32]) -> None:
        frames = np.ascontiguousarray(samples.T, np.float32)
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(frames)
        self._encode(frames)

    def close(self) -> None:
        if self._resampler is not None:
            empty = np.zeros((0, self._channels), np.float32)
            self._encode(self._resampler.resample_chunk(empty, last=True))
        self._mux(None)
        self._container.close()
        self._sink.check()

    def abandon(self) -> None:
        import av

        with suppress(av.FFmpegError, ValueError, OSError):
            self._container.close()

    def _encode(self, frames: NDArray[Any]) -> None:
        """Encode ``(n, channels)``; PyAV cuts it to the codec's frame size."""
        import av

        if frames.shape[0] == 0:
            return
        frame = av.AudioFrame.from_ndarray(frames.reshape(1, -1), self._packed, self._layout)
        frame.sample_rate = self.rate
        frame.pts = self._pts
        self._pts += frames.shape[0]
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        """Encode a frame, or flush the codec with None, and write what comes out."""
        import av

        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, ValueError) as exc:
            self._sink.check()
            raise UnsupportedAudioError(f"the {self._codec} encoder failed") from exc
        self._sink.check()


class _FlacWriter(_FfmpegWriter):
    def __init__(
        self, file: IO[bytes], layout: Layout, rate: int, subtype: Subtype, tags: Tags
    ) -> None:
        self._bits = BITS[subtype]
        self._picture = flac_picture(tags)
        kind = ("flac", "flac", "s16" if self._bits == 16 else "s32")
        room = {} if self._picture is None else {"metadata_header_padding": str(len(self._picture))}
        super().__init__(file, kind, layout, (rate, rate), options=room, text=tags.text)

    def write(self, samples: NDArray[np.float32]) -> None:
        values = steps(samples, self._bits)
        if self._bits == 16:
            self._encode(values.astype(np.int16))
        else:
            self._encode(values * np.int32(2 ** (32 - self._bits)))

    def close(self) -> None:
        super().close()
        if self._picture is not None:
            fill_padding(self._file, self._base, self._picture)


class _LossyWriter(_FfmpegWriter):
    def __init__(
        self,
        file: IO[bytes],
        lossy: _Lossy,
        format: str,
        layout: Layout,
        rates: tuple[int, int],
        bitrate: int,
        tags: Tags,
    ) -> None:
        self._format, self._tags = format, tags
        text, options = dict(tags.text), {}
        if format == "mp3":
            file.write(id3_tag(tags))
            text, options = {}, {"id3v2_version": "0"}
        elif format == "opus" and tags.pictures:
            text["METADATA_BLOCK_PICTURE"] = picture_comment(tags)
        super().__init__(
            file,
            (lossy.muxer, lossy.codec, lossy.sample_format),
            layout,
            rates,
            bitrate=bitrate,
            options=options,
            text=text,
        )

    def close(self) -> None:
        super().close()
        if self._format == "m4a" and self._tags.pictures:
            add_cover(self._file, self._base, self._tags)
