"""Break many generations at random points and count what survived.

::

    python -m tests.robustness.kill --runs 200
    python -m tests.robustness.kill --runs 200 --database postgresql

See :mod:`tests.robustness.faults` for the faults and for what must hold after each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Exit code 1 if any invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="time,line,disk")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    from tests.robustness.faults import run

    server = None
    if options.database == "postgresql":
        from tests.support.databases import Server

        server = Server(fsync=True)
        os.environ["STUDIO_DATABASE_URL"] = server.make_database()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            tally = run(
                Path(folder),
                options.runs,
                seed=options.seed,
                kinds=tuple(options.kinds.split(",")),
                say=lambda line: print(line, file=sys.stderr) if options.verbose else None,
            )
    finally:
        if server is not None:
            server.remove()
    for line in tally.broken:
        print(f"BROKEN {line}", file=sys.stderr)
    print(tally.line(), file=sys.stderr)
    print(json.dumps({**vars(tally), "seconds": round(time.monotonic() - began)}))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
