"""Make a catalogue of real lengths, scan it with kills, and say what a million files would take.

::

    python -m tests.bench.catalogue make --files 10000 --seed 1 --audio MUSIC --out FOLDER
    python -m tests.bench.catalogue scan --out FOLDER --engine local --kills 2
    python -m tests.bench.catalogue scan --out FOLDER --engine ray
    python -m tests.bench.catalogue scan --out FOLDER --program studio
    python -m tests.bench.catalogue command --out FOLDER --rows 1000000
    python -m tests.bench.catalogue table --out FOLDER

``MUSIC`` is a folder of music that the weights were not trained on, such as Debian's
``wesnoth-1.16-music``. ``scan`` measures processor time, so it may run under ``nice`` on a machine
that does other work; a scan that was stopped goes on with the same command. With ``--program
studio`` it is ``studio scan``, for a studio whose outputs are the sealed pieces and others.
``command`` measures what the command itself does for so many files, without audio. ``table`` prints
what is there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.bench.catalogue.making import described, make
from tests.bench.catalogue.scanning import scan
from tests.bench.catalogue.tables import tables


def main() -> None:
    """Make, scan, measure or print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make the files")
    making.add_argument("--files", type=int, default=10_000)
    making.add_argument("--seconds", type=float, nargs=2, help="bounds; default: as in catalogues")
    making.add_argument("--audio", type=Path, required=True, metavar="FOLDER", help="of music")
    scanning = commands.add_parser("scan", help="scan the files")
    scanning.add_argument("--engine", choices=("local", "ray"), default="local")
    scanning.add_argument(
        "--program", choices=("watermark", "studio"), default="watermark", help="whose scan"
    )
    scanning.add_argument("--kills", type=int, default=0, help="kill -9 the command so often")
    scanning.add_argument("--in-process", action="store_true", help="decode in the workers")
    scanning.add_argument("--name", help="of the run; default: engine and program")
    measuring = commands.add_parser("command", help="what the command does for so many rows")
    measuring.add_argument("--rows", type=int, default=1_000_000)
    printing = commands.add_parser("table", help="print what was measured")
    for each in (making, scanning, measuring):
        each.add_argument("--seed", type=int, default=1)
    for each in (making, scanning):
        each.add_argument("--jobs", type=int, default=2, help="processes")
    for each in (making, scanning, measuring, printing):
        each.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the bench")
    options = parser.parse_args()
    folder = options.out.absolute()
    if options.command == "make":
        began = time.monotonic()
        made = make(
            options.audio,
            folder,
            files=options.files,
            seed=options.seed,
            jobs=options.jobs,
            bounds=options.seconds,
        )
        print(described(folder, made))
        print(f"made in {time.monotonic() - began:,.0f} s")
    elif options.command == "scan":
        prefix = "studio-" if options.program == "studio" else ""
        name = options.name or prefix + options.engine
        chosen = ["--engine", options.engine, "--jobs", str(options.jobs)]
        chosen += ["--in-process"] * options.in_process
        runs = scan(
            folder,
            name,
            chosen,
            kills=options.kills,
            seed=options.seed,
            program=options.program,
        )
        for run in runs:
            print(run, flush=True)
        print(tables(folder))
    elif options.command == "command":
        from tests.bench.catalogue.million import measure

        measure(folder, rows=options.rows)
    else:
        print(tables(folder))


if __name__ == "__main__":
    main()
