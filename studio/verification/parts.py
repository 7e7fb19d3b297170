"""The parts of an examined file, and arithmetic on time ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from studio.provenance.renditions import split_key

if TYPE_CHECKING:
    from watermark.coding.identify import Identification
    from watermark.detection.detect import Detection
    from watermark.fingerprint.matching import Stretch

__all__ = [
    "Evidence",
    "Part",
    "PartKind",
    "in_order",
    "is_covered",
    "is_weaker",
    "mean_distance",
    "nearest_of_output",
    "outside",
    "unsealed_part",
]


class PartKind(StrEnum):
    """What a stretch of the file is."""

    SEALED = "sealed"  # our seal on its own content
    OVERLAID = "overlaid"  # our seal, and its content under other sound
    COPIED = "copied seal"  # our seal on other content
    ALONE = "seal alone"  # our seal; whether the content is its own cannot be told
    UNSEALED = "unsealed"  # our content without a readable seal


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the file that is an output's, in one way or another. Seconds throughout."""

    kind: PartKind
    output_id: str
    start_s: float
    end_s: float
    original_start_s: float
    distance: float | None = None  # of the content; None: too little sound to compare
    seal: Identification | None = None
    speed: float = 1.0  # at which it plays, pitch and tempo alike
    tempo: float = 1.0  # by how much it was stretched, pitch kept
    rivals: tuple[tuple[str, float], ...] = ()  # other outputs the content agrees with, and how
    stem: str | None = None  # the content is this stem of the output; None: its mix

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def original_end_s(self) -> float:
        return self.original_start_s + self.length_s * self.speed * self.tempo

    def shared_s(self, start_s: float, end_s: float) -> float:
        return max(0.0, min(self.end_s, end_s) - max(self.start_s, start_s))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything found in one file; ``detection`` is of it, or of it with its speed undone."""

    detection: Detection
    parts: tuple[Part, ...] = ()
    speed: float = 1.0  # that was undone for ``detection``

    @property
    def weight(self) -> float:
        """How much of the file is accounted for, and how well."""
        both = self.of_kind(PartKind.SEALED, PartKind.OVERLAID)
        content = self.of_kind(PartKind.UNSEALED)
        return sum(p.length_s * (0.5 - (p.distance or 0.25)) for p in both) + 0.5 * sum(
            p.length_s * (0.5 - (p.distance or 0.25)) for p in content
        )

    def of_kind(self, *kinds: PartKind) -> list[Part]:
        return [part for part in self.parts if part.kind in kinds]


def mean_distance(parts: Sequence[Part]) -> float:
    """The mean distance of the content, by length."""
    total_s = sum(part.length_s for part in parts)
    return sum(part.length_s * (part.distance or 0.0) for part in parts) / total_s


def in_order(part: Part) -> tuple[float, float]:
    """The order in which parts stand in the file."""
    return part.start_s, part.end_s


def unsealed_part(stretch: Stretch) -> Part:
    """A stretch of content as a part without a seal."""
    output_id, stem = split_key(stretch.key)
    return Part(
        PartKind.UNSEALED,
        output_id,
        stretch.start_s,
        stretch.end_s,
        stretch.original_start_s,
        stretch.distance,
        tempo=stretch.tempo,
        stem=stem,
    )


def is_weaker(stretch: Stretch, content: Sequence[Stretch]) -> bool:
    """Whether another original explains the same seconds better."""
    return any(
        other.key != stretch.key
        and other.shared_s(stretch.start_s, stretch.end_s) > 0.5 * stretch.length_s
        and (other.distance, other.key) < (stretch.distance, stretch.key)
        for other in content
    )


def is_covered(
    start_s: float,
    end_s: float,
    parts: Sequence[Part] = (),
    spans: Sequence[tuple[float, float]] = (),
) -> bool:
    """Whether more than half of it lies in one of the parts or spans."""
    half = 0.5 * (end_s - start_s)
    return any(part.shared_s(start_s, end_s) > half for part in parts) or any(
        min(stop, end_s) - max(begin, start_s) > half for begin, stop in spans
    )


def outside(start_s: float, end_s: float, parts: Sequence[Part]) -> list[tuple[float, float]]:
    """What of a span no part covers."""
    left, at = [], start_s
    for part in sorted(parts, key=in_order):
        if part.end_s <= at or part.start_s >= end_s:
            continue
        if part.start_s > at:
            left.append((at, part.start_s))
        at = max(at, part.end_s)
    return [*left, (at, end_s)] if at < end_s else left


def nearest_of_output(found: Sequence[Stretch]) -> list[Stretch]:
    """Of the mix and the stems of an output, for the same seconds the one that agrees best."""
    kept: list[Stretch] = []
    for stretch in sorted(found, key=lambda s: s.length_s * (s.distance - 0.5)):
        half_s = 0.5 * stretch.length_s
        if not any(other.shared_s(stretch.start_s, stretch.end_s) > half_s for other in kept):
            kept.append(stretch)
    return kept
