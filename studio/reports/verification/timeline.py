"""The detection score over time, drawn as SVG.

>>> "<svg" in score_timeline([(0.5, 3.0), (1.5, 9.0)], threshold=5.0, segments=[(1.0, 2.0)],
...                          duration_s=2.0)
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from studio.reports.formatting import clock
from studio.reports.templating import piece

__all__ = ["parts_strip", "place_in_original", "score_timeline"]

_WIDTH, _HEIGHT = 1000.0, 150.0  # view box; the width is stretched to the page's
_POINTS = 600  # more would not be seen; hours of audio are thinned to the maximum per bin


def score_timeline(
    scores: Sequence[tuple[float, float]],
    *,
    threshold: float,
    segments: Sequence[tuple[float, float]],
    duration_s: float,
) -> Markup:
    """Draw ``scores`` (second, score), the threshold and the detected ``segments`` (seconds)."""
    if not scores or duration_s <= 0:
        return Markup()
    points = _thin(scores)
    top = max(threshold * 1.25, *(score for _, score in points)) or 1.0
    low = min(0.0, *(score for _, score in points))

    def x(second: float) -> float:
        return min(max(second / duration_s, 0.0), 1.0) * _WIDTH

    def y(score: float) -> float:
        return _HEIGHT - 4 - (score - low) / (top - low) * (_HEIGHT - 10)

    bands = [(f"{x(start):.1f}", f"{max(x(end) - x(start), 1.5):.1f}") for start, end in segments]
    line = " ".join(f"{x(second):.1f},{y(score):.1f}" for second, score in points)
    area = f"{x(points[0][0]):.1f},{y(low):.1f} {line} {x(points[-1][0]):.1f},{y(low):.1f}"
    best = max(score for _, score in points)
    spoken = (
        f"Detection score over {clock(duration_s)}: highest {best:.2f}, threshold {threshold:.2f}, "
        f"{len(segments)} detected part{'s' if len(segments) != 1 else ''}"
    )
    return _drawing("score_timeline")(
        spoken=spoken,
        width=f"{_WIDTH:.0f}",
        height=f"{_HEIGHT:.0f}",
        bands=bands,
        area=area,
        line=line,
        threshold_y=f"{y(threshold):.1f}",
        threshold=f"{threshold:.2f}",
        duration_s=duration_s,
    )


def parts_strip(parts: Sequence[tuple[float, float, str, str]], duration_s: float) -> Markup:
    """A bar for the whole file with its parts: (start, end, colour, what it is)."""
    if duration_s <= 0:
        return Markup()
    marks = [
        (title, _percent(start / duration_s), _percent((end - start) / duration_s), colour)
        for start, end, colour, title in parts
    ]
    spoken = "; ".join(f"{title} {clock(start)} to {clock(end)}" for start, end, _, title in parts)
    kinds = list(dict.fromkeys((colour, title) for _, _, colour, title in parts))
    return _drawing("parts_strip")(spoken, marks, kinds, duration_s)


def place_in_original(parts: Sequence[tuple[float, float]], duration_s: float) -> Markup:
    """A bar for the whole original with the parts that were found in the file."""
    if duration_s <= 0:
        return Markup()
    marks = [
        (_percent(start / duration_s), _percent((end - start) / duration_s)) for start, end in parts
    ]
    spoken = ", ".join(f"{clock(start)} to {clock(end)}" for start, end in parts)
    return _drawing("place_in_original")(spoken, marks, duration_s)


def _drawing(name: str) -> Callable[..., Markup]:
    return piece("studio.reports", "verification/drawings.html", name)


def _percent(share: float) -> str:
    return f"{min(max(share, 0.0), 1.0) * 100:.2f}%"


def _thin(scores: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``_POINTS`` points, each the highest of its bin: a short detection stays visible."""
    if len(scores) <= _POINTS:
        return list(scores)
    size = -(-len(scores) // _POINTS)
    return [
        max(scores[start : start + size], key=lambda point: point[1])
        for start in range(0, len(scores), size)
    ]
