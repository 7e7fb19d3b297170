"""Commands as processes: streams that are not there, errors nobody foresaw, exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from watermark.cli.numbers import Count, Number
from watermark.cli.process import FAILED, INTERRUPTED, PIPE_CLOSED, CommandGroup, emit

pytestmark = pytest.mark.slow

VERDICTS = (0, 1)


@click.group(cls=CommandGroup)
def commands() -> None:
    """Commands that end in every way there is."""


@commands.command()
@click.argument("kind")
def fail(kind: str) -> None:
    """Raise an error."""
    raise {
        "ValueError": ValueError("unforeseen"),
        "AttributeError": AttributeError("unforeseen"),
        "MemoryError": MemoryError(),
        "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.wav"),
        "too large": OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        "denied": PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a\nb.wav"),
        "nameless": FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)),
        "Ctrl-C": KeyboardInterrupt("nothing was kept"),
        "end of input": EOFError(),
        "click": click.ClickException("no"),
        "usage": click.UsageError("no"),
        "pipe elsewhere": BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)),
    }[kind]


@commands.command()
@click.argument("code", type=int)
def end(code: int) -> None:
    """Print a line to each stream and end with CODE."""
    click.echo("answer")
    click.echo("message", err=True)
    sys.stderr.write("another")
    sys.exit(code)


@commands.command()
def returns() -> None:
    """Print a line, and overlook that it cannot be written."""
    try:
        click.echo("answer")
    except OSError:
        return


@commands.command()
def ask() -> None:
    """Ask something."""
    click.prompt("what")


@commands.command()
def name() -> None:
    """Print the name of a file that is no UTF-8, in words and as JSON."""
    click.echo("caf\udce9.wav")
    emit({"file": "caf\udce9 音 🎵.wav"})


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("ValueError", FAILED, "internal error (ValueError)"),
        ("AttributeError", FAILED, "internal error (AttributeError)"),
        ("MemoryError", FAILED, "Error: not enough memory\n"),
        ("full", FAILED, "Error: out.wav: no space left on device\n"),
        ("too large", FAILED, "Error: file too large\n"),
        ("denied", 2, "Error: a\\nb.wav: permission denied\n"),
        ("nameless", FAILED, "Error: no such file or directory\n"),
        ("Ctrl-C", INTERRUPTED, "Error: nothing was kept\n"),
        ("end of input", 2, "standard input has ended"),
        ("click", 2, "Error: no\n"),
        ("usage", 2, "Error: no\n"),
        ("pipe elsewhere", FAILED, "Error: broken pipe\n"),
    ],
)
def test_no_error_ends_with_the_code_of_a_verdict(kind: str, code: int, said: str) -> None:
    done = CliRunner().invoke(commands, ["fail", kind])
    assert done.exit_code == code
    assert said in done.stderr
    assert ("Traceback" in done.stderr) == ("internal" in said)


@pytest.mark.parametrize("answer", [None, "\n"])
def test_a_question_without_an_answer_is_no_verdict(answer: str | None) -> None:
    done = CliRunner().invoke(commands, ["ask"], input=answer)
    assert done.exit_code == 2
    assert "standard input has ended" in done.stderr


def _shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, in which ``run`` is a group of commands of this module."""
    program = f"{sys.executable} -c 'from {__name__} import commands; commands()'"
    where = {"PYTHONPATH": str(Path(__file__).parents[3]), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; run() {{ {program} "$@"; }}; {line}'],
        env={**os.environ, **where, **environment},
        capture_output=True,
        timeout=900,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("line", "code", "answer", "message"),
    [
        ("run end 1", 1, b"answer\n", b"message\nanother"),
        ("run end 1 2>&-", 1, b"answer\n", b""),
        ("run end 1 >&-", 1, b"", b"message\nanother"),
        ("run end 0 <&- >&- 2>&-", 0, b"", b""),
        ("run end 1 2>/dev/full", 1, b"answer\n", b""),
        ("run end 0 >/dev/full", FAILED, b"", b"Error: standard output: no space left on device\n"),
        ("run end 1 >/dev/full", FAILED, b"", b"Error: standard output: no space left on device\n"),
        ("run returns >/dev/full", FAILED, b"", b"Error: standard output: no space left on dev"),
        ("run --help >/dev/full", FAILED, b"", b"Error: standard output: no space left on device"),
        ("run fail ValueError 2>&-", FAILED, b"", b""),
        ("run fail ValueError >&-", FAILED, b"", b"Traceback"),
        ("run end 1 | true", PIPE_CLOSED, b"", b""),
        ("run --help | true", PIPE_CLOSED, b"", b""),
        ("run returns | true", PIPE_CLOSED, b"", b""),
    ],
)
def test_streams(line: str, code: int, answer: bytes, message: bytes, unbuffered: str) -> None:
    done = _shell(line, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stdout) == (code, answer)
    assert done.stderr.startswith(message)
    assert message or not done.stderr


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What other libraries write to descriptor 2 would stand in it."""
    target = tmp_path / "written"
    program = (
        "import os, click; from watermark.cli.process import CommandGroup\n"
        "@click.group(cls=CommandGroup, invoke_without_command=True)\n"
        "def main():\n"
        f"  with open({str(target)!r}, 'wb') as file: file.flush(); os.write(2, b'warning')\n"
        "main([])"
    )
    command = f'exec "{sys.executable}" -c "$0" 2>&-'
    done = subprocess.run(["bash", "-c", command, program], timeout=900, check=False)
    assert done.returncode == 0
    assert target.read_bytes() == b""


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", "latin-1:strict"])
def test_a_name_that_is_no_text_is_printed(encoding: str) -> None:
    done = _shell("run name", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    words, record = done.stdout.splitlines()
    assert words == b"caf\\udce9.wav"
    assert json.loads(record)["file"] == "caf\udce9 音 🎵.wav"


def _command(program: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    source = f"import sys; from {program}.cli.main import main; sys.argv[0] = {program!r}; main()"
    return subprocess.run(
        [sys.executable, "-c", source, *arguments], timeout=900, check=False, **options
    )


def test_a_sealed_file_is_sealed_where_stderr_is_closed(tmp_path: Path) -> None:
    from tests.unit.seal_carriers import music
    from watermark.audio.waveform import write

    write(tmp_path / "plain.wav", music(6.0, 44_100, 1))
    key, sealed = str(tmp_path / "k.key"), str(tmp_path / "sealed.wav")
    assert _command("watermark", "key", "create", key).returncode == 0
    made = _command("watermark", "embed", str(tmp_path / "plain.wav"), sealed, "--key-file", key)
    assert made.returncode == 0
    for file, code, word in ((sealed, 0, b": sealed"), ("plain.wav", 1, b": no seal")):
        done = _command(
            *("watermark", "detect", file),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.close(2),
        )
        assert (done.returncode, word in done.stdout) == (code, True)


def test_both_commands_say_that_an_answer_could_not_be_printed(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        for program in ("watermark", "studio"):
            done = _command(program, "--version", stdout=full, stderr=subprocess.PIPE, cwd=tmp_path)
            assert done.returncode == FAILED
            assert b"standard output: no space left on device" in done.stderr


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    """A library of the seal model ended the process in it, with another reason and code 2."""
    (tmp_path / "gone").mkdir()
    done = _shell(f"cd {tmp_path}/gone; rmdir ../gone; run end 0")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"the working folder is gone" in done.stderr


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "x"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(click.BadParameter):
        Number(min=2).convert(number, None, None)


def test_numbers_within_bounds_are_taken() -> None:
    assert Number(min=2).convert("2.5", None, None) == 2.5
    assert Count(min=1).convert(str(2**63 - 1), None, None) == 2**63 - 1
    assert Count().convert("-7", None, None) == -7


@pytest.mark.parametrize("number", ["9" * 30, "-" + "9" * 30, "1.5", "0"])
def test_whole_numbers_that_nothing_can_hold_are_refused(number: str) -> None:
    with pytest.raises(click.BadParameter):
        Count(min=1).convert(number, None, None)


@pytest.mark.parametrize(
    "options",
    [("--seconds", "nan"), ("--clips", "9" * 20), ("--seed", "9" * 40), ("--strength", "nan")],
)
def test_the_bench_refuses_them_before_the_work(options: tuple[str, str]) -> None:
    from watermark.cli.main import main

    done = CliRunner().invoke(main, ["bench", *options])
    assert done.exit_code == 2
    assert options[0] in done.stderr


@pytest.mark.parametrize("program", ["watermark", "studio"])
def test_a_program_that_cannot_be_loaded_gives_no_verdict(program: str, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ImportError('half an installation')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"}
    done = subprocess.run(
        [sys.executable, "-m", program, "--version"],
        env=environment,
        capture_output=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == FAILED
    assert b"half an installation" in done.stderr


@pytest.mark.parametrize("program", ["watermark", "studio"])
def test_python_m_runs_the_command(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", program, "--help"], capture_output=True, timeout=900, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: {program} ".encode())
