"""What the Verify tab shows, as HTML: the verdict in plain words, its evidence, the outputs found.

:mod:`studio.reports.verification.page` prints the same cards. The words stand in
:mod:`studio.reports.verification.texts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studio.reports.formatting import clock, esc, moment, tag_name, territory_name
from studio.reports.verification.evidence import (
    evidence_rows,
    key_figures,
    miss_rows,
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


def empty_desk() -> str:
    """What stands in place of a verdict before a file was dropped."""
    return (
        '<section class="card" role="status"><h2>No file yet</h2><p class="soft">Drop recordings '
        "anywhere on the page. You will learn whether they came from this studio, which output and "
        "which seconds of it, how sure that is, and who had consented. Files are examined on this "
        "machine and are not kept.</p></section>"
    )


def report_view(report: VerifyReport) -> str:
    """The whole answer of the desk about one file."""
    return "".join(
        (
            verdict_card(report),
            parts_card(report),
            evidence_card(report),
            output_cards(report),
            examined_card(report),
            next_steps_card(report),
        )
    )


def overview(reports: Sequence[VerifyReport]) -> str:
    """Several files as a table: name, verdict, what was found."""
    rows = "".join(
        f'<tr><th scope="row">{esc(report.file or "a file")}</th>'
        f'<td class="nowrap"><span aria-hidden="true">{READING[report.verdict].icon}</span> '
        f"{esc(report.verdict)}</td><td>{esc(found_in(report))}</td></tr>"
        for report in reports
    )
    return (
        '<div class="table-scroll"><table class="plain"><thead><tr><th scope="col">File</th>'
        '<th scope="col">Verdict</th><th scope="col">What was found</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def found_in(report: VerifyReport) -> str:
    """One line: the outputs found, or what else is to be said."""
    if not report.outputs:
        return report.error or READING[report.verdict].headline
    return "; ".join(
        f"{output.release.title} ({output.release.output_id})" for output in report.outputs
    )


def reading_table() -> str:
    """How to read a verdict, as a table."""
    rows = "".join(
        f'<tr><th scope="row" class="nowrap"><span aria-hidden="true">{reading.icon}</span> '
        f"{esc(verdict)}</th><td>{esc(reading.means)}</td><td>{esc(reading.means_not)}</td></tr>"
        for verdict, reading in READING.items()
    )
    return (
        '<div class="table-scroll"><table class="plain"><thead><tr><th scope="col">Verdict</th>'
        '<th scope="col">It means</th><th scope="col">It does not mean</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def verdict_card(report: VerifyReport) -> str:
    """The verdict with its explanation and with what it does not mean."""
    reading = READING[report.verdict]
    about = esc(report.file or "the file")
    if report.duration_s is not None:
        about += f", {clock(report.duration_s)}"
    told = report.error is None or report.error in report.explanation
    reason = "" if told else f"<p><b>Why:</b> {esc(report.error)}</p>"
    return (
        f'<section class="verdict {reading.tone}" role="status" aria-live="polite" '
        f'data-verdict="{esc(report.verdict)}"><div class="badge" aria-hidden="true">'
        f"{reading.icon}</div><div><h2>{esc(reading.headline)}</h2>"
        f'<p class="small soft">Verdict <b>{esc(report.verdict)}</b> on {about}</p>'
        f"<p>{esc(report.explanation)}</p>{reason}"
        f"<p><b>What it does not mean.</b> {esc(reading.means_not)}</p></div></section>"
    )


def parts_card(report: VerifyReport) -> str:
    """Which seconds of the file are what, and the detection score over the same seconds."""
    detection, duration_s = report.detection, report.duration_s or 0.0
    if detection is None:
        return ""
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
    return (
        '<section class="card" aria-label="Timeline"><h2>Which seconds are what</h2>'
        f"{strip}{_parts_table(report)}"
        f"<h3 class='small'>Detection score over time</h3>{plot}</section>"
    )


def _parts_table(report: VerifyReport) -> str:
    if not report.matches:
        return ""
    titles = {str(o.release.output_id): o.release.title for o in report.outputs}
    rows = "".join(
        f'<tr><th scope="row" class="nowrap">{clock(part.start_s)} to {clock(part.end_s)}</th>'
        '<td data-head="What they are"><span class="swatch" '
        f'style="--swatch:{PART_WORDS[part.kind].colour}"></span>'
        f"{esc(PART_WORDS[part.kind].title)}<br><span class='soft small'>"
        f"{esc(PART_WORDS[part.kind].means)}</span></td>"
        f'<td data-head="Place in the original">{esc(titles.get(part.output_id or "", ""))}<br>'
        f"<span class='small'>{_place_text(part)}</span></td>"
        f'<td data-head="How sure">{_sureness(part)}</td></tr>'
        for part in report.matches
    )
    return (
        '<div class="table-scroll"><table class="plain wide stack"><thead><tr>'
        '<th scope="col">Seconds of the file</th><th scope="col">What they are</th>'
        '<th scope="col">Place in the original</th><th scope="col">How sure</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _place_text(part: Match) -> str:
    start_s, end_s = part.place_s
    return (
        f"{clock(part.start_s)} to {clock(part.end_s)} of the file is {clock(max(0.0, start_s))} "
        f"to {clock(end_s)} of the original"
    )


def _sureness(part: Match) -> str:
    lines = []
    if part.chance_bound is not None:
        lines.append(f"seal: {odds_text(part.chance_bound)} of a wrong name")
    if part.distance is not None:
        lines.append(f"content: {short_percent(part.distance)} of bits differ")
    if part.rivals:
        names = ", ".join(f"{key} ({short_percent(distance)})" for key, distance in part.rivals[:3])
        lines.append(f"content agrees also with {names}")
    return "<br>".join(f"<span class='small'>{esc(line)}</span>" for line in lines)


def evidence_card(report: VerifyReport, *, opened: bool = False) -> str:
    """The three numbers that matter first, then all of them; folded unless ``opened``."""
    rows = evidence_rows(report)
    if not rows:
        return ""
    figures = "".join(
        f"<div><dt>{esc(figure.title)}</dt><dd><b>{esc(figure.value)}</b> {esc(figure.means)}"
        "</dd></div>"
        for figure in key_figures(report)
    )
    listing = "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in rows)
    shown = " open" if opened else ""
    return (
        '<section class="card" aria-label="Evidence"><h2>Evidence</h2>'
        f'<dl class="figures">{figures}</dl>'
        f"<details{shown}><summary>All measured numbers</summary>"
        f'<dl class="facts wide">{listing}</dl></details>{_miss_table(report, shown)}</section>'
    )


def _miss_table(report: VerifyReport, shown: str) -> str:
    if not report.misses:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{esc(attack)}</th><td>{esc(count)}</td></tr>'
        for attack, count in miss_rows(report)
    )
    return (
        f"<details{shown}><summary>How often a seal is missed, by kind of processing</summary>"
        f"<p class='small soft'>Sealed clips of {report.misses[0].seconds:g} s, each treated as "
        "named; how many of them were not found again.</p>"
        '<table class="plain narrow"><thead><tr><th scope="col">Processing</th>'
        f'<th scope="col">Seals missed</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _curve(detection: Detection, speed: float) -> list[tuple[float, float]]:
    """The timeline as (second of the file, score); it was read with the change of speed undone."""
    return [
        ((index + 0.5) * _TIMELINE_BIN_S / speed, float(score))
        for index, score in enumerate(detection.timeline)
        if math.isfinite(score)
    ]


def examined_card(report: VerifyReport) -> str:
    """What this is about, so that no other file can be passed off for it, and where it is noted."""
    rows = [("File name as given", esc(report.file or "none"))]
    if report.sha256:
        rows.append(("SHA-256 of the file", f'<span class="mono">{esc(report.sha256)}</span>'))
    if report.registered is not None:
        rows.append(("Compared with", f"{report.registered:,} registered outputs"))
    if report.recorded is not None:
        rows.append(
            (
                "This verdict in the ledger",
                f"entry no. {report.recorded['entry']} "
                f'<span class="mono soft">{esc(str(report.recorded["leaf_hash"])[:16])}…</span>',
            )
        )
    listing = "".join(f"<dt>{esc(name)}</dt><dd>{value}</dd>" for name, value in rows)
    return (
        '<section class="card" aria-label="What was examined"><h2>What was examined</h2>'
        f'<dl class="facts">{listing}</dl></section>'
    )


def output_cards(report: VerifyReport) -> str:
    """Every output found in the file, with its place and its consent then and now."""
    return "".join(
        _output_card(output, report, "The matched output" if not number else "Also in this file")
        for number, output in enumerate(report.outputs)
    )


def _output_card(output: MatchedOutput, report: VerifyReport, title: str) -> str:
    release = output.release
    parts = [part for part in report.matches if part.output_id in (None, release.output_id)]
    if parts:
        bar = place_in_original([part.place_s for part in parts], release.duration_s)
        rows = "".join(f"<li>{_place_text(part)}</li>" for part in parts)
        places = f"<h3 class='small'>Place in the original</h3><ul class='small'>{rows}</ul>{bar}"
    else:
        places = ""
    return (
        f'<section class="card" aria-label="Matched output"><h2>{esc(title)}</h2>'
        f"<p><b>{esc(release.title)}</b></p>"
        '<dl class="facts">'
        f'<dt>Seal id</dt><dd class="mono">{esc(release.seal_id)}</dd>'
        f"<dt>Ledger entry</dt><dd>no. {release.entry_index}, released "
        f"{esc(moment(release.created_at))}</dd>"
        f"<dt>Made for</dt><dd>{esc(release.request.use)} use, "
        f"{esc(territory_name(release.request.territory))}</dd>"
        f"<dt>Model</dt><dd>{esc(release.request.model)}</dd>"
        f"<dt>Tags</dt><dd>{esc(', '.join(tag_name(tag) for tag in release.request.tags))}</dd>"
        f"</dl>{places}{_consent_table(output)}</section>"
    )


def _consent_table(output: MatchedOutput) -> str:
    if not output.consent:
        return ""
    alike: dict[tuple[str, str, str, str | None], list[str]] = {}
    for line in output.consent:
        alike.setdefault((line.holder, line.grant, line.now, line.since), []).append(
            tag_name(line.tag)
        )
    rows = "".join(
        f'<tr><th scope="row">{esc(", ".join(tags))}</th><td data-head="Granted by">{esc(holder)}'
        f'<br><span class="mono soft">{esc(grant)}</span></td>'
        f'<td data-head="At release">granted</td><td data-head="Now">{_now(now, since)}</td></tr>'
        for (holder, grant, now, since), tags in alike.items()
    )
    return (
        "<h3 class='small'>Consent, as it was and as it is</h3>"
        '<div class="table-scroll"><table class="plain stack"><thead><tr><th scope="col">Tags</th>'
        '<th scope="col">Granted by</th><th scope="col">At release</th><th scope="col">Now</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _now(state: str, since: str | None) -> str:
    if state == "granted":
        return '<span style="color:var(--good)">✓ granted</span>'
    when = f" since {esc(since[:10])}" if since else ""
    return f'<span style="color:var(--bad)">✗ {esc(state)}{when}</span>'


def next_steps_card(report: VerifyReport) -> str:
    """What a person with this verdict does now."""
    steps = "".join(f"<li>{esc(step)}</li>" for step in next_steps(report))
    return (
        '<section class="card" aria-label="What to do next"><h2>What to do next</h2>'
        f"<ul>{steps}</ul></section>"
    )
