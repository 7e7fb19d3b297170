"""What the public detector tells about a recording: one of three grades.

A full verdict says much that helps whoever removes watermarks: scores,
distances, thresholds, which of several signs was found. Nothing of that is in a
:class:`PublicAnswer`. Nothing is recorded either: no ledger entry, no file, no digest.

============== =====================================================================================
grade          is said of
============== =====================================================================================
ours           a watermark of ours on its own content (``sealed``, ``excerpt``)
nothing-found  ``not-detected``
cannot-say     every other verdict; a file that is unreadable, over a limit, too short or silent
============== =====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from studio.consent.types import format_instant
from studio.core.errors import BeyondLimitsError
from studio.provenance.credentials.reading import CredentialState
from studio.verification.explanation import NAMED_FROM_S, TOO_QUIET_PEAK
from studio.verification.parts import PartKind
from studio.verification.report import Verdict

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.verification.report import Match, VerifyReport
    from studio.verification.suspect import SuspectAudio
    from watermark.audio.waveform import DecodeLimits

__all__ = [
    "SYSTEM",
    "Grade",
    "PublicAnswer",
    "PublicDetector",
    "PublicOutput",
    "PublicSegment",
    "Reason",
]

SYSTEM = "Consented Music Studio"
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MAX_VALUES = 2**27  # samples times channels: ten minutes of stereo at 96 kHz
_DEADLINE_S = 60.0  # that the decoder may work on one file
_OURS = frozenset({str(PartKind.SEALED), str(PartKind.OVERLAID)})


class Grade(StrEnum):
    """What is said of a recording."""

    OURS = "ours"
    NOTHING_FOUND = "nothing-found"
    CANNOT_SAY = "cannot-say"


class Reason(StrEnum):
    """Why nothing can be said."""

    EVIDENCE = "evidence"  # signs of ours, and not enough of them
    UNREADABLE = "unreadable"
    TOO_LONG = "too-long"
    FORMAT = "format"  # too many channels, or a sample rate that is not handled
    TOO_SHORT = "too-short"
    TOO_QUIET = "too-quiet"


@dataclass(frozen=True, slots=True)
class PublicSegment:
    """Whole seconds of the file that are ours; ``output`` is a place in the list of outputs."""

    start_s: int
    end_s: int
    output: int

    def to_json(self) -> dict[str, int]:
        return {"start_s": self.start_s, "end_s": self.end_s, "output": self.output}


@dataclass(frozen=True, slots=True)
class PublicOutput:
    """One output of ours. Of one that its owner keeps private nothing is told but that it is."""

    public: bool
    output_id: str | None = None
    title: str | None = None
    credits: tuple[str, ...] = ()
    created_at: str | None = None

    def to_json(self) -> dict[str, object]:
        if not self.public:
            return {"public": False}
        return {
            "public": True,
            "output_id": self.output_id,
            "title": self.title,
            "credits": list(self.credits),
            "created_at": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class PublicAnswer:
    """The answer about one recording."""

    grade: Grade
    reason: Reason | None  # where nothing can be said
    outputs: tuple[PublicOutput, ...] = ()
    segments: tuple[PublicSegment, ...] = ()
    credentials: str = (
        "absent"  # C2PA in the file: absent, unreadable, tampered, untrusted, trusted
    )
    signer: str | None = None  # of the credentials

    def to_json(self) -> dict[str, object]:
        """What ``POST /api/public/detect`` answers, beside whom to complain to."""
        return {
            "grade": str(self.grade),
            "reason": None if self.reason is None else str(self.reason),
            "segments": [segment.to_json() for segment in self.segments],
            "outputs": [output.to_json() for output in self.outputs],
            "provenance": self.provenance(),
            "content_credentials": {"state": self.credentials, "signer": self.signer},
        }

    def provenance(self) -> Mapping[str, str] | None:
        """How what is ours was made; None where nothing is."""
        if self.grade is not Grade.OURS:
            return None
        return {
            "system": SYSTEM,
            "version": version("consented-music-studio"),
            "digital_source_type": _SOURCE_TYPE,
        }


class PublicDetector:
    """Examines recordings for strangers, over a whole studio of which it tells next to nothing."""

    def __init__(self, studio: Container) -> None:
        self._studio = studio

    def examine(
        self,
        path: Path,
        *,
        opened: Callable[[SuspectAudio], None],
        progress: Callable[[float], None],
    ) -> PublicAnswer:
        """The answer about one file. ``opened`` and ``progress`` may raise to stop the work.

        Raises as :meth:`studio.verification.verifier.Verifier.verify` does.
        """
        peaks: list[float] = []

        def look(recording: SuspectAudio) -> None:
            peaks.append(recording.peak)
            opened(recording)

        from watermark.errors import AudioFormatLimitError

        try:
            report = self._studio.examiner().examine(
                path,
                record=False,
                others=False,
                limits=self._limits(),
                max_values=_MAX_VALUES,
                progress=progress,
                opened=look,
            )
        except BeyondLimitsError as exc:
            of_format = isinstance(exc.__cause__, AudioFormatLimitError)
            reason = Reason.FORMAT if of_format else Reason.TOO_LONG
            return PublicAnswer(Grade.CANNOT_SAY, reason)
        return self._answer(report, max(peaks, default=1.0))

    def _limits(self) -> DecodeLimits:
        from watermark.audio.waveform import DecodeLimits

        config = self._studio.config
        return DecodeLimits(
            max_duration_s=config.public_detector.max_duration_s,
            max_bytes=config.public_detector.max_bytes,
            deadline_s=_DEADLINE_S,
            isolated=config.uploads.isolate,
            unfiltered=config.uploads.allow_unfiltered,
        )

    def _answer(self, report: VerifyReport, peak: float) -> PublicAnswer:
        if report.verdict is Verdict.UNREADABLE:
            return PublicAnswer(Grade.CANNOT_SAY, Reason.UNREADABLE)
        answer = self._graded(report, peak)
        # "Recovered" is said of what our ledger has; a stranger is told what is in the file.
        state, signer = report.c2pa.get("state", "absent"), report.c2pa.get("signer")
        if state == CredentialState.RECOVERED:
            return answer
        return replace(
            answer, credentials=str(state), signer=None if signer is None else str(signer)
        )

    def _graded(self, report: VerifyReport, peak: float) -> PublicAnswer:
        ours = [match for match in report.matches if match.kind in _OURS]
        if report.verdict in (Verdict.SEALED, Verdict.EXCERPT) and ours:
            ids = list(dict.fromkeys(str(match.output_id) for match in ours))
            return PublicAnswer(
                Grade.OURS,
                None,
                tuple(self._output(output_id) for output_id in ids),
                tuple(_segment(match, ids, report.duration_s or 0.0) for match in ours),
            )
        if report.verdict is not Verdict.NOT_DETECTED:
            return PublicAnswer(Grade.CANNOT_SAY, Reason.EVIDENCE)
        if (report.duration_s or 0.0) < NAMED_FROM_S:
            return PublicAnswer(Grade.CANNOT_SAY, Reason.TOO_SHORT)
        if peak < TOO_QUIET_PEAK:
            return PublicAnswer(Grade.CANNOT_SAY, Reason.TOO_QUIET)
        return PublicAnswer(Grade.NOTHING_FOUND, None)

    def _output(self, output_id: str) -> PublicOutput:
        if not self._studio.releases().is_public(output_id):
            return PublicOutput(public=False)
        release = self._studio.releases().get(output_id)
        return PublicOutput(
            public=True,
            output_id=release.output_id,
            title=release.title,
            credits=release.credits,
            created_at=format_instant(release.created_at),
        )


def _segment(match: Match, ids: list[str], duration_s: float) -> PublicSegment:
    """The seconds outwards to whole ones: finer ends would say how an attack moves them."""
    return PublicSegment(
        start_s=math.floor(match.start_s),
        end_s=math.ceil(min(match.end_s, duration_s)),
        output=ids.index(str(match.output_id)),
    )
