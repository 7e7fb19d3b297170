"""What every command does as a process: streams, errors, exit code.

``watermark`` and ``studio`` are groups of this class, so that all their commands agree:

* An error never shares an exit code with a verdict. What nobody foresaw, a full disk and an answer
  that cannot be printed end with 4 (:data:`FAILED`), Ctrl-C with 130, a reader of the output that
  has gone with 141 and without a word, as shells have it.
* Messages on stderr are a courtesy: where they cannot be written, the work and its exit code stay
  the same. Answers on stdout are not: where they cannot be written, the command has failed.
* A stream that was closed before the start (``2>&-``) is the null device. Without that, the next
  file opened would take its number, and messages of other libraries would be written into it.
* A name that is no text is printed with escapes, in whatever encoding the terminal has.
"""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import sys
import traceback
from codecs import lookup
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click
from click.exceptions import Abort

from watermark.util.extras import install_hint
from watermark.util.logs import logging_to_stderr

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "PIPE_CLOSED",
    "CommandGroup",
    "emit",
    "printable",
    "verbose_option",
]

USAGE = 2
FAILED = 4
"""Exit code where the program, its machine or its output failed; nothing is said of any file."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

PIPE_CLOSED = 141
"""Exit code where whoever read the answers has gone, as shells have it."""

#: The caller named a path that cannot be used; every other error of the system is a failure.
_OF_A_PATH = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EROFS,
    }
)


class CommandGroup(click.Group):
    """A group of commands that runs as a process; see the module."""

    #: What stands before an error on stderr.
    error_label = "Error"

    def explained(self, error: BaseException) -> tuple[int, str] | None:
        """Exit code and text of an error raised on purpose; None for every other."""
        return None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and end the process with its exit code."""

        def run() -> Any:
            return super(CommandGroup, self).main(
                args, prog_name, complete_var, standalone_mode=False, **extra
            )

        if not standalone_mode:
            return run()
        _make_usable()
        _collect_less_often()
        try:
            _check_folder()
            answer = run()
            code = answer if isinstance(answer, int) else 0
        except SystemExit as exc:
            if _stdout_failure() is None:
                raise
            code = self._end(exc)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, its exit code is decided here
            code = self._end(exc)
        else:
            if (lost := _stdout_failure()) is not None:  # the command has overlooked it
                code = self._end(lost)
        sys.exit(code)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Make click's context; a closed pipe is not left to click, which ends with 1."""
        with _pipe_closed_of_click():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command; see :meth:`make_context`."""
        with _pipe_closed_of_click():
            return super().invoke(ctx)

    def _end(self, error: BaseException) -> int:
        """Say what happened; the exit code."""
        lost = _stdout_failure()
        if lost is not None:
            if isinstance(lost, BrokenPipeError):
                return PIPE_CLOSED
            self._say(f"standard output: {_reason(lost)}")
            return FAILED
        if isinstance(error, _PipeClosedError) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, Abort | KeyboardInterrupt | EOFError):
            return self._stopped(error)
        if isinstance(error, click.ClickException):
            with suppress(OSError):
                error.show()
            return USAGE if error.exit_code == 1 else error.exit_code
        told = self.explained(error) or _of_the_system(error) or _of_a_missing_part(error)
        if told is None:
            traceback.print_exception(error, file=sys.stderr)
            told = FAILED, f"internal error ({type(error).__name__}); please report what is above"
        code, text = told
        self._say(text)
        return code

    def _stopped(self, error: BaseException) -> int:
        """Ctrl-C, or no answer to a question because stdin has ended."""
        first: BaseException | None = error
        if isinstance(error, Abort):
            first = error.__cause__ or error.__context__
        if isinstance(first, EOFError):
            self._say("a question had no answer: standard input has ended")
            return USAGE
        self._say(str(first or "") or "stopped")
        return INTERRUPTED

    def _say(self, text: str) -> None:
        click.echo(f"{self.error_label}: {_visible(text)}", err=True)


def _of_a_missing_part(error: BaseException) -> tuple[int, str] | None:
    """A library that an extra of the package brings, and that is not installed."""
    hint = install_hint(error) if isinstance(error, ModuleNotFoundError) else None
    return None if hint is None else (USAGE, hint)


def _set_log_up(ctx: click.Context, _param: click.Parameter, verbose: bool) -> None:
    try:
        ctx.with_resource(logging_to_stderr(verbose=verbose))
    except ValueError as exc:
        raise click.UsageError(str(exc), ctx) from exc


verbose_option = click.option(
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_set_log_up,
    help="Say on stderr what is done, step by step; as JSON with STUDIO_LOG=json.",
)
"""The option of a group that sets the log up for its commands (:mod:`watermark.util.logs`)."""


def _check_folder() -> None:
    """Refuse to work in a folder that is gone: libraries end the process there, with code 2."""
    try:
        os.getcwd()  # noqa: PTH109 - asked for its error only
    except OSError as exc:
        raise click.UsageError(
            f"the working folder is gone ({_reason(exc)}); change to another one"
        ) from exc


class _PipeClosedError(Exception):
    """A pipe was closed at its other end."""


@contextmanager
def _pipe_closed_of_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as exc:
        raise _PipeClosedError from exc


def emit(record: Mapping[str, Any], *, sort_keys: bool = False) -> None:
    """One JSON object a line on stdout; in ASCII where stdout is not UTF-8."""
    plain = (getattr(sys.stdout, "encoding", None) or "utf-8").lower() not in ("utf-8", "utf8")
    text = json.dumps(record, ensure_ascii=plain, sort_keys=sort_keys)
    if not plain:  # half a code point, from a name that is no text
        text = text.encode("utf-8", "backslashreplace").decode()
    click.echo(text)


def printable(name: str) -> str:
    """A file's name for a terminal: no control character, no half a code point."""
    return "".join(ch if ch.isprintable() else _escaped(ch) for ch in name)


def _visible(text: str) -> str:
    """A message with the control characters of the names in it escaped; line breaks stay."""
    return "".join(ch if ch.isprintable() or ch == "\n" else _escaped(ch) for ch in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _of_the_system(error: BaseException) -> tuple[int, str] | None:
    """Exit code and text of an error of the operating system or of memory."""
    if isinstance(error, MemoryError):
        return FAILED, "not enough memory"
    if not isinstance(error, OSError):
        return None
    named = error.filename is not None
    name = f"{printable(Path(os.fsdecode(error.filename)).name)}: " if named else ""
    usage = named and error.errno in _OF_A_PATH
    return (USAGE if usage else FAILED), name + _reason(error)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


# -- streams ---------------------------------------------------------------------------------------


class _Output(io.FileIO):
    """A descriptor that remembers why something could not be written to it.

    Args:
        descriptor: stays open.
        forgiving: what cannot be written is lost without an error.
    """

    def __init__(self, descriptor: int, *, forgiving: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._forgiving = forgiving
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as exc:
                self.failure = exc
                if not self._forgiving:
                    raise
        return memoryview(data).nbytes


def _collect_less_often() -> None:
    """Let Python's collector run rarely: importing makes many objects and hardly any garbage."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _make_usable() -> None:
    """Streams that commands may use without asking whether they are there."""
    for name in ("stdin", "stdout", "stderr"):  # in the order of their descriptors
        if getattr(sys, name) is None:
            setattr(sys, name, _null(readable=name == "stdin"))
    sys.stdout.flush()
    if sys.stdout is sys.__stdout__ or sys.__stdout__ is None:
        sys.stdout = _text(sys.stdout, forgiving=False)
    if sys.stderr is sys.__stderr__ or sys.__stderr__ is None:
        sys.stderr = _text(sys.stderr, forgiving=True)


def _text(stream: TextIO, *, forgiving: bool) -> TextIO:
    """The same stream, able to write every name."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), forgiving=forgiving)),
        # As click does: ASCII is what a system has that was not told better.
        encoding="utf-8" if lookup(stream.encoding).name == "ascii" else stream.encoding,
        errors="backslashreplace",
        line_buffering=forgiving or stream.isatty(),
    )


def _null(*, readable: bool) -> TextIO:
    """The null device as a stream, under the lowest free descriptor: the one that was closed."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(descriptor, True)
    return open(descriptor, "r" if readable else "w", encoding="utf-8", closefd=False)


def _stdout_failure() -> OSError | None:
    """Why an answer could not be written to stdout, if so."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _Output) else None
