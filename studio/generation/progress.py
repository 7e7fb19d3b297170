"""The progress of a request, and its cancellation.

>>> seen = []
>>> run = Run(seen.append, threading.Event())
>>> run.enter(Stage.GENERATE, "Generating")
>>> run.generated(5.0, 10.0)
>>> [(str(step.stage), step.fraction) for step in seen]
[('generate', 0.02), ('generate', 0.42)]
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

from studio.core.errors import GenerationCancelledError
from studio.generation.preview import Preview, Seal

__all__ = ["OnProgress", "Progress", "Run", "Stage"]

_logger = logging.getLogger(__name__)


class Stage(StrEnum):
    """Where a request stands."""

    CONSENT = "consent"
    RESERVE = "reserve"
    GENERATE = "generate"
    SEAL = "seal"
    ENCODE = "encode"
    TAG = "tag"
    SIGN = "sign"
    READ_BACK = "read-back"
    RELEASE = "release"
    DONE = "done"


# How far along a whole request each stage begins; generation takes most of the time.
_BEGINS = {
    Stage.CONSENT: 0.0,
    Stage.RESERVE: 0.01,
    Stage.GENERATE: 0.02,
    Stage.SEAL: 0.82,
    Stage.ENCODE: 0.87,
    Stage.TAG: 0.89,
    Stage.SIGN: 0.90,
    Stage.READ_BACK: 0.91,
    Stage.RELEASE: 0.98,
    Stage.DONE: 1.0,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One step forward; ``fraction`` is of the whole request and never falls."""

    stage: Stage
    fraction: float
    text: str


OnProgress = Callable[[Progress], None]


class Run:
    """Progress, cancellation and preview of one request."""

    def __init__(
        self, on_progress: OnProgress, cancel: threading.Event, preview: Preview | None = None
    ) -> None:
        self._on_progress = on_progress
        self.cancel = cancel
        self.preview = preview
        self._fraction = 0.0
        self._stage: tuple[Stage, float] | None = None  # and since when (monotonic, s)

    def enter(self, stage: Stage, text: str, *, can_cancel: bool = True) -> None:
        if can_cancel:
            self.check()
        self._log(stage)
        self._report(stage, _BEGINS[stage], text)

    def _log(self, stage: Stage) -> None:
        now = time.monotonic()
        if self._stage is not None:
            ended, since = self._stage
            _logger.info("stage %s took %.2f s", ended, now - since)
        self._stage = (stage, now)

    def generated(self, done_s: float, total_s: float) -> None:
        """The generator's own progress, in seconds of music."""
        begin, end = _BEGINS[Stage.GENERATE], _BEGINS[Stage.SEAL]
        share = min(1.0, done_s / total_s) if total_s > 0 else 0.0
        text = f"Generating: {done_s:.1f} of {total_s:.1f} s"
        self._report(Stage.GENERATE, begin + (end - begin) * share, text)

    def previewed(self, seal: Seal) -> AbstractContextManager[None]:
        """A block in which the preview, if there is one, is sealed by ``seal``."""
        return nullcontext() if self.preview is None else self.preview.sealed_by(seal)

    def check(self) -> None:
        if self.cancel.is_set():
            raise GenerationCancelledError("cancelled; nothing was kept")

    def _report(self, stage: Stage, fraction: float, text: str) -> None:
        # A second sealing attempt goes back a stage, the bar does not.
        self._fraction = max(self._fraction, fraction)
        self._on_progress(Progress(stage, self._fraction, text))
