"""One input: how it is made, and what each command should answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["COMMANDS", "Case", "Source", "ffmpeg"]

COMMANDS = ("detect", "identify", "scan", "embed", "verify", "line")

SEALED = {"detect": "sealed", "identify": "named", "scan": "sealed", "verify": "sealed"}
EXCERPT = {**SEALED, "verify": "excerpt"}
UNREADABLE = {
    **dict.fromkeys(("detect", "identify", "scan", "verify"), "unreadable"),
    "embed": "refused",
}


@dataclass(frozen=True, slots=True)
class Source:
    """What inputs are made from.

    Attributes:
        sealed: a released piece of 12 s, WAV, whose seal and content are registered.
        plain: other music, WAV, of the same length and without a seal.
        folder: where to put inputs.
    """

    sealed: Path
    plain: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One input and the words that are right.

    Attributes:
        name: of the input, as the table shows it.
        item: of the issue that it belongs to.
        make: makes the file and says where it is; its name is free.
        wanted: by command, the right word; several stand with ``|`` between. A command that is not
            named is not run.
        out: name of the file that ``embed`` writes, or what makes it.
        options: more arguments of ``embed``.
        line: for the command ``line``: what bash runs in the folder (:mod:`tests.inputs.lines`).
        parts: Debian parts that making it needs.
    """

    name: str
    item: int
    make: Callable[[Source], Path]
    wanted: Mapping[str, str]
    out: str | Callable[[Source, Path], Path] = "out.wav"
    options: tuple[str, ...] = ()
    line: str = ""
    parts: tuple[str, ...] = field(default=())


def ffmpeg(*arguments: str | Path, to: Path | None = None) -> None:
    """Run Debian's ffmpeg; with ``to``, write its standard output there, as a pipe would."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    if to is None:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return
    made = subprocess.run([*command, "-"], check=True, capture_output=True)
    to.write_bytes(made.stdout)
