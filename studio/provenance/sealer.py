"""The watermark models of pipeline and verification: embed and detect.

A thin seam over :mod:`watermark`: it turns the watermark package's errors into the studio's, and it
is what a test replaces to show that an unsealed file is never released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import ModelError, SealingError, UsageError

if TYPE_CHECKING:
    from watermark.audio.waveform import DecodeLimits, Waveform
    from watermark.coding.identify import Codebook
    from watermark.coding.message import SealId, SealKey
    from watermark.detection.detect import Detection
    from watermark.models.base import SealModel

__all__ = ["FalseNegativeRate", "Sealer"]

_STREAM_BLOCK_S = 0.4
"""Marked at a time where somebody listens meanwhile."""

_STREAM_AHEAD_S = 0.32
"""How far the networks look ahead there, instead of 1.92 s: the mark is 27 dB closer to the file's
than to silence, and is read as surely (three pieces of 10 s)."""


@dataclass(frozen=True, slots=True)
class FalseNegativeRate:
    """How often a seal that was there could not be named, as measured for a pair of models."""

    attack: str  # what had been done to the sealed clips; "clean" for nothing
    seconds: float  # length of each clip
    missed: int
    clips: int


class Sealer:
    """Marks and reads with one registered pair of seal models."""

    def __init__(self, model: SealModel) -> None:
        self._model = model

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> Sealer:
        """The pair of that name, on a device of PyTorch. Raises :class:`ModelError`."""
        from watermark.errors import SealModelError
        from watermark.models.loading import load_seal_model

        try:
            return cls(load_seal_model(name, device=device))
        except SealModelError as exc:
            raise ModelError(f"the seal model {name!r} cannot be used: {exc}") from exc

    def describe(self) -> Mapping[str, Any]:
        """Which pair this is, for the ledger."""
        return {"pair": self._model.id, "digest": self._model.digest}

    def seal(
        self, waveform: Waveform, seal_id: SealId, key: SealKey, *, strength: float
    ) -> Waveform:
        """The waveform with its seal; ``strength`` is a multiple of the pair's own (linear gain).

        What the pair calls its audibility limit is never exceeded.

        Raises :class:`UsageError` for a carrier too short and :class:`SealingError` for one too
        quiet to hold a seal.
        """
        from watermark.embedding.embed import embed
        from watermark.errors import CarrierTooShortError, WatermarkError

        try:
            return embed(
                waveform,
                seal_id,
                key,
                model=self._model,
                strength=min(strength, self._model.max_strength),
            )
        except CarrierTooShortError as exc:
            raise UsageError(str(exc)) from exc
        except WatermarkError as exc:
            raise SealingError(f"nothing was released: {exc}") from exc

    def seal_stream(
        self, windows: Iterable[Waveform], seal_id: SealId, key: SealKey, *, strength: float
    ) -> Iterator[Waveform]:
        """Watermark windows as they arrive, each less than a second later.

        The mark differs a little from that of :meth:`seal`.

        Raises :class:`watermark.errors.WatermarkError`.
        """
        from watermark.embedding.embed import embed_stream

        return embed_stream(
            windows,
            seal_id,
            key,
            model=self._model,
            strength=min(strength, self._model.max_strength),
            block_s=_STREAM_BLOCK_S,
            ahead_s=_STREAM_AHEAD_S,
        )

    def read(
        self,
        source: Waveform | Path | bytes,
        codebook: Codebook,
        *,
        limits: DecodeLimits | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Detection:
        """What the detector finds; ``progress`` is told the seconds read.

        Raises :class:`watermark.errors.AudioError`.
        """
        from watermark.detection.detect import detect

        told = None if progress is None else lambda seconds, _total: progress(seconds)
        return detect(source, model=self._model, codebook=codebook, limits=limits, progress=told)

    def false_negative_rates(self) -> tuple[FalseNegativeRate, ...]:
        """What the bench measured for this pair (``bench`` in its record); empty if nothing."""
        bench = self._model.record.get("bench")
        if not isinstance(bench, dict):
            return ()
        try:
            return tuple(
                FalseNegativeRate(
                    attack=str(row["attack"]),
                    seconds=float(bench["seconds"]),
                    missed=int(row["clips"]) - int(row["identified"]),
                    clips=int(row["clips"]),
                )
                for row in bench["results"]
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ModelError(
                f"the record of seal model {self._model.id} is damaged: {exc}"
            ) from exc
