"""Verification: from a suspect file to a verdict and its reasons.

:mod:`studio.verification.evidence` combines two independent readings of every stretch, the seal
and the content. Only both together make a file ours: a seal alone can be copied onto other audio,
and content alone may have lost its seal, or resemble a twin. Here the evidence becomes one of the
verdicts, with its outputs from the ledger and their consent as it was and as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from studio.consent import ConsentPolicy, Reason
from studio.consent.types import format_instant
from studio.core.config import StudioConfig
from studio.core.errors import BeyondLimitsError, DecodingRefusedError, FileAbsentError
from studio.verification import explanation
from studio.verification.evidence import Examiner
from studio.verification.parts import Evidence, Part, PartKind
from studio.verification.report import (
    ConsentThenNow,
    Match,
    MatchedOutput,
    Verdict,
    VerifyReport,
)
from studio.verification.suspect import Room, SuspectAudio, sha256_of
from studio.verification.trials import Trials

if TYPE_CHECKING:
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.output_index import OutputIndex
    from studio.provenance.release import Release
    from studio.provenance.sealer import Sealer
    from watermark.audio.waveform import DecodeLimits, Waveform
    from watermark.detection.detect import Detection
    from watermark.errors import AudioError

__all__ = ["ConsentThenNow", "Match", "Verdict", "Verifier", "VerifyReport"]

OnRead = Callable[[float], None]
"""Called with the seconds of audio that were read; may raise to stop the work."""

OnOpened = Callable[[SuspectAudio], None]
"""Shown each audio stream once it is decoded, before it is examined; may raise to stop the work."""

_VERDICTS = {
    PartKind.SEALED: Verdict.EXCERPT,  # or SEALED, where it is the whole
    PartKind.OVERLAID: Verdict.EXCERPT,
    PartKind.COPIED: Verdict.TRANSPLANTED,
    PartKind.ALONE: Verdict.SEAL_ONLY,
    PartKind.UNSEALED: Verdict.UNSEALED_COPY,
}
"""What a file is called for the best kind of part in it, best first."""


_RANK = (
    Verdict.SEALED,
    Verdict.EXCERPT,
    Verdict.TRANSPLANTED,
    Verdict.SEAL_ONLY,
    Verdict.UNSEALED_COPY,
    Verdict.FOREIGN_SEAL,
    Verdict.NOT_DETECTED,
    Verdict.UNREADABLE,
)
"""Of the verdicts on several audio streams of a file, the first of these is the file's."""

_NOTHING_FOUND = frozenset({Verdict.NOT_DETECTED, Verdict.UNREADABLE})


class Verifier:
    """Examines files against the registry of everything released."""

    def __init__(
        self,
        *,
        config: StudioConfig,
        policy: Callable[[], ConsentPolicy],
        sealer: Callable[[], Sealer],
        ledger: Ledger,
        registry: OutputIndex,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._config = config
        self._policy = policy
        self._sealer = sealer
        self._ledger = ledger
        self._registry = registry
        self._clock = clock or (lambda: datetime.now(UTC))

    def verify(
        self,
        source: str | Path | bytes,
        *,
        limits: DecodeLimits | None = None,
        max_values: int | None = None,
        progress: OnRead | None = None,
        opened: OnOpened | None = None,
    ) -> VerifyReport:
        """Examine one file, by path or by content. A file that cannot be decoded is a verdict.

        Args:
            source: hours long if ``limits`` permit: what is too long to hold is read in passes.
            limits: on decoding; default those on uploads.
            max_values: most samples times channels, of all streams together; default that of
                uploads, or none where ``limits`` are given.
            progress: called with the seconds read, in every pass.
            opened: shown each decoded stream before it is examined.

        Raises :class:`~studio.core.errors.LedgerError` and
        :class:`~studio.core.errors.ModelError`: without registry or detector there is no verdict
        at all; nor without a sandbox to decode in:
        :class:`~studio.core.errors.DecodingRefusedError`; nor on a file that is not there:
        :class:`~studio.core.errors.FileAbsentError`; nor on one over a limit:
        :class:`~studio.core.errors.BeyondLimitsError`.
        """
        bounds = limits or self.upload_limits()
        if limits is None and max_values is None:
            max_values = self._config.uploads.max_values
        room = Room(max_values)
        best, streams = self._verify_stream(source, bounds, progress, room, opened)
        reports = [best]
        beyond: dict[int, BeyondLimitsError] = {}
        for number in range(bounds.stream + 1, streams):
            bounds_of = replace(bounds, stream=number)
            try:
                reports.append(self._verify_stream(source, bounds_of, progress, room, opened)[0])
            except BeyondLimitsError as exc:
                beyond[number - bounds.stream] = exc
                reports.append(best)  # keeps the numbers; it is not looked at
        if len(reports) == 1:
            return best
        examined = [n for n in range(len(reports)) if n not in beyond]
        ranked = sorted(examined, key=lambda n: _RANK.index(reports[n].verdict))
        best = reports[ranked[0]]
        if beyond and best.verdict in _NOTHING_FOUND:  # what was not examined may hold it
            raise next(iter(beyond.values()))
        notes = [
            *best.notes,
            f"{streams} audio streams; this is the verdict on stream "
            f"{bounds.stream + ranked[0] + 1}",
            *(f"audio stream {bounds.stream + n + 1}: not examined, {beyond[n]}" for n in beyond),
        ]
        for n in ranked[1:]:
            matched = reports[n].release
            what = f", output {matched.output_id}" if matched is not None else ""
            notes.append(f"audio stream {bounds.stream + n + 1}: {reports[n].verdict}{what}")
        explained = _with_notes(best, notes)
        every = [reports[n].tried for n in examined]
        tried = reduce(operator.add, [each for each in every if each is not None] or [Trials()])
        stream = bounds.stream + ranked[0]
        return replace(best, notes=tuple(notes), explanation=explained, stream=stream, tried=tried)

    def _verify_stream(
        self,
        source: str | Path | bytes,
        limits: DecodeLimits,
        progress: OnRead | None,
        room: Room,
        opened: OnOpened | None,
    ) -> tuple[VerifyReport, int]:
        """The report on one audio stream of a file, and how many the file has."""
        from watermark.audio.limits import source_name
        from watermark.errors import (
            AudioError,
            AudioFormatLimitError,
            AudioTooLongError,
            SandboxUnavailableError,
        )

        name = None if isinstance(source, bytes) else Path(source).name
        on_progress = progress or (lambda _seconds: None)
        try:
            recording = SuspectAudio.open(source, limits, progress=on_progress, room=room)
            if opened is not None:
                opened(recording)
            self._registry.refresh()
            examiner = Examiner(
                self._registry,
                lambda part: self._read(part, on_progress),
                self._config.verify.max_speed_change,
            )
            evidence = examiner.examine(recording)
        except SandboxUnavailableError as exc:  # nothing about the file, so no verdict on it
            raise DecodingRefusedError(str(exc)) from exc
        except (AudioTooLongError, AudioFormatLimitError) as exc:
            # A limit of ours says nothing about the sound either.
            shown = str(exc).removeprefix(f"{source_name(source)}: ")  # the name may be an upload's
            raise BeyondLimitsError(_beyond(exc, shown, limits)) from exc
        except (AudioError, OSError) as exc:
            if not isinstance(source, bytes) and not Path(source).exists():
                # A file that is gone says nothing about its sound, so there is no verdict on it.
                raise FileAbsentError(
                    f"{name}: there is no such file, or it is no longer here"
                ) from exc
            if PermissionError in (type(exc), type(exc.__cause__)):
                raise FileAbsentError(f"{name}: permission denied") from exc
            why = exc.strerror or "unreadable" if isinstance(exc, OSError) else str(exc)
            return VerifyReport(
                verdict=Verdict.UNREADABLE,
                explanation=f"The file could not be decoded: {why}",
                file=name,
                error=why,
                sha256=_digest(source, limits.max_bytes),
            ), 1
        report = replace(
            self._judge(evidence, recording),
            file=name,
            duration_s=recording.duration_s,
            sha256=recording.sha256,
            registered=len(self._registry),
            notes=recording.notes,
            tried=examiner.tried,
        )
        report = replace(report, explanation=_with_notes(report, recording.notes))
        return report, recording.streams

    def upload_limits(self) -> DecodeLimits:
        """What is decoded of an upload at most."""
        from watermark.audio.waveform import DecodeLimits

        uploads = self._config.uploads
        return DecodeLimits(
            max_duration_s=uploads.max_duration_s,
            max_bytes=uploads.max_bytes,
            deadline_s=uploads.deadline_s,
            isolated=uploads.isolate,
            unfiltered=uploads.allow_unfiltered,
        )

    def _read(self, part: SuspectAudio | Waveform, progress: OnRead) -> Detection:
        sealer, codebook = self._sealer(), self._registry.codebook
        if not isinstance(part, SuspectAudio):
            progress(part.duration_s)  # it may stop the work between two readings
            return sealer.read(part, codebook)
        if part.whole is not None:
            return sealer.read(part.whole, codebook, progress=progress)
        return sealer.read(part.source, codebook, limits=part.limits, progress=progress)

    # -- the table of verdicts ----------------------------------------------------------------

    def _judge(self, evidence: Evidence, recording: SuspectAudio) -> VerifyReport:
        detection, duration_s, peak = evidence.detection, recording.duration_s, recording.peak
        releases: dict[str, Release] = {}
        for part in evidence.parts:
            release = self._ledger.release(part.output_id)
            if release is not None:
                releases[part.output_id] = release
        parts = [part for part in evidence.parts if part.output_id in releases]
        if not parts:
            return self._nothing_of_ours(detection, peak)
        kind = next(kind for kind in _VERDICTS if any(part.kind is kind for part in parts))
        main = max((p for p in parts if p.kind is kind), key=lambda part: part.length_s)
        release = releases[main.output_id]
        consents = {key: self._consent_of(value) for key, value in releases.items()}
        whole = len(parts) == 1 and self._is_whole(main, release, duration_s)
        verdict = _VERDICTS[kind]
        if kind is PartKind.SEALED and whole:
            verdict = Verdict.SEALED
        consent = consents[main.output_id]
        if len(parts) > 1:
            text = explanation.mixed(parts, releases, consents)
        elif kind is PartKind.COPIED:
            text = explanation.transplanted(main, release, consent)
        elif kind is PartKind.ALONE:
            text = explanation.seal_only(main, release, consent)
        elif kind is PartKind.UNSEALED:
            text = explanation.unsealed_copy(
                main, release, consent, detection, whole=whole, peak=peak
            )
        else:
            text = explanation.sealed(main, release, consent, whole=verdict is Verdict.SEALED)
        return VerifyReport(
            verdict=verdict,
            explanation=text,
            file=None,
            detection=detection,
            release=release,
            offset_s=round(main.original_start_s - main.start_s * main.speed * main.tempo, 3),
            fingerprint_distance=main.distance,
            speed=evidence.speed,
            matches=tuple(Match.of(part) for part in parts),
            stem=main.stem,
            consent=consent,
            others=_others(releases, consents, main.output_id, parts),
        )

    def _is_whole(self, part: Part, release: Release, duration_s: float) -> bool:
        """Whether the part is (nearly) all of the file and all of the original."""
        share = self._config.verify.whole_share
        original_s = part.original_end_s - part.original_start_s
        return part.length_s >= share * duration_s and original_s >= share * release.duration_s

    def _nothing_of_ours(self, detection: Detection, peak: float) -> VerifyReport:
        # Without a measured rate of false alarms "somebody's mark" would be an unfounded claim.
        if detection.detected and detection.alarms is not None:
            return VerifyReport(
                verdict=Verdict.FOREIGN_SEAL,
                explanation=explanation.foreign(detection),
                file=None,
                detection=detection,
            )
        false_negatives = self._sealer().false_negative_rates()
        return VerifyReport(
            verdict=Verdict.NOT_DETECTED,
            false_negatives=false_negatives,
            explanation=explanation.not_detected(false_negatives, detection.duration_s, peak),
            file=None,
            detection=detection,
        )

    def _consent_of(self, release: Release) -> tuple[ConsentThenNow, ...]:
        """Each grant relied on at release, and whether the same grant would still do."""
        policy = self._policy()
        request = release.request
        at = policy.registry.present(self._clock())
        lines = []
        for then in release.decision["tags"]:
            grant_id = then["grant"]
            verdict = policy.standing(
                grant_id,
                use=request.use,
                territory=request.territory,
                model=request.model,
                at=at,
            )
            state, since, effect = "granted", None, None
            if verdict is None:
                state = "no-grant"  # the registry has lost it
            elif not verdict.covers:
                state = str(verdict.failures[0])
                if verdict.failures[0] is Reason.REVOKED:
                    since = policy.registry.revoked_at(grant_id)
                    effect = str(verdict.grant.on_revocation)
                elif verdict.failures[0] is Reason.EXPIRED:
                    since = verdict.grant.valid_until
            elif policy.closed is not None:
                state = "unconfirmed"  # restored: a revocation of since the backup may be missing
            holder = policy.registry.holders.get(then["holder"])
            lines.append(
                ConsentThenNow(
                    tag=then["tag"],
                    grant=grant_id,
                    holder=then["holder"] if holder is None else holder.name,
                    now=state,
                    since=None if since is None else format_instant(since),
                    effect=effect,
                )
            )
        return tuple(lines)


def _digest(source: str | Path | bytes, max_bytes: int) -> str | None:
    """The SHA-256 of a file without another finding; None of one that is too large or no file."""
    try:
        return sha256_of(source if isinstance(source, bytes) else Path(source), max_bytes) or None
    except OSError:
        return None


def _with_notes(report: VerifyReport, notes: Sequence[str]) -> str:
    """The explanation, and what the reader of the verdict should know of the file."""
    missing = [note for note in notes if note not in report.explanation]
    if not missing:
        return report.explanation
    return f"{report.explanation} About the file: {'; '.join(missing)}."


def _others(
    releases: dict[str, Release],
    consents: dict[str, tuple[ConsentThenNow, ...]],
    main: str,
    parts: Sequence[Part],
) -> tuple[MatchedOutput, ...]:
    """The outputs beside the main one, in the order in which they stand in the file."""
    ids = dict.fromkeys(part.output_id for part in parts if part.output_id != main)
    return tuple(MatchedOutput(releases[key], consents[key]) for key in ids)


def _beyond(error: AudioError, why: str, limits: DecodeLimits) -> str:
    """Which limit a file is over, and how it can be examined nevertheless."""
    from watermark.audio.waveform import STREAM_LIMITS
    from watermark.errors import AudioFormatLimitError

    if isinstance(error, AudioFormatLimitError):
        todo = "Convert it to one or two channels at 44.1 or 48 kHz and examine the copy"
    elif limits.max_duration_s < STREAM_LIMITS.max_duration_s:
        todo = (
            f"Recordings of up to {limits.max_duration_s / 60:g} minutes are examined here; the "
            "Verify tab of the page and `studio verify` on the command line take up to "
            f"{STREAM_LIMITS.max_duration_s / 3600:g} hours"
        )
    else:
        todo = "Cut out the part that you suspect, and examine that"
    return f"the recording was not examined, there is no verdict on it: {why}. {todo}"
