"""Processor time and memory of a command and everything it starts, read from ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["ProcessTree"]

_TICKS = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    began: int  # clock ticks since the machine started; tells a pid that is used again
    own: int  # ticks
    waited: int  # ticks of children that ended and were waited for


class ProcessTree:
    """What a process and its descendants have used, as often as it is asked.

    Descendants whose parent died are followed on. A child's time moves into its parent's when the
    parent waits for it, so the sum over those that live never falls, but for a child that nobody
    waits for; the largest sum is kept.

    Attributes:
        cpu_s: processor time so far, seconds.
        pss_peak: most memory at once, bytes; pages that several processes share count once.
        root_rss_peak: most memory of the first process, bytes.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self.cpu_s = 0.0
        self.pss_peak = self.root_rss_peak = 0

    def living(self) -> list[int]:
        """The processes that are there now; those that ended and are not waited for are not."""
        now = _all()
        known = {
            pid
            for pid, began in self._known.items()
            if pid in now and now[pid].began == began and pid != self._root
        }
        if self._root in now:
            known.add(self._root)
        grown = True
        while grown:
            below = {pid for pid, stat in now.items() if stat.parent in known} - known
            known |= below
            grown = bool(below)
        self._known = {pid: now[pid].began for pid in known}
        ticks = sum(now[pid].own + now[pid].waited for pid in known)
        self.cpu_s = max(self.cpu_s, ticks / _TICKS)
        return sorted(known)

    def sample(self) -> None:
        """Look at memory, too, which takes some milliseconds a process."""
        living = self.living()
        self.pss_peak = max(self.pss_peak, sum(map(_pss, living)))
        if self._root in living:
            self.root_rss_peak = max(self.root_rss_peak, _kilobytes(self._root, "status", "VmHWM"))


def _all() -> dict[int, _Stat]:
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()  # the name before may hold anything
        if fields[0] in "ZX":
            continue
        times = [int(fields[n]) for n in (11, 12, 13, 14)]
        found[int(entry.name)] = _Stat(
            int(fields[1]), int(fields[19]), sum(times[:2]), sum(times[2:])
        )
    return found


def _pss(pid: int) -> int:
    return _kilobytes(pid, "smaps_rollup", "Pss")


def _kilobytes(pid: int, file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
