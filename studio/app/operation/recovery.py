"""Recovery at start: finish or discard what a crash left behind."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.generation.releasing.staging import RecoveryReport

__all__ = ["recover"]

_logger = logging.getLogger(__name__)


def recover(studio: Container) -> RecoveryReport:
    """Finish or discard what a crash left behind; carry out revocations that came due."""
    from studio.generation.releasing import staging

    studio.paths.create()
    report = staging.recover(studio.paths, studio.ledger())
    service = studio.consent_service()
    restoration = service.restoration()
    if restoration is not None:
        _logger.warning("%s", restoration.text())
    service.enforce()  # a revocation may have come due, or been interrupted
    withdrawn = service.withdrawn_files()
    missing = tuple(name for name in report.missing if name not in withdrawn)
    return replace(report, missing=missing)
