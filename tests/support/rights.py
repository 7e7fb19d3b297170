"""Commands as somebody who may not open everything, for tests that root runs too."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["as_another_user", "open_folder", "run_bound"]

_PR_CAPBSET_DROP = 24
_NOBODY = 65534
_OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def run_bound(program: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """``watermark`` or ``studio`` in a process that the rights of files bind, like everybody's.

    Root's right to pass them over is given up before the program starts.
    """
    source = f"import sys; from {program}.cli.main import main; sys.argv[0] = {program!r}; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        preexec_fn=_give_up_overrides,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        **options,
    )


def _give_up_overrides() -> None:
    if os.geteuid() == 0:
        for capability in _OVERRIDES:
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@contextmanager
def as_another_user() -> Iterator[None]:
    """Give up root for a while: real and effective user become one that owns nothing.

    Whoever is not root stays who he is. What is imported for the first time meanwhile has to lie
    where everybody may read.
    """
    if os.geteuid() != 0:
        yield
        return
    os.setresgid(_NOBODY, _NOBODY, 0)
    groups = os.getgroups()
    os.setgroups([])
    os.setresuid(_NOBODY, _NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may look into, and only its maker write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o700)
