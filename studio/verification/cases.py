"""Cases: files examined for one question, with verdicts and notes.

A case outlasts the page and the server: it is opened once, reopened at any time, and grows. What is
in it is never changed. The files themselves are not kept; each examination names the SHA-256 of its
file and the ledger entry of its verdict, and keeps the seconds that match an original, with
pictures of both (:mod:`studio.verification.comparison`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from studio.consent.types import format_instant
from studio.core.db.tables.cases import case_file, case_item
from studio.core.errors import NotYoursError, UsageError
from studio.verification.comparison import Comparison

if TYPE_CHECKING:
    from sqlalchemy import Row

    from studio.core.db.database import Database

__all__ = ["MOST_SOUND", "Case", "CaseExamination", "CaseNote", "CaseRepository"]

MOST_SOUND = 256 << 20
"""Bytes of sound of matched parts that one case keeps."""

_MOST_ITEMS = 1000  # of one case
_LINE = 120  # characters of a reference number or a title
_NOTE = 4000  # characters


@dataclass(frozen=True, slots=True)
class CaseExamination:
    """One file of a case and its verdict."""

    number: int  # from 1, in the order of the files
    at: str  # RFC 3339, UTC
    examiner: str
    file: str
    report: Mapping[str, Any]  # as `studio verify --json` prints it
    page: str  # the verdict as HTML, as the examiner saw it
    seq: int = 0  # of its item in the case
    comparisons: tuple[Comparison, ...] = ()  # matched parts beside their originals

    @property
    def verdict(self) -> str:
        return str(self.report["verdict"])

    @property
    def sha256(self) -> str | None:
        found = self.report.get("sha256")
        return None if found is None else str(found)

    @property
    def recorded(self) -> Mapping[str, Any] | None:
        """The ledger entry of the verdict."""
        return self.report.get("recorded")

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "at": self.at,
            "examiner": self.examiner,
            "file": self.file,
            "report": dict(self.report),
            "comparisons": [{**each.to_json(), "text": each.text()} for each in self.comparisons],
        }


@dataclass(frozen=True, slots=True)
class CaseNote:
    """What an examiner wrote, about one file or the whole case."""

    at: str
    author: str
    text: str
    about: int | None  # number of an examination

    def to_json(self) -> dict[str, Any]:
        return {"at": self.at, "author": self.author, "text": self.text, "about": self.about}


@dataclass(frozen=True, slots=True)
class Case:
    """One case with everything in it."""

    case_id: str
    reference: str
    title: str
    opened_at: str
    account_id: str | None  # whose it is; None: the local owner's
    examiner: str
    examinations: tuple[CaseExamination, ...] = ()
    notes: tuple[CaseNote, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "case_id": self.case_id,
            "reference": self.reference,
            "title": self.title,
            "opened_at": self.opened_at,
            "examiner": self.examiner,
            "examinations": [each.to_json() for each in self.examinations],
            "notes": [note.to_json() for note in self.notes],
        }


class CaseRepository:
    """Every case of a studio. Safe to share between threads and processes."""

    def __init__(self, database: Database, clock: Callable[[], datetime] | None = None) -> None:
        self._database = database
        self._clock = clock or (lambda: datetime.now(UTC))

    def open(self, reference: str, title: str, *, account: str | None, examiner: str) -> Case:
        """Open a case. Raises :class:`UsageError` for a reference or title that is no line."""
        case_id = secrets.token_hex(8)
        body = {
            "reference": _line(reference, "the reference number"),
            "title": _line(title, "the title"),
            "examiner": examiner,
        }
        self._append(case_id, "open", body, account, first=True)
        return self.find(case_id)

    def add(
        self,
        case_id: str,
        *,
        file: str,
        report: Mapping[str, Any],
        page: str,
        account: str | None,
        examiner: str,
        comparisons: Sequence[tuple[Comparison, Mapping[str, bytes]]] = (),
    ) -> Case:
        """Add an examined file. Raises :class:`NotYoursError` where there is no such case.

        ``comparisons``: its matched parts beside their originals, each with its files; sounds are
        left out once the case holds :data:`MOST_SOUND`.
        """
        body = {
            "file": file,
            "report": dict(report),
            "page": page,
            "examiner": examiner,
            "comparisons": [comparison.to_json() for comparison, _ in comparisons],
        }
        files = {
            f"{comparison.number}.{name}": content
            for comparison, named in comparisons
            for name, content in named.items()
        }
        self._append(case_id, "examination", body, account, files=files)
        return self.find(case_id)

    def note(
        self, case_id: str, text: str, *, about: int | None, account: str | None, author: str
    ) -> Case:
        """Add a note, about one file or the whole case.

        Raises :class:`UsageError` for an empty or too long one and for a file that is not there,
        :class:`NotYoursError` where there is no such case.
        """
        kept = text.strip()
        if not kept or len(kept) > _NOTE or "\0" in kept:
            raise UsageError(f"a note has between 1 and {_NOTE} characters")
        count = len(self.find(case_id).examinations)
        if about is not None and not 1 <= about <= count:
            raise UsageError(f"the case has {count} files; there is no number {about}")
        body = {"text": kept, "about": about, "author": author}
        self._append(case_id, "note", body, account)
        return self.find(case_id)

    def find(self, case_id: str) -> Case:
        """The case of that id. Raises :class:`NotYoursError` where there is none."""
        query = select(case_item).where(case_item.c.case_id == case_id).order_by(case_item.c.seq)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        if not rows:
            raise NotYoursError("no such case, or not yours")
        return _case_of(rows)

    def all(self) -> list[Case]:
        """Every case as it was opened, without what is in it; the newest first."""
        query = (
            select(case_item)
            .where(case_item.c.seq == 0)
            .order_by(case_item.c.at.desc(), case_item.c.case_id)
        )
        with self._database.reading() as connection:
            return [_case_of([row]) for row in connection.execute(query)]

    def file(self, case_id: str, seq: int, name: str) -> bytes | None:
        """A file of an examination, such as ``1.suspect.png``; None where there is none."""
        query = select(case_file.c.content).where(
            case_file.c.case_id == case_id, case_file.c.seq == seq, case_file.c.name == name
        )
        with self._database.reading() as connection:
            found = connection.scalar(query)
        return None if found is None else bytes(found)

    def file_names(self, case_id: str, seq: int) -> frozenset[str]:
        """The files of an examination."""
        query = select(case_file.c.name).where(
            case_file.c.case_id == case_id, case_file.c.seq == seq
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def delete(self, case_id: str) -> None:
        """Delete a case permanently; the ledger keeps the verdicts."""
        with self._database.writing() as connection:
            connection.execute(delete(case_file).where(case_file.c.case_id == case_id))
            connection.execute(delete(case_item).where(case_item.c.case_id == case_id))

    def _append(
        self,
        case_id: str,
        kind: str,
        body: Mapping[str, Any],
        account: str | None,
        *,
        first: bool = False,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        with self._database.writing() as connection:
            last = connection.scalar(
                select(func.max(case_item.c.seq)).where(case_item.c.case_id == case_id)
            )
            if last is None and not first:
                raise NotYoursError("no such case, or not yours")
            seq = 0 if last is None else last + 1
            if seq >= _MOST_ITEMS:
                raise UsageError(f"a case holds {_MOST_ITEMS} files and notes; open another")
            connection.execute(
                insert(case_item).values(
                    case_id=case_id,
                    seq=seq,
                    kind=kind,
                    at=format_instant(self._clock()),
                    account_id=account,
                    body=json.dumps(body, ensure_ascii=False).encode(),
                )
            )
            held = connection.scalar(
                select(func.coalesce(func.sum(func.length(case_file.c.content)), 0)).where(
                    case_file.c.case_id == case_id, case_file.c.name.like("%.flac")
                )
            )
            for name, content in (files or {}).items():
                if name.endswith(".flac"):
                    held = int(held or 0) + len(content)
                    if held > MOST_SOUND:
                        continue
                connection.execute(
                    insert(case_file).values(case_id=case_id, seq=seq, name=name, content=content)
                )


def _line(text: str, what: str) -> str:
    kept = " ".join(text.split())
    if not kept or len(kept) > _LINE or not kept.isprintable():
        raise UsageError(f"{what} is one line of 1 to {_LINE} printable characters")
    return kept


def _case_of(rows: Sequence[Row[Any]]) -> Case:
    opened = json.loads(rows[0].body)
    examinations: list[CaseExamination] = []
    notes: list[CaseNote] = []
    for row in rows[1:]:
        body = json.loads(row.body)
        if row.kind == "note":
            notes.append(CaseNote(row.at, body["author"], body["text"], body["about"]))
        else:
            examinations.append(
                CaseExamination(
                    number=len(examinations) + 1,
                    at=row.at,
                    examiner=body["examiner"],
                    file=body["file"],
                    report=body["report"],
                    page=body["page"],
                    seq=row.seq,
                    comparisons=tuple(map(Comparison.from_json, body.get("comparisons", ()))),
                )
            )
    return Case(
        case_id=rows[0].case_id,
        reference=opened["reference"],
        title=opened["title"],
        opened_at=rows[0].at,
        account_id=rows[0].account_id,
        examiner=opened["examiner"],
        examinations=tuple(examinations),
        notes=tuple(notes),
    )
