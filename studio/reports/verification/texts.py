"""The words of each verdict, for the Verify tab and printed reports.

A verdict is never worded beyond its evidence: no verdict says that a person made something, and the
presence of a seal alone never says where the content came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.verification.parts import PartKind
from studio.verification.verifier import Verdict

if TYPE_CHECKING:
    from studio.verification.verifier import VerifyReport

__all__ = ["PART_WORDS", "READING", "VerdictText", "next_steps"]


@dataclass(frozen=True, slots=True)
class VerdictText:
    """How to read one verdict."""

    icon: str
    tone: str  # good | warn | bad | calm: colours of the page's style sheet
    headline: str
    means: str
    means_not: str


@dataclass(frozen=True, slots=True)
class PartWords:
    """How a kind of part is shown."""

    title: str
    colour: str
    means: str


PART_WORDS: Mapping[str, PartWords] = {
    PartKind.SEALED: PartWords("sealed", "var(--good)", "our seal, on its own content"),
    PartKind.OVERLAID: PartWords(
        "under other sound",
        "var(--overlaid)",
        "our seal; its content is there, but covered or processed",
    ),
    PartKind.COPIED: PartWords(
        "copied seal", "var(--bad)", "our seal, on content that is not ours"
    ),
    PartKind.ALONE: PartWords(
        "seal alone", "var(--alone)", "our seal; whether the content is its own cannot be told"
    ),
    PartKind.UNSEALED: PartWords(
        "without a seal", "var(--unsealed)", "our content; no seal of ours can be read"
    ),
}

_NEXT_STEPS: Mapping[Verdict, tuple[str, ...]] = {
    Verdict.SEALED: (
        "Compare the use you see with the consent below: use, territory and term.",
        "Keep the examined file unchanged. Its digest ties it to this report.",
        "Ask the studio for the proof of the ledger entry (`studio ledger prove`), which anyone "
        "can check without it.",
    ),
    Verdict.EXCERPT: (
        "Use the table of parts: only those seconds are ours. The rest needs its own judgement.",
        "Compare the use you see with the consent below: use, territory and term.",
        "Keep the examined file unchanged. Its digest ties it to this report.",
    ),
    Verdict.TRANSPLANTED: (
        "Do not attribute this recording to the studio or to anyone named in the entry.",
        "Keep the file and tell the studio: somebody had a sealed file of the output named and "
        "made this one look like it.",
    ),
    Verdict.SEAL_ONLY: (
        "Do not take this for a finding against anyone.",
        "Look for a longer, louder or less processed copy, and examine that.",
        "Listen to the output named and to this file at the places given.",
    ),
    Verdict.UNSEALED_COPY: (
        "Listen to both at the places given. Content alone is evidence, not proof.",
        "Look for an earlier or less processed copy: the seal may have survived in it.",
        "Do not accuse anyone of removing a seal on this alone; processing destroys seals too.",
    ),
    Verdict.FOREIGN_SEAL: (
        "Take no step on this alone.",
        "Look for an earlier or less processed copy, and examine that.",
    ),
    Verdict.NOT_DETECTED: (
        "Conclude nothing about who or what made it.",
        "A longer or less processed copy gives a surer answer.",
    ),
    Verdict.UNREADABLE: (
        "Ask for the original file, or a WAV, FLAC or MP3 of it, and examine that.",
    ),
}

READING: Mapping[Verdict, VerdictText] = {
    Verdict.SEALED: VerdictText(
        "✓",
        "good",
        "This is an output of this studio",
        "The file carries the seal of one registered output, and its content agrees with that "
        "output's record.",
        "It does not say who distributed the file, or that a use of it is covered: compare the "
        "consent below with the use you see.",
    ),
    Verdict.EXCERPT: VerdictText(
        "✂",
        "good",
        "Part of an output of this studio is in this file",
        "As “sealed”, but for a part: the file is an excerpt of the output, or holds other "
        "material beside it. The places are given below.",
        "It says nothing about the rest of the file.",
    ),
    Verdict.TRANSPLANTED: VerdictText(
        "⚠",
        "bad",
        "Our seal, on content that is not ours",
        "The seal of a registered output was found, but the content is not that output: the seal "
        "was copied onto other audio, or the content was changed beyond recognition.",
        "It does not mean that this studio made the audio you hear. Someone made it look so.",
    ),
    Verdict.SEAL_ONLY: VerdictText(
        "◌",
        "warn",
        "Our seal; whether the content is ours cannot be told",
        "The seal of a registered output was found, but the content is too short, too quiet or too "
        "much covered to be compared with that output.",
        "It does not say that the seal was copied here, and not that this is that output.",
    ),
    Verdict.UNSEALED_COPY: VerdictText(
        "≈",
        "warn",
        "Our content, without a readable seal",
        "The content matches a registered output, but no seal can be read: it was removed or "
        "destroyed by processing.",
        "It does not say that somebody removed the seal on purpose; heavy processing does it too.",
    ),
    Verdict.FOREIGN_SEAL: VerdictText(
        "?",
        "warn",
        "The detector alarms, and no output of ours fits",
        "The sound looks marked in the way that we mark, but the messages in it belong to no "
        "output in this registry.",
        "It is a hint, not a finding: anyone can mark with the published weights, a mark put over "
        "ours hides whose it was, and unmarked music alarms at the rate stated below.",
    ),
    Verdict.NOT_DETECTED: VerdictText(
        "–",
        "calm",
        "No seal of this studio found",
        "Neither a seal nor registered content of this studio was found in this file.",
        "It does not mean that a person made it, and not that it is free of generated music: other "
        "systems leave no trace here, and a seal can be lost in a short or heavily processed clip.",
    ),
    Verdict.UNREADABLE: VerdictText(
        "✗",
        "warn",
        "The file could not be read",
        "It is not audio that can be decoded here, or it is damaged.",
        "It says nothing about the content.",
    ),
}


def next_steps(report: VerifyReport) -> tuple[str, ...]:
    """What a person with this verdict does now."""
    return _NEXT_STEPS[report.verdict]
