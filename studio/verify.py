"""The verification desk: which verdict does a suspect file deserve, and why.

The desk combines two independent readings. The **seal** (:mod:`watermark.detect`) says which
registered sequence of messages the file carries; the **fingerprint** (:mod:`watermark.fingerprint`)
says which registered content it is. Only both together make a file ours: a seal alone can be copied
onto other audio, and content alone may have lost its seal.

>>> Verdict("unsealed-copy").is_negative
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config import StudioConfig
from studio.consent import ConsentPolicy, Reason
from studio.consent.types import format_instant

if TYPE_CHECKING:
    from studio.provenance.ledger import Ledger
    from studio.provenance.registry import Registry
    from studio.provenance.release import Release
    from studio.provenance.sealing import Sealer
    from watermark.audio import Waveform
    from watermark.detect import Detection
    from watermark.fingerprint import FingerprintMatch
    from watermark.identify import Identification

__all__ = ["ConsentThenNow", "Match", "Verdict", "Verifier", "VerifyReport"]

_SAME_PLACE_S = 1.5
"""Seal and fingerprint must place the file within this of each other: both look at whole seconds
or windows of half a second, and a changed tempo shifts them apart."""


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
    matches: tuple[Match, ...] = ()  # parts that are ours
    consent: tuple[ConsentThenNow, ...] = ()
    c2pa: Mapping[str, Any] = field(default_factory=lambda: {"state": "absent"})
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
            # The detector may have been handed decoded audio, which has no name.
            body["file"] = self.file
        return body | {
            "verdict": str(self.verdict),
            "explanation": self.explanation,
            "seal_id": self.seal_id,
            "entry": self.entry,
            "offset_s": self.offset_s,
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


class Verifier:
    """Examines files against the registry of everything released."""

    def __init__(
        self,
        *,
        config: StudioConfig,
        policy: Callable[[], ConsentPolicy],
        sealer: Callable[[], Sealer],
        ledger: Ledger,
        registry: Registry,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._config = config
        self._policy = policy
        self._sealer = sealer
        self._ledger = ledger
        self._registry = registry
        self._clock = clock or (lambda: datetime.now(UTC))

    def verify(self, source: str | Path | bytes) -> VerifyReport:
        """Examine one file, by path or by content. A file that cannot be decoded is a verdict.

        Raises :class:`~studio.errors.LedgerError` and :class:`~studio.errors.ModelError`: without
        registry or detector there is no verdict at all.
        """
        from watermark.audio import DecodeLimits, read
        from watermark.errors import AudioError, FingerprintError
        from watermark.fingerprint import fingerprint

        name = None if isinstance(source, bytes) else Path(source).name
        uploads = self._config.uploads
        limits = DecodeLimits(
            max_duration_s=uploads.max_duration_s,
            max_bytes=uploads.max_bytes,
            deadline_s=uploads.deadline_s,
        )
        try:
            digest = _sha256(source, uploads.max_bytes)
            waveform = read(source, limits)
        except (AudioError, OSError) as exc:
            why = exc.strerror or "unreadable" if isinstance(exc, OSError) else str(exc)
            return VerifyReport(
                verdict=Verdict.UNREADABLE,
                explanation=f"The file could not be decoded: {why}",
                file=name,
                error=why,
            )
        self._registry.refresh()
        detection = self._sealer().read(waveform, self._registry.codebook)
        try:
            query = fingerprint(waveform)
            matches = {str(match.key): match for match in self._registry.index.search(query)}
        except FingerprintError:  # under half a second: nothing to compare
            query, matches = None, {}
        found = detection.identification
        content: FingerprintMatch | None = None
        if found is not None:
            output_id = found.seal_id.hex
            content = matches.get(output_id)
            if content is None and query is not None:
                from watermark.fingerprint import match

                # The index may miss what a direct comparison with the one candidate finds.
                content = match(query, self._registry.fingerprints[output_id])
        elif matches:
            output_id, content = min(matches.items(), key=lambda item: item[1].distance)
        else:
            output_id = None
        report = self._judge(waveform, detection, output_id, found, content)
        return replace(report, file=name, duration_s=waveform.duration_s, sha256=digest)

    # -- the table of verdicts ----------------------------------------------------------------

    def _judge(
        self,
        waveform: Waveform,
        detection: Detection,
        output_id: str | None,
        found: Identification | None,
        content: FingerprintMatch | None,
    ) -> VerifyReport:
        release = None if output_id is None else self._ledger.release(output_id)
        if release is None:
            return self._nothing_of_ours(detection)
        consent = self._consent_of(release)
        report = VerifyReport(
            verdict=Verdict.NOT_DETECTED,  # each return below says which it is
            explanation="",
            file=None,
            detection=detection,
            release=release,
            consent=consent,
            fingerprint_distance=None if content is None else content.distance,
        )
        title = f"“{release.title}”, output {release.output_id}, ledger entry {release.entry_index}"
        if found is None:
            assert content is not None
            place = _overlap(waveform.duration_s, release.duration_s, content.offset_s)
            return replace(
                report,
                verdict=Verdict.UNSEALED_COPY,
                explanation=f"The content is that of {title} ({_bits(content)}), but no seal of "
                "ours can be read in it: it was removed or destroyed, or this is another "
                "recording of the same render. " + _consent_text(consent),
                offset_s=content.offset_s,
                matches=(place,),
            )
        surely = f"by chance at most {found.chance_bound:.1g}"
        same = (
            content is not None
            and content.is_match
            and abs(content.offset_s - found.offset_s) <= _SAME_PLACE_S
        )
        if not same or content is None:
            distance = "there is too little sound to compare" if content is None else _bits(content)
            return replace(
                report,
                verdict=Verdict.TRANSPLANTED,
                explanation=f"The seal of {title} is in this file ({surely}), but the content is "
                f"not that output's ({distance}). The seal was copied onto other audio, or the "
                "content was changed beyond recognition. It proves nothing about this content. "
                + _consent_text(consent),
                offset_s=found.offset_s,
            )
        place = _overlap(waveform.duration_s, release.duration_s, content.offset_s)
        length = place.end_s - place.start_s
        whole = length >= self._config.verify.whole_share * max(
            waveform.duration_s, release.duration_s
        )
        if whole:
            what = f"This is {title}."
        else:
            end_s = place.original_start_s + length
            what = (
                f"Seconds {place.start_s:.1f} to {place.end_s:.1f} of this file are seconds "
                f"{place.original_start_s:.1f} to {end_s:.1f} of {title}."
            )
        return replace(
            report,
            verdict=Verdict.SEALED if whole else Verdict.EXCERPT,
            explanation=f"{what} Its seal reads back ({surely}) and the content agrees "
            f"({_bits(content)}). " + _consent_text(consent),
            offset_s=found.offset_s,
            matches=(place,),
        )

    def _nothing_of_ours(self, detection: Detection) -> VerifyReport:
        if detection.detected:
            return VerifyReport(
                verdict=Verdict.FOREIGN_SEAL,
                explanation="The file carries a mark of the kind this studio's detector reads, but "
                "the messages in it belong to no output in this registry: another site's mark, "
                "or one of ours whose entry or key is lost. Unmarked music is taken for marked "
                f"{_rate_text(detection)}.",
                file=None,
                detection=detection,
            )
        return VerifyReport(
            verdict=Verdict.NOT_DETECTED,
            explanation="No seal of ours and no content of ours was found. That does not say who "
            "or what made this music: other systems leave no seal of ours, and a seal can be "
            "destroyed. " + _miss_text(detection),
            file=None,
            detection=detection,
        )

    def _consent_of(self, release: Release) -> tuple[ConsentThenNow, ...]:
        """Each grant relied on at release, and whether the same grant would still do."""
        policy = self._policy()
        request = release.request
        now = policy.decide(
            request.tags,
            use=request.use,
            territory=request.territory,
            model=request.model,
            at=self._clock(),
        )
        lines = []
        for then, answer in zip(release.decision["tags"], now.tags, strict=True):
            grant_id = then["grant"]
            verdict = next((v for v in answer.considered if v.grant.id == grant_id), None)
            state, since = "granted", None
            if verdict is None:
                state = "no-grant"  # the registry has lost it
            elif not verdict.covers:
                state = str(verdict.failures[0])
                if verdict.failures[0] is Reason.REVOKED:
                    since = policy.registry.revoked_at(grant_id)
                elif verdict.failures[0] is Reason.EXPIRED:
                    since = verdict.grant.valid_until
            holder = policy.registry.holders.get(then["holder"])
            lines.append(
                ConsentThenNow(
                    tag=then["tag"],
                    grant=grant_id,
                    holder=then["holder"] if holder is None else holder.name,
                    now=state,
                    since=None if since is None else format_instant(since),
                )
            )
        return tuple(lines)


def _overlap(file_s: float, original_s: float, offset_s: float) -> Match:
    """Where a file of ``file_s`` seconds lies in an original; its second 0 is at ``offset_s``."""
    start_s = max(0.0, -offset_s)
    end_s = min(file_s, original_s - offset_s)
    return Match(round(start_s, 3), round(max(start_s, end_s), 3), round(start_s + offset_s, 3))


def _bits(match: FingerprintMatch) -> str:
    return f"fingerprints differ in {match.distance:.0%} of their bits"


def _consent_text(consent: tuple[ConsentThenNow, ...]) -> str:
    holders = ", ".join(dict.fromkeys(line.holder for line in consent))
    gone = [line for line in consent if line.now != "granted"]
    if not gone:
        return f"Consent: {holders}; it still stands."
    changes = "; ".join(
        f"{line.tag} is {line.now}" + (f" since {line.since[:10]}" if line.since else "")
        for line in gone
    )
    return f"Consent at release: {holders}. Since then: {changes}."


def _sha256(source: str | Path | bytes, max_bytes: int) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if Path(source).stat().st_size > max_bytes:
        return ""  # reading refuses it; hashing it would only take time
    with Path(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rate_text(detection: Detection) -> str:
    return f"in {detection.false_positive_rate:.2g} of cases at this threshold"


def _miss_text(detection: Detection) -> str:
    return f"The detector's score was {detection.score:.2f}, below its threshold."
