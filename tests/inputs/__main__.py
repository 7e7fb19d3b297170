"""Inputs from bug reports: what every command says of each, before and after.

``python -m tests.inputs [--only TEXT] [--module NAME] [--before TREE]``; TREE is a checkout of an
earlier commit (``git worktree add TREE COMMIT``). The exit code is 1 where an answer is not the
right one. With ``--keep FILE`` the answers of each tree are kept, and what is there is not asked
again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.inputs import MODULES
from tests.inputs.case import COMMANDS, Case
from tests.inputs.running import Tree

_AT_ONCE = 20  # inputs of one studio


def cases(only: str = "", module: str = "") -> list[Case]:
    """Every case whose name holds ``only`` and whose parts are installed, of that module or all."""
    modules = [name for name in MODULES if name.endswith(module)]
    found = [case for name in modules for case in import_module(name).CASES]
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


def _there(path: Path | None) -> bool:
    return path is not None and path.exists()


def right(case: Case, command: str, word: str) -> bool:
    wanted = case.wanted[command].split("|")
    return word in wanted or (word.endswith(" notes") and word.split(",")[0] in wanted)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.inputs", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--module", default="", help="cases of the module of that name")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--keep", type=Path, help="JSON file of answers, made or continued")
    options = parser.parse_args()
    chosen = cases(options.only, options.module)
    here = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="inputs-") as name:
        trees = {"after": here}
        if options.before is not None:
            trees["before"] = options.before.resolve()
        kept = json.loads(options.keep.read_text()) if _there(options.keep) else {}
        for when, tree in trees.items():
            known = kept.setdefault(when, {})
            fresh = [case for case in chosen if case.name not in known]
            for at in range(0, len(fresh), _AT_ONCE):
                part = fresh[at : at + _AT_ONCE]
                known |= answers(tree, Path(name) / f"{when}-{at}", part)
                if options.keep is not None:
                    options.keep.write_text(json.dumps(kept, indent=1))
        after, before = kept["after"], kept.get("before") if options.before else None
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
