"""Audio in and out: one Waveform type, bounded reading, streaming and writing.

Everything that crosses a module boundary as sound is a :class:`Waveform`: float32 samples of shape
``(channels, samples)`` together with their rate. Reading goes through
:mod:`watermark.audio.decoding`, which believes nothing a file says about itself; writing through
:mod:`watermark.audio.encoding`.

>>> import numpy as np
>>> tone = Waveform(0.1 * np.sin(np.arange(16_000, dtype=np.float32) / 8)[None], rate=16_000)
>>> tone.channels, tone.duration_s
(1, 1.0)
>>> again = read(encode(tone, "flac"))
>>> again.rate, bool(np.abs(again.samples - tone.samples).max() < 2**-15)
(16000, True)
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.channels import Layout
from watermark.audio.decoding import (
    AudioInfo,
    AudioSource,
    DecodeLimits,
    Subtype,
    decode_blocks,
    source_name,
)
from watermark.audio.encoding import FORMATS, AudioFormat, Encoder
from watermark.errors import AudioTooLongError, UnreadableAudioError, UnsupportedAudioError
from watermark.util.files import replacing

__all__ = [
    "CHILD_LIMITS",
    "FORMATS",
    "STREAM_LIMITS",
    "AudioFormat",
    "AudioInfo",
    "AudioSource",
    "DecodeLimits",
    "Encoder",
    "Subtype",
    "Waveform",
    "as_source",
    "as_waveform",
    "encode",
    "format_of",
    "read",
    "source_name",
    "stream",
    "write",
]

#: For :func:`stream`, which holds one block at a time: half a day of audio.
STREAM_LIMITS = DecodeLimits(max_duration_s=43_200.0, max_bytes=16 * 1024**3, deadline_s=3600.0)

#: In a child process even where no filter holds it: a decoder that crashes ends the child only.
CHILD_LIMITS = replace(STREAM_LIMITS, isolated=True, unfiltered=True)

_MOST_CHANNELS = 64  # a longer axis than this is that of the samples


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """Sound: samples and their rate.

    Attributes:
        samples: float32 of shape ``(channels, samples)``, nominally in [-1, 1], finite.
        rate: sample rate, Hz.
        layout: names of the channels, in order (:mod:`watermark.audio.channels`); None: not stated.

    Raises:
        UnreadableAudioError: samples of another shape or type, NaN or infinite.
        UnsupportedAudioError: a rate that is not positive.
    """

    samples: NDArray[np.float32]
    rate: int
    layout: Layout | None = None

    def __post_init__(self) -> None:
        samples: Any = self.samples  # callers without a type checker pass anything
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise UnreadableAudioError(
                f"a waveform holds a float32 numpy array, not {kind}; pass the samples with their "
                "rate to watermark.audio.waveform.as_waveform"
            )
        if samples.ndim != 2 or samples.shape[0] < 1:
            raise UnreadableAudioError(
                f"a waveform's samples have shape (channels, samples), not {samples.shape}"
            )
        if samples.shape[0] > _MOST_CHANNELS:
            turned = samples.shape[1] <= _MOST_CHANNELS
            raise UnreadableAudioError(
                f"a waveform's samples have shape (channels, samples), and {samples.shape} would "
                f"be {samples.shape[0]} channels"
                + ("; pass the array transposed (x.T)" if turned else "")
            )
        rate: Any = self.rate
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer):
            raise UnsupportedAudioError(f"a sample rate is a whole number of Hz, not {rate!r}")
        if self.rate < 1:
            raise UnsupportedAudioError(f"sample rate {self.rate} Hz")
        if self.layout is not None and len(self.layout) != samples.shape[0]:
            raise UnsupportedAudioError(
                f"{samples.shape[0]} channels with {len(self.layout)} names"
            )
        # A NaN comes through both, and an infinity through one of them.
        if samples.size and not np.isfinite([samples.max(), samples.min()]).all():
            raise UnreadableAudioError("a waveform holds NaN or infinite samples")

    @property
    def channels(self) -> int:
        """How many channels."""
        return int(self.samples.shape[0])

    @property
    def length(self) -> int:
        """Samples per channel."""
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.length / self.rate

    def mono(self) -> Waveform:
        """The mean of the channels, as one channel."""
        if self.channels == 1:
            return self
        return Waveform(self.samples.mean(axis=0, keepdims=True, dtype=np.float32), self.rate)

    def slice(self, start_s: float, end_s: float | None = None) -> Waveform:
        """The sound from ``start_s`` to ``end_s`` seconds (default: the end), as far as it goes."""
        start = max(0, round(start_s * self.rate))
        end = self.length if end_s is None else max(start, round(end_s * self.rate))
        return Waveform(self.samples[:, start:end], self.rate, self.layout)

    def resample(self, rate: int) -> Waveform:
        """Resample by soxr's VHQ filter (aliases below -150 dB, no delay)."""
        if rate == self.rate:
            return self
        if rate < 1:
            raise UnsupportedAudioError(f"sample rate {rate} Hz")
        import soxr

        frames = soxr.resample(np.ascontiguousarray(self.samples.T), self.rate, rate, quality="VHQ")
        return Waveform(np.ascontiguousarray(frames.T, np.float32), rate, self.layout)


def as_waveform(samples: Any, rate: float | None) -> Waveform:
    """A numpy array or torch tensor as a waveform.

    Args:
        samples: (samples,), (channels, samples) or, as soundfile has it, (samples, channels), of
            at most 64 channels; float, or 16-bit or 32-bit integers of full scale.
        rate: Hz.

    Raises:
        UnreadableAudioError: samples of another shape or type, NaN or infinite.
        UnsupportedAudioError: no rate, or one that is not a whole number above 0.

    >>> import numpy as np
    >>> as_waveform(np.zeros((44_100, 2)), 44_100).channels
    2
    """
    if rate is None:
        raise UnsupportedAudioError("an array does not say its sample rate; pass rate=, in Hz")
    given: Any = rate
    if isinstance(given, bool) or not isinstance(given, int | float | np.number):
        raise UnsupportedAudioError(f"a sample rate is a whole number of Hz, not {given!r}")
    if not float(given).is_integer():
        raise UnsupportedAudioError(f"a sample rate is a whole number of Hz, not {given!r}")
    if _is_tensor(samples):
        try:
            samples = samples.detach().cpu().numpy()
        except (TypeError, RuntimeError, NotImplementedError) as exc:  # bfloat16, sparse, meta
            raise UnreadableAudioError(
                f"a tensor of {samples.dtype} on {samples.device} cannot be read; pass one of "
                "float32 (x.float())"
            ) from exc
    array = samples
    if array.size == 0:
        raise UnreadableAudioError(f"an array of shape {array.shape} holds no samples")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype in (np.int16, np.int32):
        array = array / np.float64(-float(np.iinfo(array.dtype).min))
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise UnreadableAudioError(
            f"samples are float, or 16-bit or 32-bit integers, not {array.dtype}"
        )
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 2 and array.shape[1] <= _MOST_CHANNELS < array.shape[0]:
        array = array.T
    return Waveform(np.ascontiguousarray(array, np.float32), int(rate))


def _is_tensor(source: Any) -> bool:
    """Whether it is one of torch, without importing torch."""
    return hasattr(source, "detach") and hasattr(source, "numpy")


def as_source(source: Any, rate: float | None = None) -> AudioSource | Waveform:
    """What a caller may pass as audio: refuses everything else with what to pass instead.

    Args:
        source: a path, a file's bytes, a waveform, or a numpy array or torch tensor with its rate.
        rate: of an array or tensor, Hz; not given with anything else.

    Raises:
        UnreadableAudioError, UnsupportedAudioError: nothing of the kind, or a rate with a source
            that says its own.
    """
    if isinstance(source, np.ndarray) or _is_tensor(source):
        return as_waveform(source, rate)
    if not isinstance(source, Waveform | str | os.PathLike | bytes | bytearray | memoryview):
        raise UnreadableAudioError(
            f"audio is a path, a file's bytes, a Waveform, or a numpy array or torch tensor with "
            f"rate=, not {type(source).__name__}"
        )
    if rate is not None:
        raise UnsupportedAudioError("rate= goes with an array or tensor; this source says its own")
    return source


def read(
    source: AudioSource, limits: DecodeLimits | None = None, *, info: AudioInfo | None = None
) -> Waveform:
    """Decode a whole file (or its bytes) of any handled format; the extension is not looked at.

    A file that is cut short or damaged in places is read as far as it goes.

    Args:
        source: path or content.
        limits: what is decoded at most.
        info: filled with what is known of the file beside its samples, what is missing included.

    Raises:
        UnreadableAudioError: not there, not audio, empty, damaged, or holding NaN or infinity.
        UnsupportedAudioError: channels, rate or codec outside what is handled.
        AudioTooLongError: over a limit on duration, size, memory or time.
    """
    limits = limits or DecodeLimits()
    info = AudioInfo() if info is None else info
    blocks: list[NDArray[np.float32]] = []
    rate = values = 0
    for block, rate in _blocks(source, limits, info):  # noqa: B007 - the rate is used below
        values += block.size
        if values > limits.max_values:
            raise AudioTooLongError(
                f"{source_name(source)}: more audio than is read into memory at once "
                f"({limits.max_values * 4 / 1e6:,.0f} MB)"
            )
        blocks.append(block)
    return Waveform(np.concatenate(blocks, axis=1), rate, _layout(info, blocks[0]))


def _layout(info: AudioInfo, block: NDArray[np.float32]) -> Layout | None:
    known = info.layout is not None and len(info.layout) == block.shape[0]
    return info.layout if known else None


def stream(
    source: AudioSource,
    *,
    block_s: float,
    limits: DecodeLimits | None = None,
    info: AudioInfo | None = None,
) -> Iterator[Waveform]:
    """Decode in blocks of exactly ``block_s`` seconds (the last may be shorter), one in memory.

    Args:
        source: as for :func:`read`.
        block_s: seconds per block, at least one sample.
        limits: default :data:`STREAM_LIMITS`.
        info: as for :func:`read`; complete when the iteration has ended.

    Raises:
        UnreadableAudioError, UnsupportedAudioError, AudioTooLongError: as :func:`read`, but perhaps
            after some blocks: a consumer that must not act on half a file waits for the end.
    """
    held: list[NDArray[np.float32]] = []
    have = rate = 0
    layout: Layout | None = None
    info = AudioInfo() if info is None else info
    for block, rate in _blocks(source, limits or STREAM_LIMITS, info):
        if not have:
            layout = _layout(info, block)
        need = max(1, round(block_s * rate))
        held.append(block)
        have += block.shape[1]
        while have >= need:
            joined = np.concatenate(held, axis=1)
            yield Waveform(np.ascontiguousarray(joined[:, :need]), rate, layout)
            held = [joined[:, need:]]
            have -= need
    if have:
        yield Waveform(np.concatenate(held, axis=1), rate, layout)


def _blocks(
    source: AudioSource, limits: DecodeLimits, info: AudioInfo
) -> Iterator[tuple[NDArray[np.float32], int]]:
    if not limits.isolated:
        return decode_blocks(source, limits, info)
    from watermark.audio.sandbox import isolated_blocks

    return isolated_blocks(source, limits, info=info)


def encode(
    waveform: Waveform,
    format: AudioFormat,
    *,
    bitrate: int | None = None,
    subtype: Subtype | None = None,
) -> bytes:
    """The waveform as a file of that format; see :class:`watermark.audio.encoding.Encoder`.

    >>> import numpy as np
    >>> encode(Waveform(np.zeros((2, 100), np.float32), 44_100), "wav")[:4]
    b'RIFF'
    """
    buffer = io.BytesIO()
    _encode_into(buffer, waveform, format, bitrate, subtype)
    return buffer.getvalue()


def write(
    path: str | os.PathLike[str],
    waveform: Waveform,
    format: AudioFormat | None = None,
    *,
    bitrate: int | None = None,
    subtype: Subtype | None = None,
) -> None:
    """Write a file that is there whole or not at all; the format defaults to the extension's.

    Raises:
        UnsupportedAudioError: unknown extension, or the format cannot hold this audio.
        OSError: the disk's own errors (full, read-only).
    """
    chosen = format or format_of(path)
    with replacing(path) as file:
        _encode_into(file, waveform, chosen, bitrate, subtype)


def format_of(path: str | os.PathLike[str]) -> AudioFormat:
    """The format a file name asks for by its extension."""
    extension = Path(path).suffix.lower().removeprefix(".")
    for format in FORMATS:
        if extension == format:
            return format
    raise UnsupportedAudioError(
        f"{source_name(path)}: cannot tell the format from the extension; "
        f"use one of .{', .'.join(FORMATS)}"
    )


def _encode_into(
    file: io.BytesIO | io.BufferedRandom,
    waveform: Waveform,
    format: AudioFormat,
    bitrate: int | None,
    subtype: Subtype | None,
) -> None:
    with Encoder(
        file,
        format,
        channels=waveform.channels,
        rate=waveform.rate,
        bitrate=bitrate,
        subtype=subtype,
        layout=waveform.layout,
    ) as encoder:
        encoder.write(waveform.samples)
