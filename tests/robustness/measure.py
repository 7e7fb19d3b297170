"""What the threat model states about damage, measured again.

::

    python -m tests.robustness.measure kills --runs 30
    python -m tests.robustness.measure disk --runs 30
    python -m tests.robustness.measure flips --runs 70
    python -m tests.robustness.measure columns
    python -m tests.robustness.measure memory --runs 1000

``kills`` and ``disk`` break generate, import, rotate (seal, ledger), backup and restore
(:mod:`tests.robustness.operations`); ``flips`` and ``columns`` change one byte of the database
(:mod:`tests.robustness.flips`); ``memory`` sends requests to a running studio
(:mod:`tests.robustness.memory`). One JSON object a line on stdout, words on stderr. Exit code 1
where anything was broken, or a change of a right or a record was not found.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "disk", "flips", "columns", "memory"])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one operation: generate, import, 'rotate seal', ...")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # what the studio says of each interruption

    def say(line: str) -> None:
        if options.verbose:
            print(line, file=sys.stderr, flush=True)

    began, bad = time.monotonic(), False
    with tempfile.TemporaryDirectory(prefix="studio-measure-") as folder:
        if options.what in ("kills", "disk"):
            from tests.robustness.operations import OPERATIONS, run

            fault = "kill" if options.what == "kills" else "disk"
            for kind in OPERATIONS:
                if options.only in (None, kind.name):
                    place = Path(folder) / kind.name.replace(" ", "-")
                    figures = run(kind, fault, place, options.runs, seed=options.seed, say=say)
                    for line in figures.broken:
                        print(f"BROKEN {line}", file=sys.stderr)
                    print(figures.line(), file=sys.stderr, flush=True)
                    print(json.dumps(vars(figures)), flush=True)
                    bad |= bool(figures.broken)
        elif options.what == "memory":
            from tests.robustness.memory import measure_memory

            print(json.dumps(asdict(measure_memory(Path(folder), options.runs, say=say))))
        else:
            from tests.robustness.flips import columns, flips

            found = (
                columns(Path(folder), say=say)
                if options.what == "columns"
                else flips(Path(folder), options.runs, seed=options.seed, say=say)
            )
            for line in found.missed:
                print(f"MISSED {line}", file=sys.stderr)
            print(found.line(), file=sys.stderr)
            print(json.dumps(vars(found)))
            bad = bool(found.missed)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
