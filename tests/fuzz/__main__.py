"""The long run: ``python -m tests.fuzz --inputs 2000`` (per target), docs/threat-model.md.

Every input is an honest example spoiled by random edits; the seed of the dice makes a run
repeatable. A crash is any exception the target does not declare, or a result that is wrong; a hang
is an input that takes longer than a minute; a leak is an error that names this machine's
folders. The input behind each finding is written to --keep.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import dice, spoil
from tests.fuzz.targets import TARGETS, Target

HANG_S = 60  # of wall clock, on a machine that may be busy


@dataclass
class Found:
    """What a run over one target came to."""

    inputs: int = 0
    accepted: int = 0
    crashes: int = 0
    hangs: int = 0
    leaks: int = 0


class _Hang(BaseException):
    """Not an Exception: no parser may swallow it."""


def _alarm(*_: object) -> None:
    raise _Hang


def fuzz(target: Target, inputs: int, seed: int, keep: Path | None = None) -> Found:
    """Run a target on so many spoiled examples."""
    rng, found, errors = random.Random(seed), Found(), target.errors()
    seeds = target.seeds()
    private = (str(Path.cwd()), tempfile.gettempdir() + "/fuzz-", str(Path.home()) + "/")
    before = signal.signal(signal.SIGALRM, _alarm)
    try:
        for number in range(inputs):
            honest = rng.choice(seeds)
            data = spoil(honest, dice(rng, len(honest)))
            finding = None
            signal.alarm(HANG_S)
            try:
                found.accepted += bool(target.run(data))
            except errors as error:
                if target.name not in _OPERATORS and any(part in str(error) for part in private):
                    found.leaks += 1
                    finding = f"leak: {error}"
            except _Hang:
                found.hangs += 1
                finding = "hang"
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                found.crashes += 1
                finding = f"{type(error).__name__}: {error}"
            finally:
                signal.alarm(0)
            found.inputs += 1
            if finding is not None and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                name = f"{target.name.replace(' ', '-')}-{seed}-{number}"
                (keep / name).write_bytes(data)
                print(f"{name}: {finding[:300]}", file=sys.stderr)
    finally:
        signal.signal(signal.SIGALRM, before)
    return found


# Files that only the operator writes, on this machine: their errors name the path for that reader.
_OPERATORS = ("studio.yaml", "model configurations")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="per target")
    parser.add_argument("--slow-inputs", type=int, default=200, help="where each takes a process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--keep", type=Path, help="folder for the inputs behind findings")
    options = parser.parse_args()
    bad = 0
    for target in TARGETS:
        if options.only not in target.name:
            continue
        since = time.monotonic()
        count = options.slow_inputs if target.slow else options.inputs
        found = fuzz(target, count, options.seed, options.keep)
        bad += found.crashes + found.hangs + found.leaks
        print(
            f"{target.name:24} {found.inputs:6} inputs, {found.accepted:6} accepted, "
            f"{found.crashes} crashes, {found.hangs} hangs, {found.leaks} leaks, "
            f"{time.monotonic() - since:6.1f} s",
            flush=True,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
