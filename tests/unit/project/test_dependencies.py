"""Every library that the packages import is declared, where its absence would be noticed."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from watermark.util.extras import EXTRAS, install_hint

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

MODULES = {
    "argon2-cffi": "argon2",
    "c2pa-python": "c2pa",
    "prometheus-client": "prometheus_client",
    "pyfluidsynth": "fluidsynth",
    "pyyaml": "yaml",
    "pillow": "PIL",
}
"""Distributions whose module has another name."""

BESIDE = {"audiocraft", "sqlalchemy", "starlette", "pydantic_core"}
"""Added by hand (audiocraft), or a part of what is declared."""


def declared(requirements: list[str]) -> set[str]:
    names = (canonicalize_name(Requirement(text).name) for text in requirements)
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


BASE = declared(PROJECT["dependencies"])
OPTIONAL = {extra: declared(PROJECT["optional-dependencies"][extra]) for extra in EXTRAS}


def imports(package: str) -> Iterator[tuple[str, str]]:
    """(file, imported top-level module) of every import statement, lazy ones too."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            yield from ((str(path.relative_to(ROOT)), name.partition(".")[0]) for name in names)


def undeclared(package: str, known: set[str]) -> set[tuple[str, str]]:
    ours = {"studio", "watermark", *sys.stdlib_module_names}
    return {(file, name) for file, name in imports(package) if name not in ours | known}


@pytest.mark.slow
def test_what_is_imported_is_declared():
    known = BASE | BESIDE | set().union(*OPTIONAL.values())
    assert undeclared("studio", known) == set()
    assert undeclared("watermark", known) == set()


def test_watermark_needs_an_extra_only_where_it_can_do_without():
    found = undeclared("watermark", BASE)
    assert {name for _, name in found} <= {"matplotlib", "huggingface_hub", "omegaconf"}


def test_an_import_that_nobody_declared_is_found():
    assert ("watermark/cli/main.py", "click") in undeclared("watermark", BASE - {"click"})


def test_whoever_lacks_a_module_of_an_extra_is_told_which():
    for extra, modules in OPTIONAL.items():
        for module in modules:
            hint = install_hint(ModuleNotFoundError(name=f"{module}.part"))
            assert hint is not None, module
            assert extra in hint or module in BASE
    assert install_hint(ModuleNotFoundError(name="studio.nothing")) is None
