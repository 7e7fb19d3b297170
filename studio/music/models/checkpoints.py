"""Load a checkpoint: resolve, check the digest, read safely, build.

House checkpoints (:mod:`studio.music.models.house.performer`) are safetensors; hub checkpoints
(:mod:`studio.music.models.hub.loader`) are audiocraft's exports, which come back as the two
networks that `audiocraft.models.MusicGen` drives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.core.errors import CheckpointError
from studio.music.models.config import HOUSE_WEIGHTS, ModelConfig

if TYPE_CHECKING:
    from audiocraft.models.encodec import CompressionModel
    from audiocraft.models.lm import LMModel

    from studio.music.models.house.performer import HousePerformer

__all__ = ["Checkpoint", "check_digest", "is_memory_error", "load_checkpoint", "load_performer"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded hub model. `digest` is the SHA-256 of its weights."""

    codec: CompressionModel
    lm: LMModel
    digest: str
    max_duration_s: float


def load_checkpoint(config: ModelConfig, *, offline: bool) -> Checkpoint:
    """Load the hub model that `config` names; with `offline` nothing is asked of the network.

    Raises :class:`CheckpointError` (absent, damaged, not the one expected),
    :class:`HubUnreachableError`, :class:`ModelMemoryError`, :class:`AudiocraftMissingError`.
    """
    from studio.music.models.hub.loader import load_hub_checkpoint

    return load_hub_checkpoint(config, offline=offline)


def load_performer(config: ModelConfig) -> HousePerformer:
    """Load the house model that `config` names.

    Raises :class:`CheckpointError`, :class:`ModelMemoryError`, :class:`AudiocraftMissingError`.
    """
    from studio.music.models.house.performer import HousePerformer

    model = HousePerformer.load(config.path or HOUSE_WEIGHTS)
    for name, digest in model.card["files"].items():
        check_digest(config, name, digest)
    return model


def check_digest(config: ModelConfig, name: str, digest: str) -> None:
    """Raise :class:`CheckpointError` unless `config` expects this digest, or none, of the file."""
    digests: Mapping[str, str] = config.digests
    expected = digests.get(name)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{name} of model {config.id!r} is not the file its configuration names: SHA-256 "
            f"{digest[:12]}… instead of {expected[:12]}…; fetch it again or correct the digest"
        )


def is_memory_error(exc: BaseException) -> bool:
    """Whether `exc` says that memory ran out; torch's CPU allocator raises a bare RuntimeError."""
    if isinstance(exc, MemoryError):
        return True
    signs = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(exc, RuntimeError) and any(sign in str(exc).lower() for sign in signs)
