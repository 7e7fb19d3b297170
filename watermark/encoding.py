"""Encoding: WAV, FLAC, MP3, AAC (m4a), Opus and Vorbis, block by block, into any seekable file.

WAV, FLAC and Ogg Vorbis are written by libsndfile, MP3 (LAME), AAC and Opus by FFmpeg's libraries
(PyAV). libsndfile crashes on a Vorbis write of more than about two minutes at once, so everything
is written in blocks.

Integer formats are rounded to the nearest step without dither, and clipped at full scale: a 16-bit
file that is read and written again comes out with the same samples, and digital silence stays
silence, which noise-shaping or TPDF dither would break. The rounding noise lies at -98 dBFS.

Encoder delay: LAME, AAC and Opus put 1105, 1024 and 312 samples (at 48 kHz) in front. Each file
says so (Xing/LAME header, edit list, pre-skip), and :mod:`watermark.decoding` takes them off again,
so a decoded file starts where its original starts. Opus and Vorbis come back with exactly as many
samples; MP3 and AAC may keep a part of the last frame (at most 1152 samples more).
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from watermark.errors import AudioTooLongError, UnsupportedAudioError

__all__ = ["FORMATS", "AudioFormat", "Encoder", "Subtype"]

AudioFormat = Literal["wav", "flac", "mp3", "m4a", "opus", "ogg"]
Subtype = Literal["PCM_16", "PCM_24", "FLOAT"]
FORMATS: tuple[AudioFormat, ...] = get_args(AudioFormat)

_BLOCK = 65_536  # samples per channel handed to an encoder at a time
_MAX_WAV_BYTES = 2**32 - 2**16  # RIFF sizes have 32 bits

_SNDFILE = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}
_SUBTYPES = {"wav": {"PCM_16", "PCM_24", "FLOAT"}, "flac": {"PCM_16", "PCM_24"}}
_FULL_SCALE = {"PCM_16": 2**15, "PCM_24": 2**23}


class _Lossy:
    """What FFmpeg needs to know about one lossy format."""

    def __init__(
        self,
        muxer: str,
        codec: str,
        sample_format: str,
        rates: tuple[int, ...],
        channels: int,
        bitrate: int,
    ) -> None:
        self.muxer = muxer
        self.codec = codec
        self.sample_format = sample_format
        self.rates = rates
        self.channels = channels
        self.bitrate = bitrate  # bit/s, default


_LOSSY = {
    "mp3": _Lossy(
        "mp3",
        "libmp3lame",
        "fltp",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        2,
        192_000,
    ),
    "m4a": _Lossy(
        "ipod",
        "aac",
        "fltp",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
        6,
        160_000,
    ),
    "opus": _Lossy("ogg", "libopus", "flt", (48000,), 2, 96_000),
}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1"}


class Encoder:
    """Writes blocks of samples into an open, seekable binary file.

    A rate that the codec does not know (Opus knows 48 kHz only) is resampled to the next one it
    does; ``rate`` says which.

    Args:
        file: where the encoded bytes go; must be seekable, is not closed.
        format: one of :data:`FORMATS`.
        channels: channels of every block.
        rate: sample rate of every block, Hz.
        bitrate: bit/s, lossy formats only; default 192k MP3, 160k AAC, 96k Opus.
        subtype: WAV and FLAC only; default PCM_16, which every browser plays.

    Raises:
        UnsupportedAudioError: the format cannot hold this many channels, this rate or subtype.
        AudioTooLongError: more than a WAV file can hold (4 GiB).
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
    ) -> None:
        if format not in FORMATS:
            raise UnsupportedAudioError(
                f"cannot write format {format!r}; one of {', '.join(FORMATS)} is possible"
            )
        self.format = format
        self.channels = channels
        self.rate = rate
        self._writer: _SndfileWriter | _FfmpegWriter
        if format in _LOSSY:
            if subtype is not None:
                raise UnsupportedAudioError(f"{format} has no subtype {subtype}")
            self._writer = _FfmpegWriter(file, _LOSSY[format], format, channels, rate, bitrate)
            self.rate = self._writer.rate
        else:
            if bitrate is not None:
                raise UnsupportedAudioError(f"{format} is written without a bit rate")
            self._writer = _SndfileWriter(file, format, channels, rate, subtype)

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append ``(channels, n)`` samples of any length."""
        if samples.shape[0] != self.channels:
            raise UnsupportedAudioError(
                f"a block of {samples.shape[0]} channels in a file of {self.channels}"
            )
        for start in range(0, samples.shape[1], _BLOCK):
            self._writer.write(samples[:, start : start + _BLOCK])

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


class _SndfileWriter:
    def __init__(
        self, file: IO[bytes], format: str, channels: int, rate: int, subtype: str | None
    ) -> None:
        import soundfile

        container, default = _SNDFILE[format]
        self.subtype = subtype or default
        if subtype is not None and subtype not in _SUBTYPES.get(format, set()):
            raise UnsupportedAudioError(f"{format} has no subtype {subtype}")
        self._is_wav = format == "wav"
        self._bytes = 0
        try:
            self._file = soundfile.SoundFile(
                file, "w", rate, channels, format=container, subtype=self.subtype
            )
        except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as exc:
            raise UnsupportedAudioError(
                f"{format} cannot hold {channels} channels at {rate} Hz"
            ) from exc

    def write(self, samples: NDArray[np.float32]) -> None:
        frames = samples.T
        if self._is_wav:
            self._bytes += frames.size * {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[self.subtype]
            if self._bytes > _MAX_WAV_BYTES:
                raise AudioTooLongError("too long for a WAV file (4 GiB); write FLAC")
        if self.subtype in _FULL_SCALE:
            # Own rounding, the inverse of the reader's division by full scale; int32 is shifted up
            # because libsndfile keeps the most significant bits.
            full = _FULL_SCALE[self.subtype]
            steps = np.clip(np.rint(frames.astype(np.float64) * full), -full, full - 1)
            integers = steps.astype(np.int32) * (2**31 // full)
            self._file.write(integers)
        else:
            self._file.write(np.ascontiguousarray(frames, np.float32))

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


class _FfmpegWriter:
    def __init__(
        self,
        file: IO[bytes],
        lossy: _Lossy,
        format: str,
        channels: int,
        rate: int,
        bitrate: int | None,
    ) -> None:
        import av
        import soxr

        if not 1 <= channels <= lossy.channels:
            raise UnsupportedAudioError(
                f"{format} holds 1 to {lossy.channels} channels here, not {channels}"
            )
        self.rate = next((r for r in lossy.rates if r >= rate), lossy.rates[-1])
        self._resampler = (
            soxr.ResampleStream(rate, self.rate, channels, dtype="float32", quality="VHQ")
            if self.rate != rate
            else None
        )
        self._lossy = lossy
        self._layout = _LAYOUTS[channels]
        self._pts = 0
        try:
            self._container: Any = av.open(file, mode="w", format=lossy.muxer)
            stream: Any = self._container.add_stream(lossy.codec, rate=self.rate)
            self._stream = stream
            self._stream.layout = self._layout
            self._stream.format = lossy.sample_format
            self._stream.bit_rate = bitrate or lossy.bitrate
            self._stream.codec_context.thread_count = 1
            self._stream.codec_context.open()
        except (av.FFmpegError, ValueError, OSError) as exc:
            raise UnsupportedAudioError(
                f"{format} cannot be written with {channels} channels at {self.rate} Hz"
                + (f" and {bitrate} bit/s" if bitrate else "")
            ) from exc

    def write(self, samples: NDArray[np.float32]) -> None:
        frames = np.ascontiguousarray(samples.T, np.float32)
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(frames)
        self._encode(frames)

    def close(self) -> None:
        if self._resampler is not None:
            empty = np.zeros((0, self._stream.codec_context.channels), np.float32)
            self._encode(self._resampler.resample_chunk(empty, last=True))
        self._mux(None)
        self._container.close()

    def abandon(self) -> None:
        import av

        with suppress(av.FFmpegError, ValueError, OSError):
            self._container.close()

    def _encode(self, frames: NDArray[np.float32]) -> None:
        """Encode ``(n, channels)``; PyAV cuts it to the codec's frame size."""
        import av

        if frames.shape[0] == 0:
            return
        planar = self._lossy.sample_format.endswith("p")
        array = np.ascontiguousarray(frames.T) if planar else frames.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            array, format=self._lossy.sample_format, layout=self._layout
        )
        frame.sample_rate = self.rate
        frame.pts = self._pts
        self._pts += frames.shape[0]
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        """Encode a frame, or flush the codec with None, and write what comes out."""
        import av

        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as exc:
            raise UnsupportedAudioError(f"the {self._lossy.codec} encoder failed") from exc
