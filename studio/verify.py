"""The verification desk: which verdict does a suspect file deserve, and why.

The desk combines two independent readings. The **seal** (:mod:`watermark.detect`) says which
registered sequence of messages the file carries; the **fingerprint** (:mod:`watermark.fingerprint`)
says which registered content it is. Only both together make a file ours: a seal alone can be copied
onto other audio, and content alone may have lost its seal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from studio.config import StudioConfig
from studio.consent import ConsentPolicy, Reason
from studio.consent.types import format_instant
from studio.verdict import (
    ConsentThenNow,
    Match,
    Verdict,
    VerifyReport,
    bits_text,
    consent_text,
    miss_text,
    rate_text,
)

if TYPE_CHECKING:
    from studio.provenance.ledger import Ledger
    from studio.provenance.registry import Registry
    from studio.provenance.release import Release
    from studio.provenance.sealing import Sealer
    from watermark.audio import Waveform
    from watermark.detect import Detection
    from watermark.fingerprint import Fingerprint, FingerprintMatch
    from watermark.identify import Identification

__all__ = ["ConsentThenNow", "Match", "Verdict", "Verifier", "VerifyReport"]

_SAME_PLACE_S = 1.5
"""Seal and fingerprint must place the file within this of each other: both look at whole seconds
or windows of half a second, and a changed tempo shifts them apart."""

_SPEED_STEP = 0.005
"""Between the speeds that are tried first; a fingerprint stands about twice as much."""

_SPEED_SPAN_S = 30.0
"""How much of a file is looked at for its speed."""

_SPEED_RATE = 8_000  # Hz


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What seal and content say about one file."""

    waveform: Waveform  # as read, or with its change of speed undone
    speed: float  # by which the file was played, and that was undone
    detection: Detection
    output_id: str | None  # the output that the seal names, or else the content
    content: FingerprintMatch | None  # against that output

    @property
    def found(self) -> Identification | None:
        return self.detection.identification

    @property
    def agrees(self) -> bool:
        """The seal is ours, and so is the content, in the same place."""
        return (
            self.found is not None
            and self.content is not None
            and self.content.is_match
            and abs(self.content.offset_s - self.found.offset_s) <= _SAME_PLACE_S
        )


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
        from watermark.errors import AudioError

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
        evidence = self._gather(waveform)
        if not evidence.agrees:
            speed = self._speed_of(waveform, evidence.found)
            if speed is not None:
                undone = self._gather(_at_speed(waveform, 1 / speed), speed=speed)
                if undone.content is not None and undone.content.is_match:
                    evidence = undone
        report = self._judge(evidence)
        return replace(report, file=name, duration_s=waveform.duration_s, sha256=digest)

    # -- evidence -----------------------------------------------------------------------------

    def _gather(self, waveform: Waveform, *, speed: float = 1.0) -> _Evidence:
        """Read seal and content of a file, or of a file whose change of speed has been undone."""
        detection = self._sealer().read(waveform, self._registry.codebook)
        found = detection.identification
        query = _fingerprint(waveform)
        matches = [] if query is None else self._registry.index.search(query)
        if found is not None:
            content = None if query is None else self._content_of(query, found, matches)
            return _Evidence(waveform, speed, detection, found.seal_id.hex, content)
        nearest = min(matches, key=lambda match: match.distance, default=None)
        output_id = None if nearest is None else str(nearest.key)
        return _Evidence(waveform, speed, detection, output_id, nearest)

    def _content_of(
        self, query: Fingerprint, found: Identification, matches: Sequence[FingerprintMatch]
    ) -> FingerprintMatch | None:
        """The content against that of the seal's own output, first of all where the seal says."""
        from watermark.fingerprint import WORDS_PER_SECOND, Fingerprint, match

        output_id = found.seal_id.hex
        reference = self._registry.fingerprints[output_id]
        # Music repeats itself: the best alignment of all may be a bar away from the true one.
        first = max(0, int((found.offset_s - _SAME_PLACE_S) * WORDS_PER_SECOND))
        last = int((found.offset_s + query.duration_s + _SAME_PLACE_S) * WORDS_PER_SECOND)
        part = Fingerprint(reference.words[first : max(first, last)], reference.duration_s)
        near = match(query, part)
        if near is not None and near.is_match:
            near = replace(near, offset_s=near.offset_s + first / WORDS_PER_SECOND)
            if abs(near.offset_s - found.offset_s) <= _SAME_PLACE_S:
                return near
        indexed = next((match for match in matches if match.key == output_id), None)
        return indexed or match(query, reference)

    def _speed_of(self, waveform: Waveform, found: Identification | None) -> float | None:
        """By how much the file was sped up (1.02) or slowed down (0.98), if its content says so.

        Half a minute of the file is fingerprinted at speeds half a percent apart, then finer: a
        fingerprint stands about one percent.
        """
        from watermark.audio import Waveform
        from watermark.fingerprint import match

        limit = self._config.verify.max_speed_change
        if len(self._registry) == 0 or limit == 0:
            return None
        length_s = min(waveform.duration_s, _SPEED_SPAN_S)
        start_s = (waveform.duration_s - length_s) / 2
        if found is not None:  # where the seal was read
            start_s = min(max(0.0, -found.offset_s), waveform.duration_s - length_s)
        # Once to a low rate: a fingerprint looks no higher than 2 kHz, and this is tried often.
        span = waveform.slice(start_s, start_s + length_s).mono().resample(_SPEED_RATE)

        def distance(speed: float) -> float:
            query = _fingerprint(Waveform(span.samples, round(span.rate / speed)))
            if query is None:
                return 1.0
            if found is not None:
                near = match(query, self._registry.fingerprints[found.seal_id.hex])
                return 1.0 if near is None or not near.is_match else near.distance
            hits = self._registry.index.search(query, limit=1)
            return min((hit.distance for hit in hits), default=1.0)

        steps = int(limit / _SPEED_STEP + 1e-9)
        tried = {1 + _SPEED_STEP * k: 1.0 for k in range(-steps, steps + 1) if k}
        tried = {speed: distance(speed) for speed in tried}
        best = min(tried, key=lambda speed: tried[speed])
        if tried[best] == 1.0:
            return None
        for finer in (_SPEED_STEP / 2, _SPEED_STEP / 4):
            around = {best: tried[best]} | {s: distance(s) for s in (best - finer, best + finer)}
            best = min(around, key=lambda speed: around[speed])
            tried = around
        return best

    # -- the table of verdicts ----------------------------------------------------------------

    def _judge(self, evidence: _Evidence) -> VerifyReport:
        waveform, detection = evidence.waveform, evidence.detection
        found, content, output_id = evidence.found, evidence.content, evidence.output_id
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
            speed=evidence.speed,
        )
        played = (
            ""
            if evidence.speed == 1.0
            else f"It is played at {evidence.speed:.3f} times its speed. "
        )
        title = f"“{release.title}”, output {release.output_id}, ledger entry {release.entry_index}"
        if found is None:
            assert content is not None
            place = _overlap(waveform.duration_s, release.duration_s, content.offset_s)
            return replace(
                report,
                verdict=Verdict.UNSEALED_COPY,
                explanation=f"The content is that of {title} ({bits_text(content)}), but no seal "
                "of ours can be read in it: it was removed or destroyed, or this is another "
                "recording of the same render. " + played + consent_text(consent),
                offset_s=content.offset_s,
                matches=(_in_file(place, evidence.speed),),
            )
        surely = f"by chance at most {found.chance_bound:.1g}"
        if not evidence.agrees or content is None:
            distance = (
                "there is too little sound to compare" if content is None else bits_text(content)
            )
            return replace(
                report,
                verdict=Verdict.TRANSPLANTED,
                explanation=f"The seal of {title} is in this file ({surely}), but the content is "
                f"not that output's ({distance}). The seal was copied onto other audio, or the "
                "content was changed beyond recognition. It proves nothing about this content. "
                + played
                + consent_text(consent),
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
            here = _in_file(place, evidence.speed)
            what = (
                f"Seconds {here.start_s:.1f} to {here.end_s:.1f} of this file are seconds "
                f"{place.original_start_s:.1f} to {end_s:.1f} of {title}."
            )
        return replace(
            report,
            verdict=Verdict.SEALED if whole else Verdict.EXCERPT,
            explanation=f"{what} Its seal reads back ({surely}) and the content agrees "
            f"({bits_text(content)}). " + played + consent_text(consent),
            offset_s=found.offset_s,
            matches=(_in_file(place, evidence.speed),),
        )

    def _nothing_of_ours(self, detection: Detection) -> VerifyReport:
        # Without a measured rate of false alarms "somebody's mark" would be an unfounded claim.
        if detection.detected and detection.alarms is not None:
            return VerifyReport(
                verdict=Verdict.FOREIGN_SEAL,
                explanation="The detector alarms, but the messages it reads belong to no output in "
                "this registry: another site's mark, one of ours whose entry or key is lost, or a "
                "false alarm. Unmarked music as published is taken for marked "
                f"{rate_text(detection)}; after coding at low bit rates (MP3 at 64 kbit/s and "
                "below, Opus at 48 and below) unmarked music alarms often. Take it as a hint.",
                file=None,
                detection=detection,
            )
        misses = self._sealer().miss_rates()
        return VerifyReport(
            verdict=Verdict.NOT_DETECTED,
            misses=misses,
            explanation="No seal of ours and no content of ours was found. That does not say who "
            "or what made this music: other systems leave no seal of ours, and a seal can be "
            "destroyed. " + miss_text(misses, detection.duration_s),
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


def _fingerprint(waveform: Waveform) -> Fingerprint | None:
    """None under half a second: nothing to compare."""
    from watermark.errors import FingerprintError
    from watermark.fingerprint import fingerprint

    try:
        return fingerprint(waveform)
    except FingerprintError:
        return None


def _at_speed(waveform: Waveform, speed: float) -> Waveform:
    """The same samples, played ``speed`` times as fast, at (nearly) the same rate."""
    from watermark.audio import Waveform as Played

    return Played(waveform.samples, round(waveform.rate * speed)).resample(waveform.rate)


def _in_file(place: Match, speed: float) -> Match:
    """A place in the undone waveform as seconds of the file itself."""
    return Match(
        round(place.start_s / speed, 3), round(place.end_s / speed, 3), place.original_start_s
    )


def _overlap(file_s: float, original_s: float, offset_s: float) -> Match:
    """Where a file of ``file_s`` seconds lies in an original; its second 0 is at ``offset_s``."""
    start_s = max(0.0, -offset_s)
    end_s = min(file_s, original_s - offset_s)
    return Match(round(start_s, 3), round(max(start_s, end_s), 3), round(start_s + offset_s, 3))


def _sha256(source: str | Path | bytes, max_bytes: int) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if Path(source).stat().st_size > max_bytes:
        return ""  # reading refuses it; hashing it would only take time
    with Path(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
