"""The Verify tab's answer as HTML: verdict, evidence, outputs found.

:mod:`studio.reports.verification.page` prints the same cards. The words stand in
:mod:`studio.reports.verification.texts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from studio.reports.formatting import tag_name
from studio.reports.templating import piece
from studio.reports.verification.evidence import (
    evidence_rows,
    false_negative_rows,
    key_figures,
    short_percent,
)
from studio.reports.verification.texts import PART_WORDS, READING, next_steps
from studio.reports.verification.timeline import parts_strip, place_in_original, score_timeline
from studio.verification.report import odds_text

if TYPE_CHECKING:
    from studio.verification.report import Match, MatchedOutput
    from studio.verification.verifier import VerifyReport
    from watermark.detection.detect import Detection

__all__ = [
    "empty_desk",
    "evidence_card",
    "examined_card",
    "found_in",
    "next_steps_card",
    "output_cards",
    "overview",
    "parts_card",
    "reading_table",
    "report_view",
    "verdict_card",
]


_TIMELINE_BIN_S = 0.25  # of watermark.detection.detect.Detection.timeline


def _card(name: str, *values: object) -> Markup:
    return piece("studio.reports", "verification/cards.html", name)(*values)


def empty_desk() -> Markup:
    """What stands in place of a verdict before a file was dropped."""
    return _card("empty_desk")


def report_view(report: VerifyReport, compared: Markup | str = "") -> Markup:
    """The whole answer about one examined file; ``compared``: it beside its originals."""
    return Markup().join(
        (
            verdict_card(report),
            parts_card(report),
            Markup(compared),  # noqa: S704 - markup already, or nothing
            evidence_card(report),
            output_cards(report),
            examined_card(report),
            next_steps_card(report),
        )
    )


def overview(reports: Sequence[VerifyReport]) -> Markup:
    """Several files as a table: name, verdict, what was found."""
    rows = [(report, READING[report.verdict], found_in(report)) for report in reports]
    return _card("overview", rows)


def found_in(report: VerifyReport) -> str:
    """One line: the outputs found, or what else is to be said."""
    if not report.outputs:
        return report.error or READING[report.verdict].headline
    return "; ".join(
        f"{output.release.title} ({output.release.output_id})" for output in report.outputs
    )


def reading_table() -> Markup:
    """How to read a verdict, as a table."""
    return _card("reading_table", READING)


def verdict_card(report: VerifyReport) -> Markup:
    """The verdict with its explanation and with what it does not mean."""
    told = report.error is None or report.error in report.explanation
    reason = None if told else report.error
    return _card("verdict_card", report, READING[report.verdict], reason)


def parts_card(report: VerifyReport) -> Markup:
    """Which seconds of the file are what, and the detection score over the same seconds."""
    detection, duration_s = report.detection, report.duration_s or 0.0
    if detection is None:
        return Markup()
    strip = parts_strip(
        [
            (part.start_s, part.end_s, PART_WORDS[part.kind].colour, PART_WORDS[part.kind].title)
            for part in report.matches
        ],
        duration_s,
    )
    plot = score_timeline(
        _curve(detection, report.speed),
        threshold=detection.threshold,
        segments=[
            (part.start_s / report.speed, part.end_s / report.speed) for part in detection.segments
        ],
        duration_s=duration_s,
    )
    titles = {str(o.release.output_id): o.release.title for o in report.outputs}
    parts = [
        (part, PART_WORDS[part.kind], titles.get(part.output_id or "", ""), _sureness(part))
        for part in report.matches
    ]
    return _card("parts_card", strip, parts, plot)


def _sureness(part: Match) -> list[str]:
    lines = []
    if part.chance_bound is not None:
        lines.append(f"seal: {odds_text(part.chance_bound)} of a wrong name")
    if part.distance is not None:
        lines.append(f"content: {short_percent(part.distance)} of bits differ")
    if part.rivals:
        names = ", ".join(f"{key} ({short_percent(distance)})" for key, distance in part.rivals[:3])
        lines.append(f"content agrees also with {names}")
    return lines


def evidence_card(report: VerifyReport, *, opened: bool = False) -> Markup:
    """The three numbers that matter first, then all of them; folded unless ``opened``."""
    rows = evidence_rows(report)
    if not rows:
        return Markup()
    false_negatives = false_negative_rows(report) if report.false_negatives else ()
    seconds = report.false_negatives[0].seconds if report.false_negatives else None
    return _card("evidence_card", key_figures(report), rows, false_negatives, seconds, opened)


def _curve(detection: Detection, speed: float) -> list[tuple[float, float]]:
    """The timeline as (second of the file, score); it was read with the change of speed undone."""
    return [
        ((index + 0.5) * _TIMELINE_BIN_S / speed, float(score))
        for index, score in enumerate(detection.timeline)
        if math.isfinite(score)
    ]


def examined_card(report: VerifyReport) -> Markup:
    """What this is about, so that no other file can be passed off for it, and where it is noted."""
    return _card("examined_card", report)


def output_cards(report: VerifyReport) -> Markup:
    """Every output found in the file, with its place and its consent then and now."""
    return Markup().join(
        _output_card(output, report, "The matched output" if not number else "Also in this file")
        for number, output in enumerate(report.outputs)
    )


def _output_card(output: MatchedOutput, report: VerifyReport, title: str) -> Markup:
    release = output.release
    parts = [part for part in report.matches if part.output_id in (None, release.output_id)]
    bar = place_in_original([part.place_s for part in parts], release.duration_s)
    alike: dict[tuple[str, str, str, str | None], list[str]] = {}
    for line in output.consent:
        alike.setdefault((line.holder, line.grant, line.now, line.since), []).append(
            tag_name(line.tag)
        )
    return _card("output_card", title, release, parts, bar, alike)


def next_steps_card(report: VerifyReport) -> Markup:
    """What a person with this verdict does now."""
    return _card("next_steps_card", next_steps(report))
