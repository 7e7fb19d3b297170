"""The verification desk: which verdict does a suspect file deserve, and why.

The desk combines two independent readings. The **seal** (:mod:`watermark.detect`) says which
registered sequence of messages the file carries; the **fingerprint** (:mod:`watermark.fingerprint`)
says which registered content it is. Only both together make a file ours: a seal alone can be copied
onto other audio, and content alone may have lost its seal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
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
    from watermark.fingerprint import FingerprintMatch
    from watermark.identify import Identification

__all__ = ["ConsentThenNow", "Match", "Verdict", "Verifier", "VerifyReport"]

_SAME_PLACE_S = 1.5
"""Seal and fingerprint must place the file within this of each other: both look at whole seconds
or windows of half a second, and a changed tempo shifts them apart."""


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
                explanation=f"The content is that of {title} ({bits_text(content)}), but no seal "
                "of ours can be read in it: it was removed or destroyed, or this is another "
                "recording of the same render. " + consent_text(consent),
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
            distance = (
                "there is too little sound to compare" if content is None else bits_text(content)
            )
            return replace(
                report,
                verdict=Verdict.TRANSPLANTED,
                explanation=f"The seal of {title} is in this file ({surely}), but the content is "
                f"not that output's ({distance}). The seal was copied onto other audio, or the "
                "content was changed beyond recognition. It proves nothing about this content. "
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
            what = (
                f"Seconds {place.start_s:.1f} to {place.end_s:.1f} of this file are seconds "
                f"{place.original_start_s:.1f} to {end_s:.1f} of {title}."
            )
        return replace(
            report,
            verdict=Verdict.SEALED if whole else Verdict.EXCERPT,
            explanation=f"{what} Its seal reads back ({surely}) and the content agrees "
            f"({bits_text(content)}). " + consent_text(consent),
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
                f"{rate_text(detection)}.",
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
