"""The verdicts, and the report on an examined file.

>>> Verdict("unsealed-copy").is_negative
True
>>> odds_text(3e-9), odds_text(0.004), odds_text(1e-40)
('one chance in 330 million', 'one chance in 250', 'less than one chance in 10¹⁵')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from studio.consent.types import OnRevocation

if TYPE_CHECKING:
    from studio.provenance.release import Release
    from studio.provenance.sealer import FalseNegativeRate
    from studio.verification.holding import Origin
    from studio.verification.other_marks import MarkFinding
    from studio.verification.parts import Part
    from studio.verification.trials import Trials
    from watermark.detection.detect import Detection

__all__ = [
    "ConsentThenNow",
    "Match",
    "MatchedOutput",
    "Verdict",
    "VerifyReport",
    "bits_text",
    "common_false_negatives",
    "consent_text",
    "false_negative_text",
    "odds_text",
    "rate_text",
]


class Verdict(StrEnum):
    """The verdict; never "human-made", and never "AI-generated" from presence alone."""

    SEALED = "sealed"
    EXCERPT = "excerpt"
    TRANSPLANTED = "transplanted"
    SEAL_ONLY = "seal-only"
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
    effect: str | None = None  # of a revocation on this output: keep, no-new-distribution, withdraw

    def to_json(self) -> dict[str, Any]:
        return {
            "tag": self.tag,
            "grant": self.grant,
            "holder": self.holder,
            "then": "granted",
            "now": self.now,
            "since": self.since,
            "effect": self.effect,
        }


@dataclass(frozen=True, slots=True)
class Match:
    """A part of the examined file and where it lies in an original, in seconds."""

    start_s: float
    end_s: float
    original_start_s: float
    original_end_s: float | None = None  # None: as long as the part
    kind: str = "sealed"  # a studio.verification.evidence.PartKind
    output_id: str | None = None
    distance: float | None = None  # share of fingerprint bits that differ
    chance_bound: float | None = None  # that any wrong seal fits as well
    rivals: tuple[tuple[str, float], ...] = ()  # outputs whose content agrees too, and how far
    stem: str | None = None  # of the output, which the part is; None: its mix

    @classmethod
    def of(cls, part: Part) -> Match:
        return cls(
            start_s=round(part.start_s, 3),
            end_s=round(part.end_s, 3),
            original_start_s=round(part.original_start_s, 3),
            original_end_s=round(part.original_end_s, 3),
            kind=str(part.kind),
            output_id=part.output_id,
            distance=part.distance,
            chance_bound=None if part.seal is None else part.seal.chance_bound,
            rivals=part.rivals,
            stem=part.stem,
        )

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def place_s(self) -> tuple[float, float]:
        """From where to where in the original."""
        end_s = self.original_end_s
        return (
            self.original_start_s,
            self.original_start_s + self.length_s if end_s is None else end_s,
        )

    def to_json(self) -> dict[str, Any]:
        body = asdict(self)
        body["original_end_s"] = round(self.place_s[1], 3)
        body["rivals"] = [{"output_id": key, "distance": value} for key, value in self.rivals]
        return body


class ComparedPart(Protocol):
    """A part beside its original, :class:`studio.verification.comparison.Comparison`."""

    def to_json(self) -> dict[str, Any]: ...

    def text(self) -> str:
        """What their spectra show, in words."""


@dataclass(frozen=True, slots=True)
class MatchedOutput:
    """An output of ours that is in the file, with its consent."""

    release: Release
    consent: tuple[ConsentThenNow, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "output_id": self.release.output_id,
            "title": self.release.title,
            "entry": self.release.entry_index,
            "consent": [line.to_json() for line in self.consent],
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Everything that was found. Fields a verdict cannot have are None or empty."""

    verdict: Verdict
    explanation: str  # plain words, several sentences
    file: str | None  # name without folder
    duration_s: float | None = None
    detection: Detection | None = None
    release: Release | None = None  # the matched output; of several, the one most of the file is
    stem: str | None = None  # of that output, which (most of) the file is; None: its mix
    offset_s: float | None = None  # where second 0 of the file lies in the original
    fingerprint_distance: float | None = None  # bit error rate against the matched output
    speed: float = 1.0  # at which the file plays; where not 1, `detection` is of the undone file
    matches: tuple[Match, ...] = ()  # parts that are ours, or carry our seal
    consent: tuple[ConsentThenNow, ...] = ()
    others: tuple[MatchedOutput, ...] = ()  # further outputs in the file
    c2pa: Mapping[str, Any] = field(default_factory=lambda: {"state": "absent"})
    other_marks: tuple[MarkFinding, ...] = ()  # of others' systems; never part of the verdict
    false_negatives: tuple[
        FalseNegativeRate, ...
    ] = ()  # how often a seal that is there is not found
    error: str | None = None  # why it could not be read
    sha256: str | None = None  # of the file examined
    lineage: Mapping[str, Any] | None = (
        None  # studio.generation.derived.lineage.FamilyTree of the matched output
    )
    registered: int | None = None  # outputs that were searched
    notes: tuple[str, ...] = ()  # what of the file was missing, damaged, left out or read apart
    recorded: Mapping[str, Any] | None = None  # the ledger entry of this verdict: entry, hash, at
    tried: Trials | None = None  # how often and in which ways the file was looked at
    comparisons: tuple[ComparedPart, ...] | None = None  # beside originals; None: not compared
    origin: Origin | None = None  # the address that it was fetched from
    stream: int = 0  # of the file's audio streams, the one that the verdict is on

    @property
    def seal_id(self) -> str | None:
        return None if self.release is None else self.release.seal_id

    @property
    def entry(self) -> int | None:
        """Index of the release's ledger entry."""
        return None if self.release is None else self.release.entry_index

    @property
    def wrong_name_bound(self) -> float | None:
        """Bound on any name in the file being wrong, everything that was tried counted."""
        if self.tried is None:
            return None
        named = (match.chance_bound for match in self.matches)
        return self.tried.wrong_name(bound for bound in named if bound is not None)

    @property
    def outputs(self) -> tuple[MatchedOutput, ...]:
        """Every output of ours in the file, the main one first."""
        if self.release is None:
            return ()
        return (MatchedOutput(self.release, self.consent), *self.others)

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
            "notes": list(self.notes),
            "sha256": self.sha256 or None,
            "seal_id": self.seal_id,
            "entry": self.entry,
            "stem": self.stem,
            "offset_s": self.offset_s,
            "speed": self.speed,
            "matches": [match.to_json() for match in self.matches],
            "fingerprint": {"distance": self.fingerprint_distance},
            "c2pa": dict(self.c2pa),
            "other_marks": [finding.to_json() for finding in self.other_marks],
            "consent": [consent.to_json() for consent in self.consent],
            "outputs": [output.to_json() for output in self.outputs],
            "registered": self.registered,
            "tried": None
            if self.tried is None
            else {**self.tried.to_json(), "wrong_name_bound": self.wrong_name_bound},
            "comparisons": None
            if self.comparisons is None
            else [{**each.to_json(), "text": each.text()} for each in self.comparisons],
            "misses": [asdict(rate) for rate in self.false_negatives],
            "lineage": None if self.lineage is None else dict(self.lineage),
            "error": self.error,
            "origin": None if self.origin is None else self.origin.to_json(),
            "recorded": None if self.recorded is None else dict(self.recorded),
        }

    def to_ledger(self) -> dict[str, Any]:
        """What a ``verification`` entry keeps: no file name, which may be personal."""
        return {
            "verdict": str(self.verdict),
            "sha256": self.sha256,
            "duration_s": self.duration_s,
            "seal_id": self.seal_id,
            "fingerprint_distance": self.fingerprint_distance,
            **({} if self.stem is None else {"stem": self.stem}),
            **({} if self.origin is None else {"origin": self.origin.to_ledger()}),
        }


def bits_text(distance: float) -> str:
    """How far two fingerprints are apart."""
    return f"fingerprints differ in {distance:.0%} of their bits"


def odds_text(p: float) -> str:
    """A small probability as a person says it: two digits, no power of ten below 10¹⁵."""
    if p < 1e-15:
        return "less than one chance in 10¹⁵"
    odds = float(f"{1 / p:.1e}")
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if odds >= size:
            return f"one chance in {odds / size:,.3g} {name}"
    return f"one chance in {odds:,.0f}" if odds >= 2 else "an even chance or more"


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
    text = f"Consent at release: {holders}. Since then: {changes}."
    effects = {line.effect for line in gone}
    if OnRevocation.WITHDRAW in effects:
        return f"{text} By its terms this output was withdrawn."
    if OnRevocation.NO_NEW_DISTRIBUTION in effects:
        return f"{text} By its terms this output may no longer be downloaded."
    return text


def rate_text(detection: Detection) -> str:
    """At which measured rate unmarked music passes the threshold."""
    alarms = detection.alarms
    if detection.false_positive_rate is None or alarms is None:
        return "at a rate nobody has measured for these weights"
    return (
        f"in at most {detection.false_positive_rate:.2%} of cases ({alarms.alarms} alarms in "
        f"{alarms.clips} unmarked clips of {detection.calibrated_s:g} s, 95 % confidence)"
    )


_STATED = ("clean", "mp3 128k", "mp3 64k", "opus 48k", "white noise 20 dB", "resampled to 16 kHz")
"""Of all attacks of the bench, those whose miss rates stand in the explanation."""


def common_false_negatives(
    false_negatives: tuple[FalseNegativeRate, ...],
) -> FalseNegativeRate | None:
    """Of clips left as they were or processed in common ways: how many seals were missed."""
    stated = [rate for rate in false_negatives if rate.attack in _STATED]
    if not stated:
        return None
    return replace(
        stated[0],
        attack="common",
        missed=sum(rate.missed for rate in stated),
        clips=sum(rate.clips for rate in stated),
    )


def false_negative_text(false_negatives: tuple[FalseNegativeRate, ...], duration_s: float) -> str:
    """At which measured rate a seal that is there is missed."""
    common = common_false_negatives(false_negatives)
    if common is None:
        return "How often this reader misses a seal that is there has not been measured."
    text = (
        f"Of {common.clips} sealed clips of {common.seconds:g} s, untouched or after common "
        f"processing (MP3, Opus, noise, resampling), it missed {common.missed}."
    )
    if duration_s < 0.95 * common.seconds:  # encoders and cutters are a few milliseconds off
        text += " This file is shorter, and more is missed."
    return text
