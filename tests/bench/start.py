"""How long the studio takes from a cold process: ``python -m tests.bench.start [--tree DIR]...``

Each command is a process of its own, in a home that was used before. With several trees (checkouts
of other versions) they take turns in one run. Printed is the least of the runs: seconds by the
clock, and of the processor, which other work on the machine lengthens less.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

GENERATE = ("generate", "--tags", "genre/jazz", "--seconds", "10", "--seed", "7", "--format", "wav")
COMMANDS = {
    "studio --version": ("--version",),
    "studio tags": ("tags",),
    "studio generate, 10 s": GENERATE,
    "studio serve, until the page is there": ("serve",),
}
_HERE = Path(__file__).resolve().parents[2]


def timed(tree: Path, home: Path, words: tuple[str, ...]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    environment = {
        **os.environ, "PYTHONPATH": str(tree), "STUDIO_HOME": str(home), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "studio", *words]
    before, began = _spent(), time.monotonic()
    if words[0] != "serve":
        subprocess.run(command, env=environment, cwd=tree, check=True, capture_output=True)
        return time.monotonic() - began, _spent() - before
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command += ["--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=tree, stderr=subprocess.DEVNULL) as server:
        while not _answers(f"http://127.0.0.1:{port}/"):
            if server.poll() is not None:
                raise SystemExit("the server has ended")
            time.sleep(0.02)
        took = time.monotonic() - began
        server.kill()
        server.wait()
    return took, _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Print a line per command and tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, action="append", help="checkouts; this one by default")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=list(COMMANDS), action="append")
    arguments = parser.parse_args()
    trees = arguments.tree or [_HERE]
    with tempfile.TemporaryDirectory() as folder:
        homes = {tree: Path(folder) / str(number) for number, tree in enumerate(trees)}
        for tree, home in homes.items():
            timed(tree, home, GENERATE)
        for name in arguments.only or COMMANDS:
            runs: dict[Path, list[tuple[float, float]]] = {tree: [] for tree in trees}
            for _ in range(arguments.runs):
                for tree in trees:
                    runs[tree].append(timed(tree, homes[tree], COMMANDS[name]))
            for tree in trees:
                wall, spent = (min(times) for times in zip(*runs[tree], strict=True))
                print(f"{name}: {wall:.2f} s, processor {spent:.2f} s  ({tree})", flush=True)


if __name__ == "__main__":
    main()
