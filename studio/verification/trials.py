"""What was tried before a verdict, and its price in error rate.

The bound on a wrong name counts every alignment with every registered seal in one reading. Each
further reading (a stretch on its own, a speed or tempo undone) is one more occasion to be wrong, so
the bound on any name in a file is that of its least sure one, times the readings.

>>> tried = Trials(recordings=1, stretches=3)
>>> tried.readings, tried.wrong_name([1e-9, 1e-6])
(4, 4e-06)
>>> tried.text()
'the seal was read 4 times (the whole file, 3 stretches on their own)'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Trials"]


@dataclass(slots=True)
class Trials:
    """How often a file was looked at, and in which ways."""

    recordings: int = 0  # readings of the whole, as it is and with a change of speed undone
    stretches: int = 0  # readings of stretches on their own
    tempos: int = 0  # readings of stretches with a changed tempo undone
    views: int = 0  # in which content was compared: the mix, each channel, their difference
    speeds: int = 0  # comparisons of content at another speed
    streams: int = 1  # audio streams of the file that were examined

    @property
    def readings(self) -> int:
        """How often a seal was looked for."""
        return self.recordings + self.stretches + self.tempos

    def __add__(self, other: Trials) -> Trials:
        """Those of two streams of a file."""
        return Trials(
            self.recordings + other.recordings,
            self.stretches + other.stretches,
            self.tempos + other.tempos,
            max(self.views, other.views),
            self.speeds + other.speeds,
            self.streams + other.streams,
        )

    def wrong_name(self, bounds: Iterable[float]) -> float | None:
        """The bound on any name in the file being wrong; None where none was named.

        Args:
            bounds: of each name, over everything searched in its own reading.
        """
        least_sure = max(bounds, default=None)
        return None if least_sure is None else min(1.0, least_sure * max(1, self.readings))

    def text(self) -> str:
        """What was tried, in words."""
        ways = [] if self.streams > 1 else ["the whole file"]
        undone = self.recordings - self.streams
        if self.streams > 1:
            ways.append(f"{self.streams} audio streams")
        if self.stretches:
            ways.append(_count(self.stretches, "stretch on its own", "stretches on their own"))
        if self.tempos:
            ways.append(_count(self.tempos, "tempo undone", "tempos undone"))
        if undone > 0:
            ways.append(_count(undone, "change of speed undone", "changes of speed undone"))
        told = f"the seal was read {_count(self.readings, 'time', 'times')} ({', '.join(ways)})"
        if self.views > 1:
            told += f"; content was compared in {self.views} views of the channels"
        if self.speeds:
            told += (
                f"; content was compared at another speed {_count(self.speeds, 'time', 'times')}"
            )
        return told

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"readings": self.readings, "text": self.text()}


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
