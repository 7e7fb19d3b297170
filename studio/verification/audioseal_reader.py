"""Detect Meta's public 16-bit AudioSeal watermark, where its weights are.

In ``studio.yaml``::

    verify:
      other_readers: [studio.verification.audioseal_reader:open_reader]

``$AUDIOSEAL_CONFIG`` names a file like ``configs/watermark/hub.yaml``, with the paths of the two
checkpoints. ``calibration.json`` beside it, which `studio calibrate-reader` writes, makes the score
more than a hint; one of other weights is left aside. Anybody can mark with the public pair: a mark
that it finds says nothing about who put it there.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import ConfigError
from studio.verification.other_marks import MarkCalibration, MarkFinding

if TYPE_CHECKING:
    from watermark.audio.waveform import Waveform
    from watermark.models.base import SealModel

__all__ = ["AudioSealReader", "open_reader"]

_logger = logging.getLogger(__name__)


class AudioSealReader:
    """Reads with one pair; ``model`` gives log odds and 16 bits for cells of 16 kHz sound."""

    name = "AudioSeal (public, 16 bits)"

    def __init__(self, model: SealModel, calibration: MarkCalibration | None = None) -> None:
        self._model = model
        self._calibration = calibration

    def read(self, recording: Waveform) -> MarkFinding:
        """The score is the share of cells that look marked; the message their mean."""
        from watermark.models.base import SEAL_RATE

        mono = recording.mono().resample(SEAL_RATE).samples[0]
        pilot, bits = self._model.read(mono)
        marked = pilot[0] > 0
        score = float(marked.mean()) if marked.size else 0.0
        message = None
        if marked.any():
            message = "".join("1" if value > 0 else "0" for value in bits[0][marked].mean(axis=0))
        return MarkFinding(self.name, self._model.id, score, self._calibration, message)


def open_reader() -> AudioSealReader:
    """The reader of ``$AUDIOSEAL_CONFIG``. Raises :class:`ConfigError`: no weights there."""
    from watermark.errors import SealModelError
    from watermark.models.base import SealModelConfig
    from watermark.models.loading import load_seal_model

    named = os.environ.get("AUDIOSEAL_CONFIG")
    if not named:
        raise ConfigError("AUDIOSEAL_CONFIG names no file with the paths of AudioSeal's weights")
    try:
        model = load_seal_model(SealModelConfig.load(named))
        beside = Path(named).with_name("calibration.json")
        kept = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None
        return AudioSealReader(model, None if kept is None else _calibration(kept, model.id))
    except (SealModelError, OSError, ValueError, TypeError, LookupError) as exc:
        raise ConfigError(f"the reader of AudioSeal cannot be opened: {exc}") from exc


def _calibration(kept: dict[str, Any], model_id: str) -> MarkCalibration | None:
    """The calibration in a file; None where it was made with other weights."""
    if kept.get("version", model_id) != model_id:
        _logger.warning(
            "the calibration of the reader of AudioSeal is of %s, not of the weights %s; run "
            "`studio calibrate-reader` again",
            kept["version"],
            model_id,
        )
        return None
    return MarkCalibration(**{field.name: kept[field.name] for field in fields(MarkCalibration)})
