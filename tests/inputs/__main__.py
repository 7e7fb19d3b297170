"""Inputs from bug reports: what every command says of each, before and after.

``python -m tests.inputs [--only TEXT] [--before TREE]``; TREE is a checkout of an earlier commit
(``git worktree add TREE COMMIT``). The exit code is 1 where an answer is not the right one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.inputs import MODULES
from tests.inputs.case import COMMANDS, Case
from tests.inputs.running import Tree


def cases(only: str = "") -> list[Case]:
    """Every case of every module whose name holds ``only`` and whose parts are installed."""
    found = [case for module in MODULES for case in import_module(module).CASES]
    return [
        case
        for case in found
        if only.lower() in case.name.lower() and all(shutil.which(part) for part in case.parts)
    ]


def answers(tree: Path, folder: Path, chosen: list[Case]) -> dict[str, dict[str, str]]:
    run = Tree(tree, folder)
    source = run.source()
    run.run([(case, case.make(source)) for case in chosen], source)
    return run.answers


def right(case: Case, command: str, word: str) -> bool:
    return word.split(",")[0] in case.wanted[command].split("|")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.inputs", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    options = parser.parse_args()
    chosen = cases(options.only)
    here = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="inputs-") as name:
        after = answers(here, Path(name) / "after", chosen)
        before = None
        if options.before is not None:
            before = answers(options.before.resolve(), Path(name) / "before", chosen)
    wrong = total = mended = 0
    print("| item | input | command | " + ("before | " if before else "") + "after | right |")
    print("|---|---|---|" + ("---|" if before else "") + "---|---|")
    for case in sorted(chosen, key=lambda case: case.item):
        for command in COMMANDS:
            if command not in case.wanted:
                continue
            word = after[case.name][command]
            good = right(case, command, word)
            total += 1
            wrong += not good
            cells = [str(case.item), case.name, command]
            if before is not None:
                was = before[case.name][command]
                mended += good and not right(case, command, was)
                cells.append(was if right(case, command, was) else f"**{was}**")
            print("| " + " | ".join([*cells, word, "yes" if good else "**NO**"]) + " |")
    print(f"\n{len(chosen)} inputs, {total} answers, {wrong} not right", end="")
    print(f", {mended} mended" if before is not None else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
