"""Decide what an actor may see or hear of an original beside a suspect file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from studio.accounts.permissions import Actor, Permission
from studio.app.use_cases.base import owns

if TYPE_CHECKING:
    from studio.app.container import Container

__all__ = ["hears_output", "is_of_original", "sees_record", "without_original"]

_OF_ORIGINAL = frozenset({"original.png", "difference.png"})


def sees_record(studio: Container, actor: Actor, output_id: str) -> bool:
    """Whether the actor may see the record of an output, and so a picture of its sound."""
    return actor.may(Permission.RECORDS) or owns(studio, actor, Permission.OWN_OUTPUTS, output_id)


def hears_output(studio: Container, actor: Actor, output_id: str) -> bool:
    """Whether the actor may have the sound of an output."""
    return actor.may(Permission.ALL_OUTPUTS) or owns(
        studio, actor, Permission.OWN_OUTPUTS, output_id
    )


def is_of_original(name: str) -> bool:
    """Whether a file of a compared part shows something of the original."""
    return name in _OF_ORIGINAL


def without_original(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The files of a compared part that show nothing of the original."""
    return {name: content for name, content in files.items() if name not in _OF_ORIGINAL}
