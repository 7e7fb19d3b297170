"""Reads training recipes: YAML files whose parts are the fields of dataclasses."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from studio.core.errors import ConfigError

__all__ = ["read_options", "read_part", "read_profile"]


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


_Config = TypeVar("_Config", bound=_Dataclass)


def read_options(path: Path, part: str) -> dict[str, Any]:
    """A part of a recipe as it stands there. Raises :class:`ConfigError`."""
    return _mapping(path, _read(path), part)


def read_part(config: type[_Config], path: Path, part: str) -> _Config:
    """A part of a recipe as a dataclass. Raises :class:`ConfigError`; unknown options too."""
    return _built(config, path, read_options(path, part))


def read_profile(config: type[_Config], path: Path, profile: str, **built: Any) -> _Config:
    """The part ``training`` with what a profile changes; ``built`` are fields made elsewhere.

    Raises :class:`ConfigError` for an unknown profile or option.
    """
    data = _read(path)
    profiles = _mapping(path, data, "profiles")
    if profile not in profiles:
        raise ConfigError(f"{path} has no profile {profile!r}; profiles are {', '.join(profiles)}")
    training = _mapping(path, data, "training") if "training" in data else {}
    return _built(config, path, {**training, **_mapping(path, profiles, profile), **built})


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"cannot read the recipe {path}: {exc}") from exc
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is no recipe: it must name its parts")
    return data


def _mapping(path: Path, data: dict[str, Any], part: str) -> dict[str, Any]:
    found = data.get(part)
    if not isinstance(found, dict):
        raise ConfigError(f"cannot read the recipe {path}: no part {part!r} with options")
    return found


def _built(config: type[_Config], path: Path, options: dict[str, Any]) -> _Config:
    if unknown := set(options) - {field.name for field in fields(config)}:
        raise ConfigError(f"{path}: unknown option {', '.join(sorted(map(str, unknown)))}")
    try:
        return config(**options)
    except TypeError as exc:
        raise ConfigError(f"cannot read the recipe {path}: {exc}") from exc
