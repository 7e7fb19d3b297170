"""Watermark a file; keep its metadata, report losses, or refuse.

:func:`watermark.embedding.embed.embed_stream` seals sound. Here a file becomes a file: its
channels keep their meaning, its sample format, tags and picture go along as far as the format
written can hold them, and the result is read back before it takes its name.

A carrier is refused where a copy of it could only be a part: cut short, damaged, with several audio
streams, or with channels or a rate that change on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from watermark.audio.channels import order
from watermark.audio.tags import Tags, left_out, read_tags
from watermark.audio.waveform import (
    CHILD_LIMITS,
    AudioFormat,
    AudioInfo,
    Encoder,
    Subtype,
    Waveform,
    format_of,
    source_name,
    stream,
)
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.detection.detect import Detection, detect
from watermark.embedding.embed import embed_stream, require_whole
from watermark.errors import (
    AudioError,
    CarrierError,
    UnreadableAudioError,
    UnsupportedAudioError,
)
from watermark.util.files import replacing, sweep

if TYPE_CHECKING:
    from watermark.coding.message import SealId, SealKey
    from watermark.models.base import SealModel

__all__ = ["SealedFile", "embed_file"]

_BLOCK_S = 20.0  # of the carrier in memory at a time
_BIN_S = 0.1  # of the levels that are compared
_AUDIBLE = 1e-3  # rms; a channel below -60 dBFS is not compared
_LOST = 0.5  # a channel that comes back with less of its level was not kept


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file that was written.

    Attributes:
        duration_s: of the carrier, seconds.
        found: the seal, as it was read back.
        notes: what the carrier had and the file has not, in words.
    """

    duration_s: float
    found: Detection
    notes: tuple[str, ...] = field(default=())


def embed_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    seal_id: SealId,
    key: SealKey,
    *,
    model: SealModel,
    strength: float | None = None,
    bitrate: int | None = None,
) -> SealedFile:
    """Seal a file into another; ``target`` is written whole or not at all.

    Args:
        source: the carrier; decoded in a child process.
        target: of the format that its extension names; must not be the carrier itself.
        seal_id, key, model, strength: as for :func:`watermark.embedding.embed.embed`.
        bitrate: bit/s, for mp3, m4a and opus.

    Raises:
        AudioError: the carrier cannot be read whole, or the format cannot hold it.
        CarrierError: too short or too quiet, or the seal cannot be read in what was encoded.
        OSError: the disk's own errors.
    """
    format = format_of(target)
    if _same(source, target):
        raise UnsupportedAudioError(
            f"{source_name(target)}: IN and OUT are the same file; nothing was written"
        )
    limits = CHILD_LIMITS
    sweep(Path(os.path.realpath(target)).parent)
    info = AudioInfo()
    name = source_name(source)
    carrier = _whole(stream(source, block_s=_BLOCK_S, limits=limits, info=info), info, name)
    sealed = embed_stream(carrier, seal_id, key, model=model, strength=strength)
    with replacing(target) as file:
        first = next(sealed)  # before the tags: what cannot be read is said once
        tags = read_tags(source, limits)
        subtype, notes = _subtype(format, info.subtype)
        encoder = Encoder(
            file,
            format,
            channels=first.channels,
            rate=first.rate,
            bitrate=bitrate,
            subtype=subtype,
            layout=first.layout,
            tags=tags,
        )
        given, length = _Levels(first), first.length
        with encoder:
            encoder.write(first.samples)
            for block in sealed:
                encoder.write(block.samples)
                given.push(block)
                length += block.length
        file.flush()
        duration_s = length / first.rate
        written = file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
        try:
            found = _read_back(
                written, first, given, Codebook([CodebookEntry(seal_id, key, duration_s)]), model
            )
        except AudioError as exc:
            reason = str(exc).split(": ", 1)[-1]
            raise UnsupportedAudioError(
                f"{source_name(target)}: what was encoded is not what was to be written "
                f"({reason}); nothing was written"
            ) from exc
        if not found.detected:
            raise CarrierError(
                f"{source_name(target)}: the seal cannot be read in the encoded file; nothing was "
                "written. Try a higher --strength or --bitrate"
            )
        notes += encoder.notes
        if encoder.clipped:
            share = encoder.clipped / max(1, length * first.channels)
            notes.append(
                f"{encoder.clipped:,} samples ({share:.2%}) beyond full scale were clipped; lower "
                "the level first, or write .wav from a floating-point file"
            )
        missing = left_out(tags, read_tags(written, limits)) if tags != Tags() else []
        if missing:
            notes.append(f"{format} does not hold these tags, left out: {', '.join(missing)[:300]}")
    return SealedFile(duration_s, found, (*info.notes, *notes))


def _same(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    try:
        return Path(source).samefile(target)
    except (OSError, ValueError):
        return False


def _whole(blocks: Iterator[Waveform], info: AudioInfo, name: str) -> Iterator[Waveform]:
    """The blocks of a carrier; raises where they are not all that the file holds."""
    for block in blocks:
        require_whole(info, name)
        yield block
    require_whole(info, name)


def _subtype(format: AudioFormat, given: Subtype | None) -> tuple[Subtype | None, list[str]]:
    """The sample format to write, and what is lost by it."""
    if format == "wav":
        return given, []
    if format != "flac":
        return None, []
    if given in (None, "PCM_16"):
        return given, []
    words = {"PCM_32": "32-bit", "FLOAT": "floating-point"}
    return "PCM_24", (
        [] if given == "PCM_24" else [f"{words[str(given)]} samples were written with 24 bits"]
    )


class _Levels:
    """The level of every channel, bin by bin; a few numbers a second."""

    def __init__(self, first: Waveform) -> None:
        self._size = max(1, round(_BIN_S * first.rate))
        self._rest = np.zeros((first.channels, 0), np.float32)
        self._bins: list[NDArray[np.float64]] = []
        self.push(first)

    def push(self, block: Waveform) -> None:
        joined = np.concatenate([self._rest, block.samples], axis=1)
        count = joined.shape[1] // self._size
        whole = joined[:, : count * self._size].reshape(joined.shape[0], count, self._size)
        self._bins.append(np.sqrt(np.mean(np.square(whole, dtype=np.float64), axis=2)))
        self._rest = joined[:, count * self._size :]

    def table(self) -> NDArray[np.float64]:
        """(channels, bins)"""
        return np.concatenate(self._bins, axis=1)


def _read_back(
    path: str, first: Waveform, given: _Levels, codebook: Codebook, model: SealModel
) -> Detection:
    """The seal in a written file, after every channel of it was found in its place."""
    limits = CHILD_LIMITS
    if first.channels > 1:
        info = AudioInfo()
        there: _Levels | None = None
        for block in stream(path, block_s=_BLOCK_S, limits=limits, info=info):
            if block.channels != first.channels:
                raise UnsupportedAudioError(f"{block.channels} channels came back")
            if there is None:
                there = _Levels(block)
            else:
                there.push(block)
        if there is None or info.damage is not None:
            raise UnreadableAudioError(info.damage or "no audio came back")
        table = given.table()
        if first.layout is not None:
            table = table[order(first.layout)]
        _compare(table, there.table())
    return detect(path, model=model, codebook=codebook, limits=limits)


def _compare(given: NDArray[np.float64], back: NDArray[np.float64]) -> None:
    """Raise where a channel came back elsewhere, or not."""
    bins = min(given.shape[1], back.shape[1])
    given, back = given[:, :bins], back[:, :bins]
    for number, levels in enumerate(given):
        loudness = float(np.sqrt(np.mean(np.square(levels)))) if bins else 0.0
        if loudness < _AUDIBLE:
            continue
        apart = np.mean(np.abs(back - levels), axis=1)  # (channels,)
        own = float(apart[number])
        if float(apart.min()) < 0.5 * own and own > 0.2 * loudness:
            raise UnsupportedAudioError(
                f"channel {number + 1} came back as channel {int(apart.argmin()) + 1}"
            )
        kept = float(np.sqrt(np.mean(np.square(back[number])))) / loudness
        if len(given) > 2 and kept < _LOST:
            raise UnsupportedAudioError(
                f"channel {number + 1} came back {-20 * np.log10(max(kept, 1e-6)):.0f} dB quieter"
            )
