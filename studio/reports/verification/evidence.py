"""The numbers behind a verdict: three that matter first, then all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.verification.report import common_false_negatives, odds_text

if TYPE_CHECKING:
    from studio.verification.verifier import VerifyReport
    from watermark.detection.detect import Detection

__all__ = ["Figure", "evidence_rows", "false_negative_rows", "key_figures", "short_percent"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number a reader needs first."""

    title: str
    value: str
    means: str


def key_figures(report: VerifyReport) -> list[Figure]:
    """At most three numbers, the most telling first."""
    detection = report.detection
    if detection is None:
        return []
    figures = []
    found = detection.identification
    if report.release is not None and found is not None:
        figures.append(
            Figure(
                "Wrong name",
                odds_text(found.chance_bound),
                "that any wrong seal fits as well, over everything searched",
            )
        )
    if report.fingerprint_distance is not None:
        figures.append(
            Figure(
                "Content",
                f"{short_percent(report.fingerprint_distance)} differs",
                "from the original; the same recording: up to 25 %, unrelated music: about 50 %",
            )
        )
    side = "above" if detection.score >= detection.threshold else "below"
    figures.append(
        Figure(
            "Seal in the sound",
            f"{detection.score:.2f}, {side} {detection.threshold:.2f}",
            "detection score and the threshold from which a file counts as marked",
        )
    )
    if detection.false_positive_rate is not None:
        figures.append(
            Figure(
                "False alarms",
                f"at most {short_percent(detection.false_positive_rate)}",
                "of unmarked music passes that threshold",
            )
        )
    if (common := common_false_negatives(report.false_negatives)) is not None:
        figures.append(
            Figure(
                "Missed seals",
                f"{common.missed} of {common.clips}",
                f"sealed clips of {common.seconds:g} s, untouched or after common processing, were "
                "not found",
            )
        )
    return figures[:3]


def false_negative_rows(report: VerifyReport) -> list[tuple[str, str]]:
    """How often a seal was missed after each kind of processing, most often first."""
    ranked = sorted(report.false_negatives, key=lambda rate: -rate.missed / max(1, rate.clips))
    return [(rate.attack, f"{rate.missed} of {rate.clips}") for rate in ranked]


def evidence_rows(report: VerifyReport) -> list[tuple[str, str]]:
    """The measured numbers behind a verdict, each with what it means."""
    detection = report.detection
    if detection is None:
        return []
    found = detection.identification
    rows = [("Detection score", f"{detection.score:.2f} (threshold {detection.threshold:.2f})")]
    keyed = detection.keyed
    if detection.p_value is not None and found is None and keyed is None:
        rows.append(
            ("p-value", f"{odds_text(detection.p_value)} that unmarked music scores as high")
        )
    rows.append(("False-positive rate", _false_positives(detection)))
    if report.tried is not None:
        rows.append(("What was tried", _capital(report.tried.text())))
    if report.tried is not None and report.wrong_name_bound is not None:
        rows.append(
            (
                "Any name here wrong, all of that counted",
                f"{odds_text(report.wrong_name_bound)}: the bound of the least sure name, times "
                f"{report.tried.readings:,} readings",
            )
        )
    if found is not None:
        rows += [
            (
                "Chance of a wrong name",
                f"{odds_text(found.chance_bound)} that any wrong seal fits as well, over "
                f"everything searched ({found.searched:,} alignments of "
                f"{_registered(report)})",
            ),
            (
                "Message bits that agree",
                f"{short_percent(found.bit_accuracy)} (a wrong seal: about 50 %). Processing "
                "lowers it; whether enough agree, the chance above says",
            ),
        ]
    if keyed is not None:
        rows.append(
            (
                "Key",
                f"follows this studio's key of epoch {keyed.epoch}; "
                f"{odds_text(keyed.chance_bound)} that audio sealed with no key of ours does",
            )
        )
    if report.fingerprint_distance is not None:
        rows.append(
            (
                "Content against the original",
                f"{short_percent(report.fingerprint_distance)} of the fingerprint's bits differ "
                "(same recording: up to 25 %; unrelated music: about 50 %, never below 41 % in "
                "992 pairs)",
            )
        )
    if report.speed != 1.0:
        rows.append(("Speed", f"{report.speed:.3f} times the original's; undone before reading"))
    credentials = str(report.c2pa.get("state", "absent"))
    if why := report.c2pa.get("explanation"):
        credentials += f": {why}"
    rows.append(("Content Credentials", credentials))
    if said := report.c2pa.get("says"):
        believed = "" if report.c2pa.get("state") == "trusted" else " (not trusted)"
        rows.append((f"What they say{believed}", "; ".join(said)))
    for mark in report.other_marks:
        rows.append(
            (f"Mark of another system: {mark.reader}", f"{mark.text()}. Not in the verdict")
        )
    rows.append(("Detector", detection.model))
    return rows


def short_percent(share: float) -> str:
    """A share as a person reads it: one decimal, two digits below one percent.

    >>> short_percent(0.0494), short_percent(0.000998)
    ('4.9 %', '0.1 %')
    """
    value = share * 100
    return f"{value:.2g} %" if value < 1 else f"{value:.1f} %"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _registered(report: VerifyReport) -> str:
    return (
        "every registered seal"
        if report.registered is None
        else (f"{report.registered:,} registered outputs")
    )


def _false_positives(detection: Detection) -> str:
    """The rate with the count it was measured on: a rate without its sample says nothing."""
    counted = detection.alarms
    if counted is None or detection.false_positive_rate is None:
        return "nobody has measured it for this detector"
    return (
        f"at most {short_percent(detection.false_positive_rate)} at this threshold "
        f"(95 % confidence; {counted.alarms} alarms in {counted.clips:,} clips of unmarked music, "
        f"{detection.calibrated_s:g} s each)"
    )
