"""Checks while a model is loaded: its files are those expected, and memory did not run out."""

from __future__ import annotations

from collections.abc import Mapping

from studio.core.errors import CheckpointError
from studio.music.models.config import ModelConfig

__all__ = ["check_digest", "is_memory_error"]


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
