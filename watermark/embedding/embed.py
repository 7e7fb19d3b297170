"""Embed the keyed message sequence into audio of any rate and length.

One canonical path: the mark is computed at 16 kHz on the mono mix, upsampled, and added to every
channel of the full-band original. Nothing else is done to the carrier. The work is streamed in
blocks whose borders lie on the track's own time grid, with as much context as the networks look
at, so it neither depends on how the audio arrives nor grows with its length.

The sum never clips: where carrier plus mark would pass full scale (or the carrier's own level where
that is above full scale already), the *mark* is cut at that sample. Only the mark is limited, by at
most its own size.

A carrier that cannot hold a seal is an error, never an unsealed file: shorter than 2 s, or with
less than 2 s above -60 dBFS in the mono mix.

>>> import numpy as np
>>> from watermark.audio.waveform import Waveform
>>> from watermark.coding.message import SealId, SealKey
>>> from watermark.models.base import SealModel
>>> noise = np.random.default_rng(0).standard_normal((2, 3 * 44_100)).astype(np.float32)
>>> carrier = Waveform(0.1 * noise, 44_100)
>>> key, seal_id = SealKey(epoch=1, secret=bytes(32)), SealId(bytes(8))
>>> sealed = embed(carrier, seal_id, key, model=SealModel.random())
>>> sealed.samples.shape, bool(np.abs(sealed.samples - carrier.samples).max() > 0)
((2, 132300), True)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.audio.dsp import QUIET_DBFS, Resampler, mix_down
from watermark.audio.waveform import AudioInfo, AudioSource, Waveform, as_source, read, source_name
from watermark.coding.message import SealId, SealKey, messages
from watermark.errors import (
    CarrierTooQuietError,
    CarrierTooShortError,
    SealIdError,
    SealKeyError,
    SealModelError,
    UnreadableAudioError,
    UnsupportedAudioError,
)
from watermark.models.base import SEAL_RATE, SealModel, require_model

if TYPE_CHECKING:
    import torch

__all__ = ["MAX_RATE", "MIN_CARRIER_S", "MIN_RATE", "embed", "embed_stream", "require_whole"]

#: The shortest carrier, seconds; also how much of it must be above :data:`QUIET_DBFS`.
MIN_CARRIER_S = 2.0
MIN_RATE, MAX_RATE = 8_000, 96_000  # Hz
FULL_SCALE = 1.0 - 2.0**-15  # the largest 16-bit value: an integer file does not clip either
_BLOCK_S = 40.96  # marked at a time; a whole number of cells of either kind of model
_SUM_SAMPLES = 1 << 16  # added and limited at a time, to stay in the cache


def embed(
    source: AudioSource | Waveform | NDArray[Any] | torch.Tensor,
    seal_id: SealId,
    key: SealKey,
    *,
    model: SealModel,
    rate: float | None = None,
    strength: float | None = None,
) -> Waveform:
    """The waveform with its seal; same rate, channels and length.

    Args:
        source: the carrier, 8 to 96 kHz: a path, a file's bytes, a waveform, or an array or tensor
            of samples.
        seal_id: the id whose keyed sequence is embedded, second 0 at sample 0.
        key: of the epoch.
        model: from :func:`watermark.models.loading.load_seal_model`.
        rate: of an array or tensor, Hz.
        strength: linear gain on the mark, above 0; 1 is the model's own (AudioSeal's alpha).

    Raises:
        AudioError: the source could not be decoded, or is nothing that can be read.
        CarrierTooShortError, CarrierTooQuietError: nothing could be sealed.
        UnsupportedAudioError: sample rate outside 8 to 96 kHz.
        SealModelError: strength not positive, or above the audibility limit ``model.max_strength``;
            a model that is not loaded.
        SealIdError, SealKeyError: an id or a key of another kind.
    """
    carrier = as_source(source, rate)
    if isinstance(carrier, Waveform):
        waveform = carrier
    else:
        info = AudioInfo()
        waveform = read(carrier, info=info)
        require_whole(info, source_name(carrier))
    blocks = embed_stream([waveform], seal_id, key, model=model, strength=strength)
    return Waveform(
        np.concatenate([b.samples for b in blocks], axis=1), waveform.rate, waveform.layout
    )


def require_whole(info: AudioInfo, name: str) -> None:
    """Refuse a carrier of which a sealed copy would only be a part.

    Raises:
        UnreadableAudioError: it is cut short or damaged.
        UnsupportedAudioError: it holds several audio streams, or changes its channels or rate.
    """
    if info.streams > 1:
        raise UnsupportedAudioError(
            f"{name}: the file holds {info.streams} audio streams, and only one could be kept; "
            "take the one you mean out first. Nothing was written"
        )
    if not info.uniform:
        change = info.notes[-1] if info.notes else "the channels change"
        raise UnsupportedAudioError(
            f"{name}: {change}; seal the parts one by one. Nothing was written"
        )
    if info.damage is not None:
        raise UnreadableAudioError(
            f"{name}: {info.damage}; only a whole file is sealed. Nothing was written"
        )


def embed_stream(
    blocks: Iterable[Waveform],
    seal_id: SealId,
    key: SealKey,
    *,
    model: SealModel,
    strength: float | None = None,
    block_s: float = _BLOCK_S,
    ahead_s: float | None = None,
) -> Iterator[Waveform]:
    """Seal a carrier that arrives in blocks (of any sizes), in constant memory.

    `block_s` seconds are marked at a time: less comes sooner and takes more work. `ahead_s` is how
    far beyond them the networks look: less than they do by themselves (the default) comes sooner,
    and the mark differs a little.

    By default yields blocks that together are what :func:`embed` gives for the whole carrier. That
    the carrier was too short or too quiet is known at its end only, and raised there: keep what was
    yielded under a temporary name until the iteration has ended.

    Raises:
        as :func:`embed`; also UnsupportedAudioError for blocks that differ in rate or channels.
    """
    require_model(model)
    if not isinstance(seal_id, SealId):
        raise SealIdError(f"seal_id is a SealId, not {type(seal_id).__name__}; pass SealId.parse()")
    if not isinstance(key, SealKey):
        raise SealKeyError(f"key is a SealKey, not {type(key).__name__}; pass SealKey.load()")
    chosen = 1.0 if strength is None else strength
    if isinstance(chosen, bool) or not isinstance(chosen, int | float | np.number):
        raise SealModelError(f"strength is a number, not {type(chosen).__name__}")
    if not 0 < chosen <= model.max_strength:
        raise SealModelError(
            f"strength {chosen:g} is not above 0 and at most {model.max_strength:g}, the limit up "
            f"to which {model.id} was found inaudible enough"
        )
    sealer: _Sealer | None = None
    for block in blocks:
        if sealer is None:
            length = (block_s, ahead_s)
            sealer = _Sealer(block.rate, block.channels, seal_id, key, model, chosen, *length)
        sealed = sealer.push(block)
        if sealed.shape[1]:
            yield Waveform(sealed, block.rate, block.layout)
    if sealer is None:
        raise CarrierTooShortError("the carrier is empty")
    rest = sealer.finish()
    if rest.shape[1]:
        yield Waveform(rest, sealer.rate, block.layout)


@dataclass
class _Queue:
    """Samples waiting, (channels, n), with the absolute index of the first."""

    samples: NDArray[np.float32]
    first: int = 0

    @property
    def end(self) -> int:
        return self.first + int(self.samples.shape[1])

    def append(self, more: NDArray[np.float32]) -> None:
        self.samples = np.concatenate([self.samples, more], axis=1)

    def drop_before(self, index: int) -> None:
        cut = max(0, index - self.first)
        self.samples = self.samples[:, cut:]
        self.first += cut


class _Sealer:
    """The state of one streamed sealing."""

    def __init__(
        self,
        rate: int,
        channels: int,
        seal_id: SealId,
        key: SealKey,
        model: SealModel,
        strength: float,
        block_s: float,
        ahead_s: float | None = None,
    ) -> None:
        if not MIN_RATE <= rate <= MAX_RATE:
            raise UnsupportedAudioError(
                f"a carrier's sample rate is {MIN_RATE} to {MAX_RATE} Hz, not {rate}"
            )
        self.rate, self.channels = rate, channels
        self._seal_id, self._key, self._model, self._strength = seal_id, key, model, strength
        self._scramble = model.scramble(key)
        self._down = Resampler(rate, SEAL_RATE)
        self._up = Resampler(SEAL_RATE, rate)
        self._original = _Queue(np.zeros((channels, 0), np.float32))
        self._mono = _Queue(np.zeros((1, 0), np.float32))
        self._residual = _Queue(np.zeros((1, 0), np.float32))
        self._block = max(1, round(block_s / model.cell_s)) * model.cell_samples
        self._context = model.context_cells * model.cell_samples
        self._ahead = self._context
        if ahead_s is not None:
            self._ahead = min(self._ahead, round(ahead_s / model.cell_s) * model.cell_samples)
        self._marked = 0  # 16 kHz samples whose mark is done
        self._audible_cells = 0

    def push(self, block: Waveform) -> NDArray[np.float32]:
        if block.rate != self.rate or block.channels != self.channels:
            raise UnsupportedAudioError("the blocks of a carrier differ in rate or channels")
        self._original.append(block.samples)
        self._mono.append(self._down.push(mix_down(block))[None])
        while self._mono.end >= self._marked + self._block + self._ahead:
            self._mark_block(self._marked + self._block)
        return self._ready()

    def finish(self) -> NDArray[np.float32]:
        """The rest; raises where the whole carrier could not be sealed."""
        seconds = self._original.end / self.rate
        if seconds < MIN_CARRIER_S:
            raise CarrierTooShortError(
                f"the carrier lasts {seconds:.2f} s; a seal needs {MIN_CARRIER_S:g} s"
            )
        self._mono.append(self._down.finish()[None])
        while self._marked < self._mono.end:
            self._mark_block(min(self._mono.end, self._marked + self._block))
        audible = self._audible_cells * self._model.cell_s
        if audible < MIN_CARRIER_S - self._model.cell_s:
            raise CarrierTooQuietError(
                f"only {audible:.1f} s of the carrier's mono mix are above {QUIET_DBFS:g} dBFS; "
                f"a seal needs {MIN_CARRIER_S:g} s of sound"
            )
        self._residual.append(self._up.finish()[None])
        missing = self._original.end - self._residual.end
        if missing > 0:  # the two resamplers round the length by a sample
            self._residual.append(np.zeros((1, missing), np.float32))
        return self._ready()

    def _mark_block(self, end: int) -> None:
        """Mark 16 kHz samples up to ``end``, from a host with context on both sides."""
        cell = self._model.cell_samples
        start = max(0, self._marked - self._context)
        host = self._mono.samples[0, start - self._mono.first :][: end + self._ahead - start]
        cells = -(-len(host) // cell)
        seconds = self._model.cell_seconds(cells, start // cell)
        first, last = int(seconds[0]), int(seconds[-1])
        rows = messages(self._key, self._seal_id, last - first + 1, first)[seconds - first]
        if self._scramble is not None:
            at = (start // cell + np.arange(cells)) % len(self._scramble)
            rows = rows ^ self._scramble.bits[at]
        mark = self._model.mark(np.ascontiguousarray(host), rows, self._strength)
        mark = mark[self._marked - start : end - start]
        self._count_audible(host[self._marked - start : end - start])
        self._residual.append(self._up.push(mark)[None])
        self._marked = end
        self._mono.drop_before(max(0, end - self._context))

    def _count_audible(self, host: NDArray[np.float32]) -> None:
        cell = self._model.cell_samples
        whole = host[: len(host) // cell * cell].reshape(-1, cell)
        level = np.sqrt(np.mean(np.square(whole, dtype=np.float64), axis=1))  # (cells,)
        self._audible_cells += int(np.sum(level > 10 ** (QUIET_DBFS / 20)))

    def _ready(self) -> NDArray[np.float32]:
        """Original plus residual, as far as both are there."""
        end = min(self._original.end, self._residual.end)
        count = end - self._original.first
        sealed = np.empty((self.channels, count), np.float32)
        for at in range(0, count, _SUM_SAMPLES):
            part = slice(at, min(at + _SUM_SAMPLES, count))
            original, out = self._original.samples[:, part], sealed[:, part]
            np.add(original, self._residual.samples[:, part], out=out)
            if max(float(out.max()), -float(out.min())) > FULL_SCALE:
                limit = np.maximum(np.abs(original), FULL_SCALE)
                np.clip(out, -limit, limit, out=out)
        self._original.drop_before(end)
        self._residual.drop_before(end)
        return sealed
