"""What the desk hands back: the verdicts, the report, and the words it is put in.

>>> Verdict("unsealed-copy").is_negative
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.provenance.release import Release
    from studio.provenance.sealing import MissRate
    from watermark.detect import Detection
    from watermark.fingerprint import FingerprintMatch

__all__ = [
    "ConsentThenNow",
    "Match",
    "Verdict",
    "VerifyReport",
    "bits_text",
    "consent_text",
    "miss_text",
    "rate_text",
]


class Verdict(StrEnum):
    """What the desk says; never "human-made", and never "AI-generated" from presence alone."""

    SEALED = "sealed"
    EXCERPT = "excerpt"
    TRANSPLANTED = "transplanted"
    UNSEALED_COPY = "unsealed-copy"
    FOREIGN_SEAL = "foreign-seal"
    NOT_DETECTED = "not-detected"
    UNREADABLE = "unreadable"

    @property
    def is_negative(self) -> bool:
        """Anything but our seal on our content; the command line then exits with 1."""
        return self not in (Verdict.SEALED, Verdict.EXCERPT)


@dataclass(frozen=True, slots=True)
class ConsentThenNow:
    """One tag's consent as it was at release and as it stands now."""

    tag: str
    grant: str
    holder: str  # name
    now: str  # "granted", or the reason why it no longer is: "revoked", "expired", ...
    since: str | None  # RFC 3339 instant from which it is revoked or expired

    def to_json(self) -> dict[str, Any]:
        return {
            "tag": self.tag,
            "grant": self.grant,
            "holder": self.holder,
            "then": "granted",
            "now": self.now,
            "since": self.since,
        }


@dataclass(frozen=True, slots=True)
class Match:
    """A part of the examined file and where it lies in the original, in seconds."""

    start_s: float
    end_s: float
    original_start_s: float


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Everything the desk found. Fields that a verdict cannot have are None or empty."""

    verdict: Verdict
    explanation: str  # plain words, several sentences
    file: str | None  # name without folder
    duration_s: float | None = None
    detection: Detection | None = None
    release: Release | None = None  # the matched output
    offset_s: float | None = None  # where second 0 of the file lies in the original
    fingerprint_distance: float | None = None  # bit error rate against the matched output
    speed: float = 1.0  # at which the file plays; where not 1, `detection` is of the undone file
    matches: tuple[Match, ...] = ()  # parts that are ours
    consent: tuple[ConsentThenNow, ...] = ()
    c2pa: Mapping[str, Any] = field(default_factory=lambda: {"state": "absent"})
    misses: tuple[MissRate, ...] = ()  # how often a seal that is there is not found
    error: str | None = None  # why it could not be read
    sha256: str | None = None  # of the file examined

    @property
    def seal_id(self) -> str | None:
        return None if self.release is None else self.release.seal_id

    @property
    def entry(self) -> int | None:
        """Index of the release's ledger entry."""
        return None if self.release is None else self.release.entry_index

    def to_json(self) -> dict[str, Any]:
        """The contract of ``studio verify --json``."""
        body: dict[str, Any] = {"file": self.file, "duration_s": self.duration_s}
        if self.detection is not None:
            body |= self.detection.to_json()
            # The detector was handed decoded audio: without a name, perhaps at another speed.
            body |= {"file": self.file, "duration_s": self.duration_s}
        return body | {
            "verdict": str(self.verdict),
            "explanation": self.explanation,
            "seal_id": self.seal_id,
            "entry": self.entry,
            "offset_s": self.offset_s,
            "speed": self.speed,
            "matches": [
                {
                    "start_s": match.start_s,
                    "end_s": match.end_s,
                    "original_start_s": match.original_start_s,
                }
                for match in self.matches
            ],
            "fingerprint": {"distance": self.fingerprint_distance},
            "c2pa": dict(self.c2pa),
            "consent": [consent.to_json() for consent in self.consent],
            "misses": [asdict(rate) for rate in self.misses],
            "error": self.error,
        }

    def to_ledger(self) -> dict[str, Any]:
        """What a ``verification`` entry keeps: no file name, which may be personal."""
        return {
            "verdict": str(self.verdict),
            "sha256": self.sha256,
            "duration_s": self.duration_s,
            "seal_id": self.seal_id,
            "fingerprint_distance": self.fingerprint_distance,
        }


def bits_text(match: FingerprintMatch) -> str:
    """How far two fingerprints are apart."""
    return f"fingerprints differ in {match.distance:.0%} of their bits"


def consent_text(consent: tuple[ConsentThenNow, ...]) -> str:
    """Who had consented, and what has changed since."""
    holders = ", ".join(dict.fromkeys(line.holder for line in consent))
    gone = [line for line in consent if line.now != "granted"]
    if not gone:
        return f"Consent: {holders}; it still stands."
    changes = "; ".join(
        f"{line.tag} is {line.now}" + (f" since {line.since[:10]}" if line.since else "")
        for line in gone
    )
    return f"Consent at release: {holders}. Since then: {changes}."


def rate_text(detection: Detection) -> str:
    """At which measured rate unmarked music passes the threshold."""
    alarms = detection.alarms
    if detection.false_positive_rate is None or alarms is None:
        return "at a rate nobody has measured for these weights"
    return (
        f"in at most {detection.false_positive_rate:.2%} of cases ({alarms.alarms} alarms in "
        f"{alarms.clips} unmarked clips of {detection.calibrated_s:g} s, 95 % confidence)"
    )


_TOLD = ("clean", "mp3 128k", "mp3 64k", "opus 48k", "white noise 20 dB", "resampled to 16 kHz")
"""Of all attacks of the bench, those whose miss rates stand in the explanation."""


def miss_text(misses: tuple[MissRate, ...], duration_s: float) -> str:
    """At which measured rate a seal that is there is missed."""
    told = [rate for rate in misses if rate.attack in _TOLD]
    if not told:
        return "How often this reader misses a seal that is there has not been measured."
    rates = ", ".join(f"{rate.attack} {rate.missed} of {rate.clips}" for rate in told)
    text = f"Of sealed clips of {told[0].seconds:g} s it misses: {rates}."
    if duration_s < told[0].seconds:
        text += " This file is shorter, and more is missed."
    return text
