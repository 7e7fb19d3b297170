"""The detection score over time, drawn as SVG: no plotting library, sharp at any width.

>>> "<svg" in score_timeline([(0.5, 3.0), (1.5, 9.0)], threshold=5.0, segments=[(1.0, 2.0)],
...                          duration_s=2.0)
True
"""

from __future__ import annotations

from collections.abc import Sequence

from studio.reports.formatting import clock, esc

__all__ = ["parts_strip", "place_in_original", "score_timeline"]

_WIDTH, _HEIGHT = 1000.0, 150.0  # view box; the width is stretched to the page's
_POINTS = 600  # more would not be seen; hours of audio are thinned to the maximum per bin


def score_timeline(
    scores: Sequence[tuple[float, float]],
    *,
    threshold: float,
    segments: Sequence[tuple[float, float]],
    duration_s: float,
) -> str:
    """Draw ``scores`` (second, score), the threshold and the detected ``segments`` (seconds)."""
    if not scores or duration_s <= 0:
        return ""
    points = _thin(scores)
    top = max(threshold * 1.25, *(score for _, score in points)) or 1.0
    low = min(0.0, *(score for _, score in points))

    def x(second: float) -> float:
        return min(max(second / duration_s, 0.0), 1.0) * _WIDTH

    def y(score: float) -> float:
        return _HEIGHT - 4 - (score - low) / (top - low) * (_HEIGHT - 10)

    bands = "".join(
        f'<rect x="{x(start):.1f}" y="0" width="{max(x(end) - x(start), 1.5):.1f}" '
        f'height="{_HEIGHT:.0f}" style="fill:var(--detected)"/>'
        for start, end in segments
    )
    line = " ".join(f"{x(second):.1f},{y(score):.1f}" for second, score in points)
    area = f"{x(points[0][0]):.1f},{y(low):.1f} {line} {x(points[-1][0]):.1f},{y(low):.1f}"
    best = max(score for _, score in points)
    spoken = (
        f"Detection score over {clock(duration_s)}: highest {best:.2f}, threshold {threshold:.2f}, "
        f"{len(segments)} detected part{'s' if len(segments) != 1 else ''}"
    )
    return (
        f'<figure class="timeline" style="margin-left:0;margin-right:0"><svg role="img" '
        f'aria-label="{esc(spoken)}" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'preserveAspectRatio="none">'
        f'<rect width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}" style="fill:var(--paper)"/>{bands}'
        f'<polygon points="{area}" style="fill:var(--accent);fill-opacity:.13"/>'
        f'<polyline points="{line}" style="fill:none;stroke:var(--accent);stroke-width:2" '
        'vector-effect="non-scaling-stroke" stroke-linejoin="round"/>'
        f'<line x1="0" x2="{_WIDTH:.0f}" y1="{y(threshold):.1f}" y2="{y(threshold):.1f}" '
        'style="stroke:var(--bad);stroke-width:1.5" stroke-dasharray="6 5" '
        'vector-effect="non-scaling-stroke"/></svg>'
        f'<div class="axis"><span>{clock(0)}</span><span>{clock(duration_s / 2)}</span>'
        f"<span>{clock(duration_s)}</span></div>"
        '<figcaption class="key"><span style="--swatch:var(--accent)">detection score</span>'
        f'<span class="dashed">threshold {threshold:.2f}</span>'
        '<span style="--swatch:var(--detected)">detected</span></figcaption></figure>'
    )


def parts_strip(parts: Sequence[tuple[float, float, str, str]], duration_s: float) -> str:
    """A bar for the whole file with its parts: (start, end, colour, what it is)."""
    if duration_s <= 0:
        return ""
    marks = "".join(
        f'<div title="{esc(title)}" style="left:{_percent(start / duration_s)};'
        f'width:{_percent((end - start) / duration_s)};background:{colour}"></div>'
        for start, end, colour, title in parts
    )
    spoken = "; ".join(f"{title} {clock(start)} to {clock(end)}" for start, end, _, title in parts)
    kinds = dict.fromkeys((colour, title) for _, _, colour, title in parts)
    swatches = "".join(
        f'<span style="--swatch:{colour}">{esc(title)}</span>' for colour, title in kinds
    )
    return (
        f'<div class="place parts" role="img" aria-label="Parts of the file: '
        f'{esc(spoken or "none of ours")}">{marks}</div><div class="timeline" '
        f'style="margin-top:2px"><div class="axis"><span>{clock(0)}</span><span>the file, '
        f'{clock(duration_s)}</span></div><div class="key">{swatches}'
        '<span style="--swatch:var(--accent-soft)">not ours, as far as was found</span></div></div>'
    )


def place_in_original(parts: Sequence[tuple[float, float]], duration_s: float) -> str:
    """A bar for the whole original with the parts that were found in the file."""
    if duration_s <= 0:
        return ""
    marks = "".join(
        f'<div style="left:{_percent(start / duration_s)};'
        f'width:{_percent((end - start) / duration_s)}"></div>'
        for start, end in parts
    )
    spoken = ", ".join(f"{clock(start)} to {clock(end)}" for start, end in parts)
    return (
        f'<div class="place" role="img" aria-label="Found in the original: {esc(spoken)}">{marks}'
        f'</div><div class="timeline" style="margin-top:2px"><div class="axis"><span>{clock(0)}'
        f"</span><span>original, {clock(duration_s)}</span></div></div>"
    )


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
