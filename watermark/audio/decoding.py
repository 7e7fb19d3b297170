"""Decode untrusted files to bounded blocks of float samples.

What arrives here was sent by a stranger. A 396 kB FLAC can hold hours of silence, a WAV header can
claim a thousand channels, a playlist can name a URL. So nothing is believed: the content's first
bytes choose the decoder (a file's extension is never looked at), containers and codecs come from a
list, no protocol is allowed, audio is decoded block by block, and every block is checked against
:class:`DecodeLimits` before the next is made. Whatever goes wrong leaves as a
:class:`~watermark.errors.AudioError` that names the file and nothing else of the machine.

WAV, AIFF and AU go through libsndfile, everything else through FFmpeg's libraries (PyAV), which
trim encoder delay and padding where the file states them; both are sample-exact where the codec is
lossless. What a header says and the file contradicts is put right
(:mod:`watermark.audio.containers`).

A file cut short, or with damaged packets among good ones, is read as far as it can be: a suspect
clip is worth reading even if its end is missing. Whatever a decoder delivered is kept when its next
call fails; :class:`AudioInfo` says that something is missing. Packets that are mostly damaged are
no audio. Sections that stand one behind the other are all read, in the first one's shape.

>>> from watermark.audio.waveform import Waveform, encode
>>> import numpy as np
>>> data = encode(Waveform(np.zeros((1, 8000), np.float32), 8000), "wav")
>>> [block.shape for block, rate in decode_blocks(data, DecodeLimits())]
[(1, 8000)]
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.containers import View, look
from watermark.audio.ffmpeg import ffmpeg_blocks
from watermark.audio.limits import (
    AudioInfo,
    AudioSource,
    DecodeLimits,
    Guard,
    Subtype,
    no_such_stream,
    open_guarded,
    open_source,
    source_name,
)
from watermark.errors import UnreadableAudioError, UnsupportedAudioError

__all__ = [
    "AudioInfo",
    "AudioSource",
    "DecodeLimits",
    "Subtype",
    "decode_blocks",
    "open_source",
    "source_name",
]

_BLOCK = 65_536  # samples per channel asked of libsndfile at a time
_MOST_NOTES = 16  # on changes within one file
# What libsndfile is asked to read. It drops what it decoded of a FLAC whose length is not stated.
_SNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"riff")
_SNDFILE_SUBTYPES: dict[str, Subtype] = {
    "PCM_S8": "PCM_16",
    "PCM_U8": "PCM_16",
    "PCM_16": "PCM_16",
    "PCM_24": "PCM_24",
    "PCM_32": "PCM_32",
    "FLOAT": "FLOAT",
    "DOUBLE": "FLOAT",
}


def decode_blocks(
    source: AudioSource | io.BufferedIOBase, limits: DecodeLimits, info: AudioInfo | None = None
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode to ``(samples (channels, n), rate in Hz)`` blocks of one number of channels and rate.

    Blocks are of the decoder's size (at most a few seconds). At least one non-empty block comes, or
    an error is raised. An open binary file is read from its beginning, and closed.

    Args:
        source: path, content or open file.
        limits: what is decoded at most, and which stream.
        info: filled with what is known of the file beside its samples.

    Raises:
        UnreadableAudioError: not there, not audio, empty, damaged, or holding NaN or infinity.
        UnsupportedAudioError: channels or sample rate outside the limits, or no listed codec.
        AudioTooLongError: over a limit on duration, bytes or time.
    """
    guard = Guard(source_name(source), limits)
    info = AudioInfo() if info is None else info
    opened = open_guarded(source, guard)
    try:
        found = look(opened)
        if not found.magic:
            raise UnreadableAudioError(f"{guard.name}: the file is empty")
        if found.not_read is not None:
            raise UnsupportedAudioError(f"{guard.name}: {found.not_read} files are not handled")
        info.layout, info.damage = found.layout, found.damage
        info.notes.extend(found.notes)
        shaper = _Shaper(guard, info)
        for number, section in enumerate(found.sections):
            blocks = _section_blocks(section, guard, info)
            try:
                for block, rate in blocks:
                    yield from shaper.fit(block, rate)
            except (UnreadableAudioError, UnsupportedAudioError) as exc:
                if number == 0:
                    raise
                reason = str(exc).split(": ", 1)[-1]
                info.damage = info.damage or f"section {number + 1} cannot be read: {reason}"
        yield from shaper.finish()
        if guard.samples == 0:
            raise UnreadableAudioError(f"{guard.name}: the file holds no audio samples")
    finally:
        opened.close()


def _section_blocks(
    view: View, guard: Guard, info: AudioInfo
) -> Iterator[tuple[NDArray[np.float32], int]]:
    magic = view.part(0, 4).read(4)
    view.seek(0)
    if magic.startswith(_SNDFILE_MAGIC):
        return _sndfile_blocks(view, guard, info)
    return ffmpeg_blocks(view, guard, info)


class _Shaper:
    """Gives every block the channels and the rate of the first, after checking it."""

    def __init__(self, guard: Guard, info: AudioInfo) -> None:
        self._guard, self._info = guard, info
        self._first: tuple[int, int] | None = None
        self._now: tuple[int, int] | None = None
        self._resampler: Any = None

    def fit(
        self, block: NDArray[np.float32], rate: int
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        channels = block.shape[0]
        self._guard.check_format(channels, rate)
        self._guard.check_samples(block)
        if self._first is None:
            self._first = self._now = (channels, rate)
        if (channels, rate) != self._now:
            yield from self.finish()
            self._change(channels, rate)
        if channels != self._first[0]:
            block = _with_channels(block, self._first[0])
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(np.ascontiguousarray(block.T))
            block = np.ascontiguousarray(frames.T)
        yield from self._checked(block)

    def finish(self) -> Iterator[tuple[NDArray[np.float32], int]]:
        """What the resampler of a section still holds."""
        if self._resampler is not None:
            assert self._first is not None
            empty = np.zeros((0, self._first[0]), np.float32)
            frames = self._resampler.resample_chunk(empty, last=True)
            self._resampler = None
            yield from self._checked(np.ascontiguousarray(frames.T))

    def _change(self, channels: int, rate: int) -> None:
        assert self._first is not None
        self._now = (channels, rate)
        self._info.uniform = False
        if len(self._info.notes) < _MOST_NOTES:
            at_s = self._guard.samples / self._first[1]
            self._info.notes.append(
                f"from {at_s:.1f} s on the file has {channels} channels at {rate} Hz; they were "
                f"read as {self._first[0]} at {self._first[1]} Hz"
            )
        if rate != self._first[1]:
            import soxr

            self._resampler = soxr.ResampleStream(
                rate, self._first[1], self._first[0], dtype="float32", quality="VHQ"
            )

    def _checked(self, block: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], int]]:
        assert self._first is not None
        if block.shape[1] == 0:
            return
        self._guard.check_length(block.shape[1], self._first[1])
        self._guard.pause()
        yield block, self._first[1]
        self._guard.resume()


def _with_channels(block: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """As a player would: one channel goes to all, and of several the mean."""
    mono = block.mean(axis=0, keepdims=True, dtype=np.float32)
    return np.ascontiguousarray(np.repeat(mono, channels, axis=0))


def _sndfile_blocks(
    view: View, guard: Guard, info: AudioInfo
) -> Iterator[tuple[NDArray[np.float32], int]]:
    import soundfile

    errors = (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError)
    if guard.limits.stream > 0:
        raise no_such_stream(guard)
    try:
        file = soundfile.SoundFile(view)
    except errors as exc:
        # WAV and AIFF may hold codecs that only FFmpeg knows.
        view.seek(0)
        try:
            yield from ffmpeg_blocks(view, guard, info)
        except UnreadableAudioError:
            raise UnreadableAudioError(f"{guard.name}: not an audio file that can be read") from exc
        return
    with file:
        guard.check_format(file.channels, file.samplerate)
        info.subtype = _SNDFILE_SUBTYPES.get(file.subtype)
        while True:
            block = np.empty((_BLOCK, file.channels), np.float32)
            before = file.tell()
            failure = None
            try:
                count = len(file.read(out=block))
            except errors as exc:
                # What was decoded before the failure is in the block.
                failure, count = exc, max(0, min(_BLOCK, file.tell() - before))
            if count:
                yield np.ascontiguousarray(block[:count].T), int(file.samplerate)
            if failure is not None and guard.samples == 0:
                raise UnreadableAudioError(f"{guard.name}: the audio is damaged") from failure
            if failure is not None:
                info.damage = info.damage or "the file is damaged; the rest could not be read"
            if failure is not None or count == 0:
                return
