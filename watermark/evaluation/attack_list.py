"""Lists of attacks: YAML files such as ``configs/watermark/attacks.yaml``.

>>> len(load_attacks(shipped_attacks())) > 50
True
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from watermark.errors import BenchError
from watermark.evaluation.distortions import AttackSpec, recordings_in

__all__ = [
    "default_attacks",
    "load_attacks",
    "shipped_attacks",
    "with_recordings",
    "without_missing_plugins",
]


def shipped_attacks() -> Path:
    """The list that comes with the package: inside it, or in its checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"  # an installed wheel carries it there (pyproject.toml)
    folder = inside if inside.is_dir() else package.parent / "configs" / "watermark"
    return folder / "attacks.yaml"


def default_attacks() -> Path:
    """The list below ``configs`` of the working directory, or else the one that is shipped."""
    here = Path.cwd() / "configs"
    for path in (here / "watermark" / "attacks.yaml", here / "attacks.yaml"):
        if path.exists():
            return path
    return shipped_attacks()


def load_attacks(path: str | os.PathLike[str]) -> tuple[AttackSpec, ...]:
    """Read a list of attacks: under ``attacks``, per entry ``name``, ``family``, ``apply``,
    where modules are needed for it ``needs``, and the function's parameters beside them.

    Raises:
        BenchError: no such file, not YAML, an unknown function or parameter, a name used twice.
    """
    import yaml

    name = Path(path).name
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        entries = [dict(entry) for entry in loaded["attacks"]]
        specs = tuple(_spec(entry) for entry in entries)
    except OSError as exc:
        raise BenchError(f"attack list {name}: {(exc.strerror or 'unreadable').lower()}") from exc
    except yaml.YAMLError as exc:
        raise BenchError(f"attack list {name}: not YAML") from exc
    except (KeyError, TypeError, ValueError) as exc:
        raise BenchError(
            f"attack list {name}: entries need name, family and apply under 'attacks'"
        ) from exc
    names = [spec.name for spec in specs]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice or not specs:
        raise BenchError(f"attack list {name}: " + (f"{twice[0]!r} twice" if twice else "empty"))
    return specs


def _spec(entry: dict[str, Any]) -> AttackSpec:
    name, family, apply = (str(entry.pop(key)) for key in ("name", "family", "apply"))
    needs = tuple(str(module) for module in entry.pop("needs", ()))
    return AttackSpec(name, family, apply, entry, needs)


def with_recordings(
    specs: Sequence[AttackSpec], folder: str | os.PathLike[str] | None
) -> tuple[tuple[AttackSpec, ...], tuple[str, ...]]:
    """Attacks that mix recordings in, with those of ``folder``; without one, they are left out.

    Returns: the attacks, and the names of those left out.

    Raises:
        BenchError: a folder without a wav, ogg or flac file.
    """
    needs = {spec.name for spec in specs if spec.apply == "recorded-noise"}
    if folder is None:
        kept = tuple(spec for spec in specs if spec.name not in needs)
        return kept, tuple(spec.name for spec in specs if spec.name in needs)
    if needs and not recordings_in(str(folder)):
        raise BenchError(f"no wav, ogg or flac file in {Path(folder).name}; name another --noise")
    given = {"folder": str(folder)}
    return tuple(
        replace(spec, parameters={**spec.parameters, **given}) if spec.name in needs else spec
        for spec in specs
    ), ()


def without_missing_plugins(
    specs: Sequence[AttackSpec],
) -> tuple[tuple[AttackSpec, ...], dict[str, str]]:
    """Attacks whose plugins can run here.

    Returns: the attacks, and of those left out, by name, the modules they need.
    """
    kept, left_out = [], {}
    for spec in specs:
        missing = [name for name in spec.needs if find_spec(name) is None]
        if missing:
            left_out[spec.name] = ", ".join(missing)
        else:
            kept.append(spec)
    return tuple(kept), left_out
