"""A hub model as it is after loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiocraft.models.encodec import CompressionModel
    from audiocraft.models.lm import LMModel

__all__ = ["Checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded hub model. `digest` is the SHA-256 of its weights."""

    codec: CompressionModel
    lm: LMModel
    digest: str
    max_duration_s: float
