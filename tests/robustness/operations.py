"""Operations that are broken off at a random point, and the state that must be found afterwards.

Each runs in a child process on a real studio (the two networks replaced, as in
:mod:`tests.robustness.faults`). After every fault the next start is made, and asked whether
anything is broken: the ledger and everything beside it sound, no entry of before gone, nothing half
done that is used, and the same operation possible again.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from studio.app.container import Container, open_container
from studio.app.operation import restore as module
from studio.app.operation.backup import back_up
from studio.app.operation.backup_manifest import MANIFEST
from studio.app.operation.record_audit import record_faults
from studio.app.operation.restore import Evidence, restore
from studio.core.errors import ConfigError, StudioError
from studio.core.home import RESTORE_MARKER
from studio.core.paths import StudioPaths
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from tests.robustness.faults import SECONDS, Lines, check, head_of, in_child, limit_files
from tests.support.consent import file_of, grant, revocation
from tests.support.studios import PlainGenerator, as_owner, make_studio

_EVERYTHING = ("/studio/", "/watermark/util/files.py")
GRANTS = 5  # in a file of consent, with one revocation
_WHOLE = 99_999  # the number of the run without a fault

Ready = Callable[[], None]
Say = Callable[[str], None]


@dataclass
class Figures:
    """What happened to one operation."""

    operation: str
    fault: str  # "kill" or "disk"
    faults: int = 0
    struck: int = 0  # broken off before it was done
    states: dict[str, int] = field(default_factory=dict)  # what the next start found
    broken: list[str] = field(default_factory=list)

    def line(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return (
            f"{self.operation:13} {self.fault:5} {self.faults - len(self.broken)} of "
            f"{self.faults} sound, {self.struck} struck; {states}"
        )


class Operation:
    """One operation on the studio in ``folder``; ``number`` counts its runs."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, number: int) -> None:
        """Before the child is made."""

    def work(self, number: int, acknowledge: Say, ready: Ready) -> None:
        """In the child; ``ready`` is called where faults may begin."""
        with make_studio(self.folder, generator=PlainGenerator()) as studio:
            as_owner(studio).generation.recover()
            studio.accounts(), studio.credentials()
            ready()
            self.act(studio, number, acknowledge)

    def act(self, studio: Container, number: int, acknowledge: Say) -> None:
        raise NotImplementedError

    def after(self, number: int, done: list[str]) -> tuple[str, list[str]]:
        """The state found by the next start, and every broken invariant."""
        raise NotImplementedError

    def examine(self, before: Checkpoint, done: list[str]) -> list[str]:
        """Broken invariants of the studio itself, whatever the operation."""
        broken, _ = check(self.folder, done, before)
        with make_studio(self.folder, generator=PlainGenerator()) as studio:
            broken += record_faults(studio.ledger())
            try:
                studio.checkpointer().checkpoint()
            except StudioError as exc:
                broken.append(f"no checkpoint can be signed: {exc}")
            parts = [path.name for path in studio.paths.home.rglob("*.part")]
            broken += [f"{name} is left" for name in parts]
        return broken


class Generate(Operation):
    name = "generate"

    def act(self, studio: Container, number: int, acknowledge: Say) -> None:
        request = as_owner(studio).generation.request(
            ["genre/jazz"], duration_s=SECONDS, seed=number
        )
        acknowledge(as_owner(studio).generation.create(request).output_id)

    def prepare(self, number: int) -> None:
        with make_studio(self.folder) as studio:
            self._count = len(studio.ledger().releases())

    def after(self, number: int, done: list[str]) -> tuple[str, list[str]]:
        with make_studio(self.folder) as studio:
            made = len(studio.ledger().releases()) - self._count
        broken = [] if made in (0, 1) else [f"{made} releases of one request"]
        return ("released" if made else "nothing"), broken


class Import(Operation):
    name = "import"

    def _file(self, number: int) -> Path:
        return self.folder / f"consent-{number}.json"

    def prepare(self, number: int) -> None:
        documents = [grant(f"g{number}-{i}") for i in range(GRANTS)]
        documents.append(revocation(f"g{number}-0"))
        self._file(number).write_bytes(file_of(*documents))

    def act(self, studio: Container, number: int, acknowledge: Say) -> None:
        as_owner(studio).consent.import_file(self._file(number).read_bytes())

    def after(self, number: int, done: list[str]) -> tuple[str, list[str]]:
        def count(studio: Container) -> int:
            registry = studio.consent()
            known = sum(f"g{number}-{i}" in registry.grants for i in range(GRANTS))
            return known + (registry.revoked_at(f"g{number}-0") is not None)

        with make_studio(self.folder) as studio:
            there = count(studio)
            as_owner(studio).consent.import_file(self._file(number).read_bytes())
            broken = [] if count(studio) == GRANTS + 1 else ["the file cannot be imported again"]
        state = {0: "nothing", GRANTS + 1: "all recorded"}.get(there, "the first of the file")
        return state, broken


class Rotate(Operation):
    purpose = "seal"

    def prepare(self, number: int) -> None:
        self._before = self._numbers()

    def act(self, studio: Container, number: int, acknowledge: Say) -> None:
        as_owner(studio).operation.rotate_key("ledger" if self.purpose == "ledger" else "seal")

    def _numbers(self) -> int:
        with make_studio(self.folder) as studio:
            return max(studio.checkpointer().verifiers.__len__(), 0) * 1000 + max(
                studio.seal_keys().public()
            )

    def after(self, number: int, done: list[str]) -> tuple[str, list[str]]:
        broken = []
        now = self._numbers()
        keys = self.folder / "home" / "keys"
        broken += [f"{path.name} is left" for path in keys.iterdir() if path.suffix != ".key"]
        with make_studio(self.folder) as studio:
            verifiers = studio.checkpointer().verifiers
            for index in range(2, len(verifiers) + 1):
                note = self.folder / "home" / "checkpoints" / f"handover-{index:04d}.txt"
                for key in verifiers[index - 2 : index]:
                    try:
                        Checkpoint.open(note.read_text(), key)
                    except (OSError, StudioError) as exc:
                        broken.append(f"{note.name}: {exc}")
        return ("the old key" if now == self._before else "the new key"), broken


class RotateSeal(Rotate):
    name = "rotate seal"


class RotateLedger(Rotate):
    name, purpose = "rotate ledger", "ledger"


class Backup(Operation):
    name = "backup"

    def _target(self, number: int) -> Path:
        return self.folder / f"backup-{number}"

    def act(self, studio: Container, number: int, acknowledge: Say) -> None:
        _back_up(studio, self._target(number))

    def after(self, number: int, done: list[str]) -> tuple[str, list[str]]:
        target, state, broken = self._target(number), "unfinished, not taken for one", []
        if (target / MANIFEST).exists():
            state = "finished"
            try:
                _restored(target, self.folder / "from-it", self.folder / "configs")
            except StudioError as exc:
                broken.append(f"a finished backup cannot be restored: {exc}")
        else:
            try:
                _restored(target, self.folder / "from-it", self.folder / "configs")
                broken.append("an unfinished backup was restored")
            except StudioError:
                pass
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(self.folder / "from-it", ignore_errors=True)
        return state, broken


class Restore(Operation):
    name = "restore"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with make_studio(folder, generator=PlainGenerator()) as studio:
            _back_up(studio, folder / "source")
            self._keys = studio.checkpointer().verifiers

    def _paths(self, number: int) -> StudioPaths:
        return StudioPaths(self.folder / f"restored-{number}" / "home", self.folder / "configs")

    def work(self, number: int, acknowledge: Say, ready: Ready) -> None:
        if number % 2:  # while it is put into the home; a full disk would else end the check before
            clear = module._clear

            def first(home: Path, location: Path | str) -> None:
                ready()
                clear(home, location)

            module._clear = first
        else:
            ready()
        self._restore(number)

    def _restore(self, number: int) -> None:
        paths = self._paths(number)
        restore(self.folder / "source", paths, paths.ledger, Evidence(keys=self._keys))

    def after(self, number: int, done: list[str]) -> tuple[str, list[str]]:
        paths, broken = self._paths(number), []
        if (paths.home / RESTORE_MARKER).exists():
            state = "refused until it is run again"
            try:
                with open_container(paths=paths) as studio:
                    studio.ledger()
                broken.append("a half restored home starts")
            except ConfigError:
                pass
        elif paths.ledger.exists():
            state = "restored"
        else:
            state = "not begun"
            broken += [f"{path.name} is left" for path in paths.home.glob("*")]
        if state != "restored":
            try:
                self._restore(number)
            except StudioError as exc:
                broken.append(f"it cannot be restored again: {exc}")
                return state, broken
        with open_container(paths=paths) as studio:
            if as_owner(studio).consent.restoration() is None:
                broken.append("consent is open after a restore")
            if not studio.ledger().verify().ok:
                broken.append("the restored ledger is not sound")
            broken += record_faults(studio.ledger())
            broken += [
                f"{name} is missing" for name in as_owner(studio).generation.recover().missing
            ]
        shutil.rmtree(paths.home.parent)
        return state, broken


def _back_up(studio: Container, target: Path) -> None:
    back_up(studio.paths, studio.database(), studio.checkpointer(), target, with_keys=True)


def _restored(source: Path, home: Path, configs: Path) -> None:
    paths = StudioPaths(home, configs)
    restore(source, paths, paths.ledger)


OPERATIONS: tuple[type[Operation], ...] = (
    Generate,
    Import,
    RotateSeal,
    RotateLedger,
    Backup,
    Restore,
)


def run(
    kind: type[Operation],
    fault: str,
    folder: Path,
    runs: int,
    *,
    seed: int = 0,
    say: Say = lambda _line: None,
) -> Figures:
    """Break one operation ``runs`` times by ``fault`` (``kill`` or ``disk``), and look after each.

    Every other kill is at a random line of the studio's code, the others at a random time.
    """
    rng, figures = random.Random(f"{kind.name} {fault} {seed}"), Figures(kind.name, fault)
    with make_studio(folder, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=SECONDS, seed=1)
        )
    operation = kind(folder)
    operation.prepare(_WHOLE)
    counter, began = Lines(traced=_EVERYTHING), time.monotonic()

    def whole(ok: Say) -> None:
        operation.work(_WHOLE, ok, counter.start)
        ok(str(counter.count))

    lines, status = in_child(whole)
    if status != 0:
        raise RuntimeError(f"{kind.name} fails without any fault: {lines}")
    period, total = time.monotonic() - began, int(lines[-1])
    operation.after(_WHOLE, [])
    for number in range(runs):
        operation.prepare(number)
        before = head_of(folder)
        child, kill_after, point = _fault(operation, fault, number, rng, period, total)
        lines, status = in_child(child, kill_after=kill_after)
        done = [line for line in lines if not line.startswith("!")]
        state, broken = operation.after(number, done)
        broken += operation.examine(before, done)
        broken += [f"not the studio's own error: {line}" for line in lines if line[:2] == "!!"]
        figures.faults += 1
        figures.struck += status != 0
        figures.states[state] = figures.states.get(state, 0) + 1
        if broken:
            figures.broken.append(f"{kind.name}, {point}: {'; '.join(broken)}")
        say(f"{kind.name} {number + 1}/{runs} {point}: {state}; {'; '.join(broken) or 'sound'}")
    return figures


def _fault(
    operation: Operation, fault: str, number: int, rng: random.Random, period: float, total: int
) -> tuple[Callable[[Say], None], float | None, str]:
    """What the child does, when it is killed from outside, and both in words."""
    if fault == "disk":
        files = [p for p in operation.folder.rglob("*") if p.is_file() and not p.is_symlink()]
        size = rng.randrange(0, max(path.stat().st_size for path in files) + 20_000)
        return (
            lambda ok: operation.work(number, ok, lambda: limit_files(size)),
            None,
            f"no file beyond {size} bytes",
        )
    if number % 2:
        return (
            lambda ok: operation.work(number, ok, lambda: None),
            (delay := rng.uniform(0, period)),
            f"kill after {delay:.2f} s",
        )
    line = rng.randrange(1, total)
    tracer = Lines(line, _EVERYTHING)
    return (
        lambda ok: operation.work(number, ok, tracer.start),
        None,
        f"kill at line {line} of {total}",
    )
