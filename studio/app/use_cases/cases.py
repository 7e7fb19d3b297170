"""Cases: files examined for one question, with notes and a signed report.

An account sees its own cases; one that may look at the record of any output sees every case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.app.use_cases.rights import (
    hears_output,
    is_of_original,
    sees_record,
    without_original,
)
from studio.core.errors import NotYoursError, UsageError
from studio.verification.cases import Case, CaseExamination, CaseRepository

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.reports.cases.html import CasePictures
    from studio.verification.comparison import Comparison
    from watermark.audio.waveform import DecodeLimits

__all__ = ["REPORT_KINDS", "Cases", "SideBySide"]

REPORT_KINDS = ("zip", "html", "pdf", "json")
_PICTURES = ("suspect.png", "original.png", "difference.png")
_MOST_PICTURES = 16 << 20  # bytes in one report; those of further files stay in the case


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A matched part beside its original, as one actor may see and hear it."""

    comparison: Comparison
    sees_original: bool  # pictures of it
    hears_original: bool
    has_sound: bool  # of the file's own seconds


class Cases(UseCases):
    """Each raises :class:`NotYoursError` for another account's case, or none."""

    @requires(Permission.VERIFY)
    def open(self, studio: Container, reference: str, title: str) -> Case:
        """Open a case. Raises :class:`UsageError` for unusable texts."""
        repository, actor = CaseRepository(studio.database()), self.actor
        return repository.open(reference, title, account=actor.account_id, examiner=actor.name)

    @requires(Permission.VERIFY)
    def all(self, studio: Container) -> list[Case]:
        """The cases that the actor may see, newest first, without what is in them."""
        return [case for case in CaseRepository(studio.database()).all() if self._sees(case)]

    @requires(Permission.VERIFY)
    def get(self, studio: Container, case_id: str) -> Case:
        """A case with everything in it."""
        return self._found(studio, case_id)

    @requires(Permission.VERIFY)
    def named(self, studio: Container, name: str) -> Case:
        """The case of that id, or the only one of that reference number.

        Raises :class:`UsageError` where several have that reference.
        """
        found = [case for case in self.all() if name in (case.case_id, case.reference)]
        if not found:
            raise NotYoursError(f"no such case, or not yours: {name}")
        if len(found) > 1:
            ids = ", ".join(case.case_id for case in found)
            raise UsageError(f"several cases have the reference {name}; name one by its id: {ids}")
        return self._found(studio, found[0].case_id)

    @requires(Permission.VERIFY)
    def examine(
        self,
        studio: Container,
        case_id: str,
        source: Path,
        *,
        name: str,
        limits: DecodeLimits | None = None,
        max_values: int | None = None,
        progress: Callable[[float], None] | None = None,
        recorded_since: int | None = None,
    ) -> Case:
        """Examine a file; the verdict is recorded in the ledger and kept in the case.

        So are the seconds that match an original, with pictures of both. ``limits``,
        ``max_values``, ``progress`` and ``recorded_since`` are those of
        ``session.verification.verify``; what it refuses is not put into the case. Where an
        examination that was cut off had put the file into the case, it is not put in again.
        """
        from studio.reports.verification.page import article_of

        case = self._found(studio, case_id)
        examiner = studio.examiner()
        report = examiner.examine(
            source,
            limits=limits,
            max_values=max_values,
            progress=progress,
            recorded_since=recorded_since,
        )
        entry = None if report.recorded is None else report.recorded["entry"]
        if any(each.recorded and each.recorded["entry"] == entry for each in case.examinations):
            return case
        compared = examiner.compare(source, report, limits)
        report = replace(report, file=name)
        return CaseRepository(studio.database()).add(
            case_id,
            file=name,
            report=report.to_json(),
            page=str(article_of(report)),
            account=self.actor.account_id,
            examiner=self.actor.name,
            comparisons=[(part.comparison, part.files) for part in compared],
        )

    @requires(Permission.VERIFY)
    def compared(self, studio: Container, case_id: str, number: int) -> tuple[SideBySide, ...]:
        """The matched parts of a file of the case beside their originals, as the actor may see
        and hear them. Raises :class:`NotYoursError` where there is no such file."""
        each = self._examination(studio, case_id, number)
        names = CaseRepository(studio.database()).file_names(case_id, each.seq)
        return tuple(
            SideBySide(
                part,
                sees_original=sees_record(studio, self.actor, part.place.output_id),
                hears_original=hears_output(studio, self.actor, part.place.output_id),
                has_sound=f"{part.number}.suspect.flac" in names,
            )
            for part in each.comparisons
        )

    @requires(Permission.VERIFY)
    def compared_file(
        self, studio: Container, case_id: str, number: int, part: int, name: str
    ) -> bytes:
        """``suspect.png``, ``original.png``, ``difference.png`` or ``suspect.flac`` of a part.

        Raises :class:`NotYoursError` where there is none, or the actor may not see the original.
        """
        each = self._examination(studio, case_id, number)
        found = next((one for one in each.comparisons if one.number == part), None)
        if found is None or (
            is_of_original(name) and not sees_record(studio, self.actor, found.place.output_id)
        ):
            raise NotYoursError("no such picture or sound, or not yours")
        content = CaseRepository(studio.database()).file(case_id, each.seq, f"{part}.{name}")
        if content is None:
            raise NotYoursError("no such picture or sound, or not yours")
        return content

    def _examination(self, studio: Container, case_id: str, number: int) -> CaseExamination:
        case = self._found(studio, case_id)
        if not 1 <= number <= len(case.examinations):
            raise NotYoursError("no such file in the case")
        return case.examinations[number - 1]

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
        pictures = {} if kind == "json" else self._pictures(studio, case)
        if kind != "zip":
            return case_file(case, kind, now, pictures)
        size = studio.ledger().size()
        return case_archive(case, now, studio.checkpointer().signer, size, pictures)

    def _pictures(self, studio: Container, case: Case) -> CasePictures:
        """The pictures of matched parts that the actor may see, up to a size."""
        repository, left = CaseRepository(studio.database()), _MOST_PICTURES
        found: dict[int, list[tuple[Comparison, Mapping[str, bytes]]]] = {}
        for each in case.examinations:
            for part in each.comparisons:
                files: Mapping[str, bytes] = {
                    name: content
                    for name in _PICTURES
                    if (content := repository.file(case.case_id, each.seq, f"{part.number}.{name}"))
                }
                if not sees_record(studio, self.actor, part.place.output_id):
                    files = without_original(files)
                left -= sum(map(len, files.values()))
                if left < 0:
                    return found
                found.setdefault(each.number, []).append((part, files))
        return found

    def _found(self, studio: Container, case_id: str) -> Case:
        case = CaseRepository(studio.database()).find(case_id)
        if not self._sees(case):
            raise NotYoursError("no such case, or not yours")
        return case

    def _sees(self, case: Case) -> bool:
        return case.account_id == self.actor.account_id or self.actor.may(Permission.RECORDS)
