"""Faults put into a studio that makes music in a child process, and what must hold afterwards.

The child is a real studio with the real pipeline, ledger and sealing; only the two networks are
replaced (a plain generator and a tonal seal), so that hundreds of runs are affordable. The parent
breaks it at a random point and then asks, as the next start would:

* nothing lies in ``outputs/`` without its entry, its digest and its readable seal;
* whatever the child was told is released is there, file and entry;
* no entry that was there before is gone or changed (held against the head noted before);
* after recovery no work file is left, and the audit passes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from studio.app.container import Container
from studio.core.errors import StudioError
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.checkpointer import check_against
from tests.support.studios import PlainGenerator, as_owner, left_over, make_studio
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.coding.message import SealId

SECONDS = 3.0  # of music per generation
_TRACED = (
    "/studio/generation/pipeline.py",
    "/studio/generation/releasing/staging.py",
    "/studio/provenance/",
    "/studio/core/db/",
)


@dataclass
class Tally:
    """What happened over many runs."""

    injected: int = 0
    struck: int = 0  # the child was broken off by the fault before it was done
    acknowledged: int = 0  # generations that the child was told were released
    completed: int = 0  # releases that recovery finished
    discarded: int = 0  # unfinished work that recovery removed
    broken: list[str] = field(default_factory=list)  # invariants that did not hold

    def line(self) -> str:
        return (
            f"{self.injected - len(self.broken)} of {self.injected} faults survived "
            f"({self.struck} struck in the middle; {self.acknowledged} outputs acknowledged, "
            f"{self.completed} completed and {self.discarded} discarded by recovery)"
        )


def generate(
    folder: Path,
    count: int,
    acknowledge: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """What the child does: ``count`` outputs, each acknowledged once it is released.

    ``ready`` is called when the studio has started, before the first.
    """
    with make_studio(folder, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        ready()
        for number in range(count):
            request = as_owner(studio).generation.request(
                ["genre/jazz"], duration_s=SECONDS, seed=number
            )
            acknowledge(as_owner(studio).generation.create(request).output_id)


def in_child(work: Callable[[Callable[[str], None]], None], *, kill_after: float | None = None):
    """Run ``work`` in a forked child; (lines it acknowledged, exit status as ``os.waitpid``'s).

    ``kill_after`` seconds after the child has begun it gets SIGKILL. A StudioError ends the child
    with status 1, as it would end a command.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code = 2
        try:
            # What the child has to say to people is not the test's output.
            sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for ever
            work(lambda line: os.write(writer, f"{line}\n".encode()))
            code = 0
        except StudioError as exc:
            os.write(writer, f"! {exc}\n".replace("\n", " ").encode() + b"\n")
            code = 1
        except BaseException as exc:  # noqa: BLE001 - it is reported, and the child ends here
            os.write(writer, f"!! {exc!r}".replace("\n", " ").encode() + b"\n")
        finally:
            os._exit(code)
    os.close(writer)
    said = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    end = None if kill_after is None else time.monotonic() + kill_after
    while True:
        left = None if end is None else 1000 * max(0.0, end - time.monotonic())
        if not poll.poll(left):
            os.kill(pid, signal.SIGKILL)
            end = None
        elif more := os.read(reader, 65536):
            said += more
        else:
            break
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return said.decode().splitlines(), status


class Lines:
    """Counts the lines that this process runs of pipeline and ledger, and can end it at one."""

    def __init__(self, last: int | None = None, traced: tuple[str, ...] = _TRACED) -> None:
        self.count = 0
        self._last = last
        self._traced = traced

    def start(self) -> None:
        sys.settrace(self._call)

    def _call(self, frame, _event, _arg):
        return (
            self._line if any(part in frame.f_code.co_filename for part in self._traced) else None
        )

    def _line(self, _frame, event, _arg):
        if event == "line":
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._line


def limit_files(size: int) -> None:
    """No file of this process may grow beyond ``size`` bytes: as a full disk, without one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def obey_permissions() -> None:
    """Make root subject to permission bits, as everybody else is (capabilities(7))."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: all empty
    if ctypes.CDLL(None, use_errno=True).capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def check(folder: Path, acknowledged: list[str], before: Checkpoint | None) -> tuple[list, object]:
    """Every broken invariant as a line, and what recovery reported; recovers as a start does."""
    broken: list[str] = []
    with make_studio(folder, generator=PlainGenerator()) as studio:
        for path in sorted(studio.paths.outputs.iterdir()):
            release = studio.ledger().release(path.stem)
            if release is None:
                broken.append(f"{path.name} was handed out without an entry")
        report = as_owner(studio).generation.recover()
        broken += [f"{name} is missing" for name in report.missing]
        broken += [f"work file {name} is left" for name in _work_files(studio)]
        for release in studio.ledger().releases():
            if not release.path.exists():
                broken.append(f"{release.path.name} is in the ledger but not there")
            elif hashlib.sha256(release.path.read_bytes()).hexdigest() != release.sha256:
                broken.append(f"{release.path.name} has another digest")
            elif not _sealed(studio, release):
                broken.append(f"{release.path.name} has no readable seal")
        released = {release.output_id for release in studio.ledger().releases()}
        broken += [f"{lost} was acknowledged and is lost" for lost in {*acknowledged} - released]
        audit = studio.ledger().verify()
        if not audit.ok:
            broken.append(f"the audit fails: {audit.fault}")
        if before is not None:
            try:
                check_against(studio.ledger(), before)
            except StudioError as exc:
                broken.append(str(exc))
    return broken, report


def head_of(folder: Path) -> Checkpoint:
    """What the ledger is now, for the comparison after the next fault."""
    with make_studio(folder) as studio:
        size = studio.ledger().size()
        return Checkpoint("noted", size, studio.ledger().head(size))


_read: set[str] = set()  # outputs whose seal was read back; a file's digest never changes


def _sealed(studio: Container, release) -> bool:
    if release.sha256 in _read:
        return True
    key = studio.seal_keys().of(release.seal["epoch"])
    codebook = Codebook([CodebookEntry(SealId.parse(release.seal_id), key, release.duration_s)])
    found = studio.sealer().read(release.path, codebook).identification
    if found is None or found.seal_id.hex != release.seal_id:
        return False
    _read.add(release.sha256)
    return True


def _work_files(studio: Container) -> list[str]:
    return [name for name in left_over(studio) if not (studio.paths.outputs / name).exists()]


def run(
    folder: Path,
    runs: int,
    *,
    seed: int = 0,
    kinds: tuple[str, ...] = ("time", "line", "disk"),
    say: Callable[[str], None] = lambda _line: None,
) -> Tally:
    """Break ``runs`` generations, each at a random point, and check after each."""
    rng = random.Random(seed)
    tally = Tally()
    # How long the child takes without a fault, and how many lines of ours it runs.
    began, counter = time.monotonic(), Lines()

    def whole(ok):
        generate(folder, 2, ok, counter.start)
        sys.settrace(None)
        ok(str(counter.count))

    lines, status = in_child(whole)
    if status != 0:
        raise RuntimeError(f"a generation without any fault fails: {lines}")
    period, total = time.monotonic() - began, int(lines.pop())
    for number in range(runs):
        kind = kinds[number % len(kinds)]
        before = head_of(folder)
        tally.injected += 1
        if kind == "time":
            delay = rng.uniform(0, period)
            lines, status = in_child(lambda ok: generate(folder, 2, ok), kill_after=delay)
            point = f"kill -9 after {delay:.2f} s"
        elif kind == "line":
            line = rng.randrange(1, total)
            tracer = Lines(line)
            lines, status = in_child(lambda ok, at=tracer: generate(folder, 2, ok, at.start))
            point = f"kill -9 at line {line} of {total}"
        else:
            # SQLite's files grow with the runs: most limits lie where files of either kind end.
            largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            size = rng.randrange(0, largest + 20_000)
            lines, status = in_child(
                lambda ok, n=size: generate(folder, 2, ok, lambda: limit_files(n))
            )
            point = f"no file beyond {size} bytes"
        done = [line for line in lines if not line.startswith("!")]
        crashed = [line for line in lines if line.startswith("!!")]
        broken, report = check(folder, done, before)
        broken += [f"an error that is not the studio's own: {line}" for line in crashed]
        tally.struck += status != 0
        tally.acknowledged += len(done)
        tally.completed += len(report.completed)
        tally.discarded += len(report.discarded)
        if broken:
            tally.broken.append(f"{point}: {'; '.join(broken)}")
        say(f"{number + 1}/{runs} {point}: {len(done)} released, {'; '.join(broken) or 'sound'}")
    return tally
