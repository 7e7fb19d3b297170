"""Whether a model's files are on this machine; looks without loading, importing torch or asking
the network.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio.music.models.config import ModelConfig

__all__ = ["is_here", "why_unusable"]

_FILES = ("state_dict.bin", "compression_state_dict.bin")


def is_here(config: ModelConfig) -> bool:
    """Whether the files of a model lie on this machine, in its directory or the hub's cache."""
    if config.kind == "house":
        return True
    if config.path is not None:
        return all((config.path / name).is_file() for name in _FILES)
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    assert config.repo is not None  # ModelConfig requires one of the two
    return all(
        isinstance(
            try_to_load_from_cache(config.repo, name, revision=config.revision or "main"), str
        )
        for name in _FILES
    )


def why_unusable(config: ModelConfig) -> str | None:
    """Why no music can be made with a model here, as a sentence; None: nothing stands against it.

    A model that may be fetched when it is first used (``HF_HUB_OFFLINE=0``) can be used.
    """
    if is_here(config):
        return None
    if config.path is None and os.environ.get("HF_HUB_OFFLINE", "").upper() in _NO:
        return None
    size = "" if config.download_mb is None else f" (about {config.download_mb / 1000:g} GB)"
    return (
        f"Its files{size} are not on this machine. Whoever runs the studio can fetch them "
        f"(studio models fetch {config.id}) or name a directory with them (docs/models.md)."
    )


_NO = ("0", "OFF", "NO", "FALSE")
