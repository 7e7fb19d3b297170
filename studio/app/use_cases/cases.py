"""Cases: files examined for one question, with notes and one signed report.

An account sees its own cases; one that may look at the record of any output sees every case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.core.errors import NotYoursError, UsageError
from studio.verification.cases import Case, CaseRepository

if TYPE_CHECKING:
    from studio.app.container import Container
    from watermark.audio.waveform import DecodeLimits

__all__ = ["REPORT_KINDS", "Cases"]

REPORT_KINDS = ("zip", "html", "pdf", "json")


class Cases(UseCases):
    """Each raises :class:`NotYoursError` for another account's case, or none."""

    @requires(Permission.VERIFY)
    def open(self, studio: Container, reference: str, title: str) -> Case:
        """Open a case. Raises :class:`UsageError` for unusable texts."""
        book, actor = CaseRepository(studio.database()), self.actor
        return book.open(reference, title, account=actor.account_id, examiner=actor.name)

    @requires(Permission.VERIFY)
    def all(self, studio: Container) -> list[Case]:
        """The cases that the actor may see, newest first, without what is in them."""
        return [case for case in CaseRepository(studio.database()).all() if self._sees(case)]

    @requires(Permission.VERIFY)
    def get(self, studio: Container, case_id: str) -> Case:
        """A case with everything in it."""
        return self._found(studio, case_id)

    @requires(Permission.VERIFY)
    def examine(
        self,
        studio: Container,
        case_id: str,
        source: Path,
        *,
        name: str,
        limits: DecodeLimits | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Case:
        """Examine a file; the verdict is recorded in the ledger and kept in the case.

        ``limits`` and ``progress`` are those of ``session.verification.verify``; what it refuses
        is not put into the case.
        """
        from studio.reports.verification.page import article_of

        self._found(studio, case_id)
        report = studio.examiner().examine(source, limits=limits, progress=progress)
        report = replace(report, file=name)
        return CaseRepository(studio.database()).add(
            case_id,
            file=name,
            report=report.to_json(),
            page=str(article_of(report)),
            account=self.actor.account_id,
            examiner=self.actor.name,
        )

    @requires(Permission.VERIFY)
    def note(self, studio: Container, case_id: str, text: str, *, about: int | None = None) -> Case:
        """Add a note to a case, or to one of its files. Raises :class:`UsageError`."""
        self._found(studio, case_id)
        return CaseRepository(studio.database()).note(
            case_id,
            text,
            about=about,
            account=self.actor.account_id,
            author=self.actor.name,
        )

    @requires(Permission.VERIFY)
    def delete(self, studio: Container, case_id: str) -> None:
        """Delete a case for good, as its owner or an administrator; the verdicts stay recorded."""
        case = self._found(studio, case_id)
        own = case.account_id == self.actor.account_id
        if not own and not self.actor.may(Permission.ADMINISTER):
            raise NotYoursError("no such case, or not yours")
        CaseRepository(studio.database()).delete(case_id)

    @requires(Permission.VERIFY)
    def report(self, studio: Container, case_id: str, kind: str) -> bytes:
        """The report: ``html``, ``pdf``, ``json``, or all three in a signed archive (``zip``)."""
        from studio.reports.cases.archive import case_archive, case_file

        case, now = self._found(studio, case_id), datetime.now(UTC)
        if kind not in REPORT_KINDS:
            raise UsageError(f"a report is one of {', '.join(REPORT_KINDS)}, not {kind!r}")
        if kind != "zip":
            return case_file(case, kind, now)
        return case_archive(case, now, studio.checkpointer().signer, studio.ledger().size())

    def _found(self, studio: Container, case_id: str) -> Case:
        case = CaseRepository(studio.database()).find(case_id)
        if not self._sees(case):
            raise NotYoursError("no such case, or not yours")
        return case

    def _sees(self, case: Case) -> bool:
        return case.account_id == self.actor.account_id or self.actor.may(Permission.RECORDS)
