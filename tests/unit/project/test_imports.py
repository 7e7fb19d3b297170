"""Importing is free: no heavy library, no file, no environment, no logging, no thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAVY = (
    "torch",
    "gradio",
    "transformers",
    "audiocraft",
    "audioseal",
    "fastapi",
    "matplotlib",
    "av",
    "c2pa",
    "reportlab",
    "segno",
)

PROBE = """
import builtins, logging, os, sys, threading
opened = []
real_open = builtins.open
def spy(file, *args, **kwargs):
    opened.append(str(file))
    return real_open(file, *args, **kwargs)
builtins.open = spy
class Watched(dict):
    reads = []
    def __getitem__(self, key): Watched.reads.append(key); return super().__getitem__(key)
    def get(self, key, default=None): Watched.reads.append(key); return super().get(key, default)
os.environ = Watched(os.environ)
import {module}
heavy = [name for name in {heavy} if name in sys.modules]
assert not heavy, f"imported {{heavy}}"
mine = [path for path in opened if path.endswith((".yaml", ".db", ".json"))]
assert not mine, f"opened {{mine}}"
ours = [key for key in Watched.reads if key.startswith(("STUDIO_", "HF_", "XDG_"))]
assert not ours, f"read {{ours}}"
assert not logging.getLogger().handlers
assert threading.active_count() == 1
"""


@pytest.mark.parametrize(
    "module",
    [
        "studio",
        "studio.cli.main",
        "studio.app.container",
        "studio.generation.pipeline",
        "studio.verification.verifier",
        "studio.consent",
        "studio.provenance.ledger.log",
        "studio.provenance.credentials.signing",
        "studio.reports.receipt.pdf",
        "studio.app.operation.profiling",
        "watermark.audio.sandbox",
        "studio.music",
        "studio.music.training",
        "watermark",
    ],
)
def test_importing_is_free(module):
    code = PROBE.format(module=module, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_probe_catches_a_heavy_import(tmp_path: Path):
    """The negative control: a module that imports gradio or reads the environment is caught."""
    for number, line in enumerate(["import fastapi", "import os; os.environ.get('STUDIO_HOME')"]):
        (tmp_path / f"culprit{number}.py").write_text(line)
        code = PROBE.format(module=f"culprit{number}", heavy=HEAVY)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode != 0, line


def test_what_is_exported_exists():
    import importlib

    for name in (
        "consent",
        "generation.pipeline",
        "verification.verifier",
        "app.container",
        "core.config",
        "core.paths",
        "core.errors",
        "core.tags",
    ):
        module = importlib.import_module(f"studio.{name}")
        assert [item for item in module.__all__ if not hasattr(module, item)] == []
