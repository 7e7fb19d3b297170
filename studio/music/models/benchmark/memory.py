"""What one variant takes, measured in a process of its own: peak and lasting resident memory.

``python -m studio.music.models.benchmark.memory SHAPE VARIANT CONTEXT`` prints one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from studio.core.errors import ModelError

__all__ = ["measure_memory"]


def measure_memory(shape: str, variant: str, context: int) -> dict[str, float]:
    """MB at the peak and after `context` steps' caches are filled, `variant` alone in a process.

    Raises :class:`ModelError` if that process fails, such as for lack of memory.
    """
    done = subprocess.run(  # noqa: S603 - this interpreter, this module
        [sys.executable, "-m", __name__, shape, variant, str(context)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["killed"]
        raise ModelError(f"measuring the memory of {variant} failed: {last[0]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _status() -> dict[str, float]:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        "peak_mb": round(int(fields["VmHWM"].split()[0]) / 1024),
        "resident_mb": round(int(fields["VmRSS"].split()[0]) / 1024),
    }


def _main(shape: str, name: str, context: int) -> None:
    import torch

    from studio.music.models.benchmark.shapes import SHAPES, musicgen_shape
    from studio.music.models.benchmark.steps import make_variant, text_condition

    torch.set_num_threads(1)
    with torch.inference_mode():
        lm: Any = musicgen_shape(**SHAPES[shape]).lm
        variant = make_variant(lm, name, text_condition(lm), longest=context + 1, release=True)
        variant.at(context)
        variant.step(torch.zeros(1, lm.n_q, 1, dtype=torch.int64))
    click.echo(json.dumps(_status()))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
