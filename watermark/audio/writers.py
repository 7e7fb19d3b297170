"""Writers of WAV and Ogg Vorbis, and a file object for C libraries."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from watermark.audio.channels import Layout
from watermark.audio.limits import Subtype
from watermark.audio.tags import VORBIS_STRINGS, Tags, wav_chunks
from watermark.errors import AudioTooLongError, UnsupportedAudioError

__all__ = ["BITS", "Sink", "VorbisWriter", "WavWriter", "Writer", "steps"]

_MAX_WAV_BYTES = 2**32 - 2**16  # RIFF sizes have 32 bits
BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32}
_VORBIS_QUALITY = 0.4  # libsndfile's own, about 128 kbit/s of stereo

#: In which order a Vorbis stream holds the channels of its layouts (Vorbis I, section 4.3.9).
_VORBIS_ORDER = {
    3: ("FL", "FC", "FR"),
    5: ("FL", "FC", "FR", "BL", "BR"),
    6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
    7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
    8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
}


class Writer(Protocol):
    """What writes one format; blocks come in the format's order of channels."""

    rate: int

    def write(self, samples: NDArray[np.float32]) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Sink(io.RawIOBase):
    """A file for a library written in C: starts at 0, and keeps the errors of the disk.

    What is raised inside a library's callback is lost or becomes another error; so a failed call
    looks well to the library, and :meth:`check` raises afterwards.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._base = file.tell()
        self._failure: OSError | None = None

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._failure is None:
            try:
                self._file.write(data)
            except OSError as exc:
                self._failure = exc
        return size

    def read(self, size: int | None = -1) -> bytes:
        try:
            return self._file.read(-1 if size is None else size)
        except OSError as exc:
            self._failure = self._failure or exc
            return b""

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            at = self._file.seek(offset + (self._base if whence == 0 else 0), whence)
        except OSError as exc:
            self._failure = self._failure or exc
            return 0
        return at - self._base

    def tell(self) -> int:
        try:
            return self._file.tell() - self._base
        except OSError as exc:
            self._failure = self._failure or exc
            return 0


def steps(block: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """Whole steps of so many bits, ``(n, channels)``: the inverse of the reader's division."""
    full = 2.0 ** (bits - 1)
    rounded = np.clip(np.rint(block.T.astype(np.float64) * full), -full, full - 1)
    return np.ascontiguousarray(rounded.astype(np.int32))


class WavWriter:
    """RIFF/WAVE, sizes filled in at the end; WAVEFORMATEXTENSIBLE where a mask is to be stated."""

    def __init__(
        self,
        file: IO[bytes],
        channels: int,
        rate: int,
        subtype: Subtype,
        mask: int | None,
        tags: Tags,
    ) -> None:
        self.rate = rate
        self._file, self._base = file, file.tell()
        self._subtype, self._tags = subtype, tags
        self._bits = BITS[subtype]
        self._frame = channels * self._bits // 8
        tag = 3 if subtype == "FLOAT" else 1
        if rate * self._frame >= 2**32:
            raise UnsupportedAudioError(f"wav cannot hold {channels} channels at {rate} Hz")
        fmt = struct.pack(
            "<HHIIHH",
            tag if mask is None else 0xFFFE,
            channels,
            rate,
            rate * self._frame,
            self._frame,
            self._bits,
        )
        if mask is not None:
            guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
            fmt += struct.pack("<HHI", 22, self._bits, mask) + guid
        head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
        self._fact_at = None
        if subtype == "FLOAT":
            self._fact_at = len(head) + 8
            head += b"fact" + struct.pack("<II", 4, 0)
        self._data_at = len(head) + 8
        self._bytes = 0
        file.write(head + b"data\0\0\0\0")

    def write(self, samples: NDArray[np.float32]) -> None:
        self._bytes += samples.size * self._bits // 8
        if self._bytes > _MAX_WAV_BYTES:
            raise AudioTooLongError("too long for a WAV file (4 GiB); write FLAC")
        if self._subtype == "FLOAT":
            self._file.write(samples.T.astype("<f4").tobytes())
            return
        values = steps(samples, self._bits).astype("<i4")
        if self._bits == 16:
            self._file.write(values.astype("<i2").tobytes())
        elif self._bits == 24:
            self._file.write(values.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
        else:
            self._file.write(values.tobytes())

    def close(self) -> None:
        self._file.write(b"\0" * (self._bytes % 2) + wav_chunks(self._tags))
        end = self._file.tell()
        for at, value in (
            (4, end - self._base - 8),
            (self._fact_at, self._bytes // self._frame),
            (self._data_at - 4, self._bytes),
        ):
            if at is not None:
                self._file.seek(self._base + at)
                self._file.write(struct.pack("<I", value))
        self._file.seek(end)

    def abandon(self) -> None:
        return


class VorbisWriter:
    """Ogg Vorbis by libsndfile, channels in the order of Vorbis I."""

    def __init__(self, file: IO[bytes], layout: Layout, rate: int, tags: Tags) -> None:
        import soundfile

        self.rate = rate
        stream = _VORBIS_ORDER.get(len(layout), layout)
        self._order = [layout.index(name) for name in stream]
        self._sink = Sink(file)
        self._errors = (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError)
        try:
            self._file = soundfile.SoundFile(
                self._sink,
                "w",
                rate,
                len(layout),
                format="OGG",
                subtype="VORBIS",
                compression_level=1 - _VORBIS_QUALITY,
            )
        except (*self._errors, AssertionError) as exc:
            self._sink.check()
            raise UnsupportedAudioError(
                f"ogg cannot hold {len(layout)} channels at {rate} Hz"
            ) from exc
        for name, attribute in VORBIS_STRINGS.items():
            if name in tags.text:
                setattr(self._file, attribute, tags.text[name])

    def write(self, samples: NDArray[np.float32]) -> None:
        frames = np.ascontiguousarray(samples[self._order].T, np.float32)
        try:
            self._file.write(frames)
        except (*self._errors, AssertionError) as exc:
            self._sink.check()
            raise UnsupportedAudioError("the vorbis encoder failed") from exc
        self._sink.check()

    def close(self) -> None:
        self._file.close()
        self._sink.check()

    def abandon(self) -> None:
        with suppress(*self._errors, AssertionError):
            self._file.close()
