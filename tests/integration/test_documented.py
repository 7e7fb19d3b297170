"""What README and docs tell a person to type exists, and every document they point at does too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])

_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def commands_in(text: str) -> Iterator[str]:
    """Lines of fenced blocks that call one of our commands, continuations joined, comments cut."""
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if re.match(r"^(studio|watermark|make|nohup \S*studio) \S", line):
                yield line.removeprefix("nohup ").removeprefix(".venv/bin/")


def check(line: str) -> None:
    """Raise where the command, or one of its options, does not exist."""
    words = shlex.split(line, comments=True)
    for end in ("|", ">", "2>", ">>", "&", "&&", ";"):
        if end in words:
            words = words[: words.index(end)]
    program, arguments = words[0], words[1:]
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [word for word in arguments if "=" not in word and word not in targets]
        assert not unknown, f"no such make target: {unknown}"
        return
    if program == "studio":
        from studio.cli.main import cli as command
    else:
        from watermark.cli.main import main as command
    context = click.Context(command, info_name=program)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name!r} in {context.command_path!r}"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(arguments))
    given = {word.split("=")[0] for word in arguments}
    missing = [
        option.opts[0]
        for option in command.params
        if isinstance(option, click.Option) and option.required and given.isdisjoint(option.opts)
    ]
    assert not missing or not arguments, f"{line!r} lacks {', '.join(missing)}"


def documented() -> list[tuple[str, str]]:
    return [
        (path.name, line)
        for path in DOCUMENTS
        for line in commands_in(path.read_text(encoding="utf-8"))
    ]


def test_there_are_commands_to_check() -> None:
    assert len(documented()) >= 8


@pytest.mark.parametrize(("document", "line"), documented())
def test_documented_command_exists(document: str, line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "studio conjure",
        "studio verify --no-such-option x.wav",
        "studio house train-performer --profile cpu",
        "make nonsense",
    ],
)
def test_the_check_refuses_what_does_not_exist(line: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        check(line)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} points at {target}"
