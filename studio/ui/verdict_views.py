"""What the Verify tab shows, as HTML: the verdict in plain words, its evidence, the matched output.

A verdict is never worded beyond its evidence: no verdict says that a person made something, and the
presence of a seal alone never says where the content came from. :data:`READING` holds the wording
once, for the tab and for the table on the Models tab.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.services import Verdict
from studio.ui.timeline import place_in_original, score_timeline
from studio.ui.wording import chance, clock, esc, moment, percent, tag_name, territory_name

if TYPE_CHECKING:
    from studio.services import Release, VerifyReport
    from watermark.detect import Detection

__all__ = ["READING", "Reading", "checking_panel", "empty_desk", "reading_table", "report_view"]


_TIMELINE_BIN_S = 0.25  # of watermark.detect.Detection.timeline


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one verdict."""

    icon: str
    tone: str  # good | warn | bad | calm: colours of the page's style sheet
    headline: str
    means: str
    means_not: str


READING: Mapping[Verdict, Reading] = {
    Verdict.SEALED: Reading(
        "✓",
        "good",
        "This is an output of this studio",
        "The file carries the seal of one registered output, and its content agrees with that "
        "output's record.",
        "It does not say who distributed the file, or that a use of it is covered: compare the "
        "consent below with the use you see.",
    ),
    Verdict.EXCERPT: Reading(
        "✂",
        "good",
        "Part of an output of this studio is in this file",
        "As “sealed”, but for a part: the file is an excerpt of the output, or holds other "
        "material beside it. The places are given below.",
        "It says nothing about the rest of the file.",
    ),
    Verdict.TRANSPLANTED: Reading(
        "⚠",
        "bad",
        "Our seal, on content that is not ours",
        "The seal of a registered output was found, but the content is not that output: the seal "
        "was copied onto other audio.",
        "It does not mean that this studio made the audio you hear. Someone made it look so.",
    ),
    Verdict.UNSEALED_COPY: Reading(
        "≈",
        "warn",
        "Our content, without a readable seal",
        "The content matches a registered output, but no seal can be read: it was removed or "
        "destroyed by processing.",
        "It does not say that somebody removed the seal on purpose; heavy processing does it too.",
    ),
    Verdict.FOREIGN_SEAL: Reading(
        "?",
        "warn",
        "The detector alarms, and no output of ours fits",
        "The sound looks marked in the way that we mark, but the messages in it belong to no "
        "output in this registry.",
        "It is a hint, not a finding. Low-rate coding (MP3 at 64 kbit/s and below, Opus at 48 and "
        "below) of unmarked music alarms too, and anyone can mark with the published weights.",
    ),
    Verdict.NOT_DETECTED: Reading(
        "–",
        "calm",
        "No seal of this studio found",
        "Neither a seal nor registered content of this studio was found in this file.",
        "It does not mean that a person made it, and not that it is free of generated music: other "
        "systems leave no trace here, and a seal can be lost in a short or heavily processed clip.",
    ),
    Verdict.UNREADABLE: Reading(
        "✗",
        "warn",
        "The file could not be read",
        "It is not audio this desk can decode, it is damaged, or it is longer or larger than the "
        "desk accepts.",
        "It says nothing about the content. Try the original file, or a WAV, FLAC or MP3 of it.",
    ),
}


def empty_desk() -> str:
    """What stands in place of a verdict before a file was dropped."""
    return (
        '<section class="card" role="status"><h2>No file yet</h2><p class="soft">Drop a recording '
        "in the box. You will learn whether it came from this studio, which output and which "
        "seconds of it, how sure that is, and who had consented. The file is examined on this "
        "machine and is not kept.</p></section>"
    )


def checking_panel(file_name: str, elapsed_s: float, ahead: int) -> str:
    """While the desk is at work."""
    doing = (
        f"Waiting: {ahead} before it" if ahead else "Decoding, reading the seal, comparing content"
    )
    return (
        '<section class="card">'
        f"<h2>Examining {esc(file_name)}</h2>"
        f'<p class="soft">{doing} … {elapsed_s:.0f} s</p></section>'
    )


def report_view(report: VerifyReport) -> str:
    """The whole answer of the desk."""
    return "".join(
        (
            _verdict_card(report),
            _evidence_card(report),
            _matched_card(report),
            _download_card(report),
        )
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


def _verdict_card(report: VerifyReport) -> str:
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


def _evidence_card(report: VerifyReport) -> str:
    """The measured numbers behind the verdict, and the score over time."""
    detection = report.detection
    if detection is None:
        return ""
    found = detection.identification
    rows = [("Detection score", f"{detection.score:.2f} (threshold {detection.threshold:.2f})")]
    if detection.p_value is not None:
        rows.append(("p-value", f"{detection.p_value:.2g}: how often chance alone shows as much"))
    rows.append(("False-positive rate", _false_positives(detection)))
    if found is not None:
        rows += [
            (
                "Chance that another seal fits as well",
                f"{chance(found.chance_bound)}, over every registered seal and place",
            ),
            ("Bits that agree", f"{percent(found.bit_accuracy)} of {found.seconds_used:g} s"),
        ]
    if report.fingerprint_distance is not None:
        rows.append(
            (
                "Content against the original",
                f"{percent(report.fingerprint_distance)} of the fingerprint's bits differ "
                "(unrelated music: about 50 %)",
            )
        )
    if report.speed != 1.0:
        rows.append(("Speed", f"{report.speed:.3f} times the original's; undone before reading"))
    if report.misses:
        missed = "; ".join(f"{rate.attack} {rate.missed} of {rate.clips}" for rate in report.misses)
        rows.append((f"Seals missed, {report.misses[0].seconds:g} s clips", missed))
    rows.append(("Content Credentials", str(report.c2pa.get("state", "absent"))))
    rows.append(("Detector", detection.model))
    listing = "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in rows)
    plot = score_timeline(
        _curve(detection, report.speed),
        threshold=detection.threshold,
        segments=[
            (part.start_s / report.speed, part.end_s / report.speed) for part in detection.segments
        ],
        duration_s=report.duration_s or 0.0,
    )
    return (
        '<section class="card" aria-label="Evidence"><h2>Evidence</h2>'
        f'<dl class="facts wide">{listing}</dl>'
        f"<h3 class='small'>Detection score over time</h3>{plot}</section>"
    )


def _false_positives(detection: Detection) -> str:
    """The rate with the count it was measured on: a rate without its sample says nothing."""
    counted = detection.alarms
    if counted is None or detection.false_positive_rate is None:
        return "nobody has measured it for this detector"
    return (
        f"at most {percent(detection.false_positive_rate)} at this threshold (95 % confidence; "
        f"{counted.alarms} alarms in {counted.clips:,} clips of unmarked music, "
        f"{detection.calibrated_s:g} s each)"
    )


def _curve(detection: Detection, speed: float) -> list[tuple[float, float]]:
    """The timeline as (second of the file, score); it was read with the change of speed undone."""
    return [
        ((index + 0.5) * _TIMELINE_BIN_S / speed, float(score))
        for index, score in enumerate(detection.timeline)
        if math.isfinite(score)
    ]


def _matched_card(report: VerifyReport) -> str:
    release = report.release
    if release is None:
        return ""
    return (
        '<section class="card" aria-label="Matched output"><h2>The matched output</h2>'
        f"<p><b>{esc(release.title)}</b></p>"
        '<dl class="facts">'
        f'<dt>Seal id</dt><dd class="mono">{esc(release.seal_id)}</dd>'
        f"<dt>Ledger entry</dt><dd>no. {release.entry_index}, released "
        f"{esc(moment(release.created_at))}</dd>"
        f"<dt>Made for</dt><dd>{esc(release.request.use)} use, "
        f"{esc(territory_name(release.request.territory))}</dd>"
        f"<dt>Model</dt><dd>{esc(release.request.model)}</dd>"
        f"<dt>Tags</dt><dd>{esc(', '.join(tag_name(tag) for tag in release.request.tags))}</dd>"
        f"</dl>{_places(report, release)}{_consent_table(report)}</section>"
    )


def _places(report: VerifyReport, release: Release) -> str:
    parts = [
        (part, part.original_start_s + (part.end_s - part.start_s) * report.speed)
        for part in report.matches
    ]
    if parts:
        rows = "".join(
            f"<li>{clock(part.start_s)} to {clock(part.end_s)} of the file is "
            f"{clock(part.original_start_s)} to {clock(original_end_s)} of the original</li>"
            for part, original_end_s in parts
        )
        bar = place_in_original(
            [(part.original_start_s, original_end_s) for part, original_end_s in parts],
            release.duration_s,
        )
        return f"<h3 class='small'>Place in the original</h3><ul class='small'>{rows}</ul>{bar}"
    if report.offset_s is not None:
        return (
            f"<p class='small'>The file starts at {clock(max(0.0, report.offset_s))} of the "
            f"original, which is {clock(release.duration_s)} long.</p>"
        )
    return ""


def _consent_table(report: VerifyReport) -> str:
    if not report.consent:
        return ""
    alike: dict[tuple[str, str, str, str | None], list[str]] = {}
    for line in report.consent:
        alike.setdefault((line.holder, line.grant, line.now, line.since), []).append(
            tag_name(line.tag)
        )
    rows = "".join(
        f'<tr><th scope="row">{esc(", ".join(tags))}</th><td>{esc(holder)}<br>'
        f'<span class="mono soft">{esc(grant)}</span></td><td>granted</td>'
        f"<td>{_now(now, since)}</td></tr>"
        for (holder, grant, now, since), tags in alike.items()
    )
    return (
        "<h3 class='small'>Consent, as it was and as it is</h3>"
        '<div class="table-scroll"><table class="plain"><thead><tr><th scope="col">Tags</th>'
        '<th scope="col">Granted by</th><th scope="col">At release</th><th scope="col">Now</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _now(state: str, since: str | None) -> str:
    if state == "granted":
        return '<span style="color:var(--good)">✓ granted</span>'
    when = f" since {esc(since[:10])}" if since else ""
    return f'<span style="color:var(--bad)">✗ {esc(state)}{when}</span>'


def _download_card(report: VerifyReport) -> str:
    body = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    encoded = base64.b64encode(body.encode()).decode()
    stem = (report.file or "file").rsplit(".", 1)[0]
    return (
        '<div class="button-row"><a class="button-link" '
        f'href="data:application/json;base64,{encoded}" download="{esc(stem)}.verdict.json">'
        "Download report (JSON)</a></div>"
    )
