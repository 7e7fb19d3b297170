"""Examine a suspect file: verdict, family tree, Content Credentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from studio.consent.types import format_instant
from studio.verification.other_marks import load_readers
from studio.verification.verifier import Verifier, VerifyReport

if TYPE_CHECKING:
    from studio.app.examination.comparing import ComparedPart
    from studio.app.outputs.releases import Releases
    from studio.consent import ConsentPolicy
    from studio.core.config import StudioConfig
    from studio.generation.derived.lineage import Lineage
    from studio.provenance.credentials.inspector import CredentialFinding
    from studio.provenance.credentials.signing import Credentials
    from studio.provenance.ledger.entry import Entry
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.output_index import OutputIndex
    from studio.provenance.release import Release
    from studio.provenance.sealer import Sealer
    from studio.verification.holding import Origin
    from studio.verification.other_marks import MarkFinding, MarkReader
    from studio.verification.suspect import SuspectAudio
    from watermark.audio.waveform import DecodeLimits

__all__ = ["Evidence", "FileExaminer"]


class Evidence(Protocol):
    """The parts of a studio that say where a recording comes from."""

    config: StudioConfig

    def policy(self) -> ConsentPolicy: ...
    def sealer(self) -> Sealer: ...
    def ledger(self) -> Ledger: ...
    def registry(self) -> OutputIndex: ...
    def lineage(self) -> Lineage: ...
    def credentials(self) -> Credentials: ...
    def releases(self) -> Releases: ...


class FileExaminer:
    """Adds to a verdict what else the studio knows, and records it."""

    def __init__(self, studio: Evidence) -> None:
        self._studio = studio
        self._verifier = Verifier(
            config=studio.config,
            policy=studio.policy,
            sealer=studio.sealer,
            ledger=studio.ledger(),
            registry=studio.registry(),
        )

    def examine(
        self,
        source: str | Path | bytes,
        *,
        record: bool = True,
        limits: DecodeLimits | None = None,
        max_values: int | None = None,
        progress: Callable[[float], None] | None = None,
        opened: Callable[[SuspectAudio], None] | None = None,
        others: bool = True,
        recorded_since: int | None = None,
        origin: Origin | None = None,
    ) -> VerifyReport:
        """Examine a suspect file; see :meth:`studio.verification.verifier.Verifier.verify`.

        ``record`` appends the verdict to the ledger. ``progress`` is called with the seconds read,
        ``opened`` is shown each decoded stream; both may raise to stop the work. ``others``: let
        the configured readers look for others' marks, in recordings that are held in memory.
        ``recorded_since``: an examination of this file was cut off when the ledger had so many
        entries; an entry that it made since then is not made again. ``origin``: the address that
        the file was fetched from, which is recorded with the verdict.
        """
        marks: list[MarkFinding] = []

        def look(recording: SuspectAudio) -> None:
            if opened is not None:
                opened(recording)
            if others and recording.whole is not None:
                marks.extend(reader.read(recording.whole) for reader in self._readers)

        report = self._verifier.verify(
            source, limits=limits, max_values=max_values, progress=progress, opened=look
        )
        report = replace(report, other_marks=tuple(marks), origin=origin)
        report = self._with_credentials(self._with_family(report), source)
        if not record:
            return report
        entry = self._earlier(report, recorded_since)
        if entry is None:
            entry = self._studio.ledger().append("verification", report.to_ledger())
        recorded = {
            "entry": entry.index,
            "leaf_hash": entry.leaf_hash.hex(),
            "at": format_instant(entry.at),
        }
        return replace(report, recorded=recorded)

    def _earlier(self, report: VerifyReport, since: int | None) -> Entry | None:
        """The newest entry with the same findings on the same file, from index ``since`` on."""
        if since is None or report.sha256 is None:
            return None
        ledger, body = self._studio.ledger(), report.to_ledger()
        entries = ledger.entries(kind="verification", after=since - 1, newest_first=True)
        return next((each for each in entries if dict(each.body) == body), None)

    def compare(
        self, source: str | Path | bytes, report: VerifyReport, limits: DecodeLimits | None = None
    ) -> tuple[ComparedPart, ...]:
        """Lay an examined file beside its originals (:mod:`studio.app.examination.comparing`)."""
        from studio.app.examination.comparing import compare

        bounds = replace(limits or self._verifier.upload_limits(), stream=report.stream)
        named = source if isinstance(source, bytes) else Path(source)
        return compare(self._studio.releases(), named, report, bounds)

    def upload_limits(self) -> DecodeLimits:
        """What is decoded of a file from outside at most."""
        return self._verifier.upload_limits()

    @cached_property
    def _readers(self) -> tuple[MarkReader, ...]:
        return load_readers(self._studio.config.verify.other_readers)

    def credentials_of(
        self,
        source: str | Path | bytes,
        release: Release | None = None,
        stem: str | None = None,
    ) -> CredentialFinding:
        """What the Content Credentials in a file are worth; no seal is read.

        Where there are none, those of ``release`` (or of that stem of it), which the file was
        matched to. Raises :class:`OSError` for a file that cannot be read.
        """
        from studio.provenance.credentials.inspector import CredentialInspector
        from studio.provenance.credentials.repository import ManifestStore

        studio = self._studio
        inspector = CredentialInspector(studio.credentials, ManifestStore(studio.ledger()))
        return inspector.examine(source, studio.config.uploads, release=release, part=stem)

    def _with_family(self, report: VerifyReport) -> VerifyReport:
        if report.release is None:
            return report
        family = self._studio.lineage().family(report.release)
        text = f"{report.explanation.rstrip()} {family.text()}".rstrip()
        return replace(report, lineage=family.to_json(), explanation=text)

    def _with_credentials(self, report: VerifyReport, source: str | Path | bytes) -> VerifyReport:
        if report.error is not None:
            return report
        found = self.credentials_of(source, report.release, report.stem)
        explained = report.release is not None or found.is_present
        text = (
            f"{report.explanation.rstrip()} {found.explanation}"
            if explained
            else report.explanation
        )
        return replace(report, c2pa=found.to_json(), explanation=text)
