"""Load a checkpoint: resolve, check the digest, read safely, build.

House checkpoints (:mod:`studio.music.models.house.performer`) are safetensors; hub checkpoints
(:mod:`studio.music.models.hub.loader`) are audiocraft's exports, which come back as the two
networks that `audiocraft.models.MusicGen` drives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.music.models.config import HOUSE_WEIGHTS, ModelConfig
from studio.music.models.integrity import check_digest

if TYPE_CHECKING:
    from studio.music.models.house.performer import HousePerformer
    from studio.music.models.hub.checkpoint import Checkpoint

__all__ = ["load_checkpoint", "load_performer"]


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
