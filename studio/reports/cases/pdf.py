"""The report on a case as a PDF: the same content as the page, without its timelines."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studio.reports.formatting import clock
from studio.reports.receipt.pdf import register_fonts
from studio.reports.templating import escaped
from studio.reports.verification.pictures import PICTURES
from studio.reports.verification.texts import PART_WORDS, READING
from studio.verification.report import Verdict, odds_text

if TYPE_CHECKING:
    from datetime import datetime

    from studio.reports.cases.html import CasePictures
    from studio.verification.cases import Case, CaseExamination
    from studio.verification.comparison import Comparison

__all__ = ["case_pdf"]

_MARGIN = 46.0  # points


def case_pdf(case: Case, made_at: datetime, pictures: CasePictures) -> bytes:
    """The document, A4, with its fonts in it."""
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import SimpleDocTemplate

    register_fonts()
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=f"Case {case.reference}: {case.title}",
        author="Consented Music Studio",
        invariant=1,
    )
    document.build(
        _Story(case, made_at, pictures).parts(), onFirstPage=_numbered, onLaterPages=_numbered
    )
    return buffer.getvalue()


def _numbered(canvas: Any, _document: Any) -> None:
    canvas.setFont("Receipt", 7.5)
    canvas.drawRightString(595.28 - _MARGIN, 26, f"page {canvas.getPageNumber()}")


def _tried(report: Mapping[str, Any]) -> list[str]:
    """What was tried and its price, and where the file was fetched from, as far as it is known."""
    lines, tried, origin = [], report.get("tried"), report.get("origin")
    if tried is not None:
        lines.append(f"What was tried: {tried['text']}.")
        if tried["wrong_name_bound"] is not None:
            lines[0] += (
                " That any name here is wrong, all of that counted: "
                f"{odds_text(tried['wrong_name_bound'])}."
            )
    if origin is not None:
        lines.append(
            f"Fetched from {origin['url']} at {origin['fetched_at'][:19]}Z; held under its SHA-256."
        )
    return lines


class _Story:
    """The paragraphs and tables, in order."""

    def __init__(self, case: Case, made_at: datetime, pictures: CasePictures) -> None:
        from reportlab.lib.styles import ParagraphStyle

        self._case, self._made_at, self._pictures = case, made_at, pictures
        self._text = ParagraphStyle("text", fontName="Receipt", fontSize=9, leading=12.5)
        self._small = ParagraphStyle("small", parent=self._text, fontSize=7.5, leading=10)
        self._mono = ParagraphStyle(
            "mono", parent=self._small, fontName="Receipt-Mono", fontSize=6.5, wordWrap="CJK"
        )
        self._title = ParagraphStyle(
            "title", parent=self._text, fontName="Receipt-Bold", fontSize=15, leading=19
        )
        self._heading = ParagraphStyle(
            "heading",
            parent=self._text,
            fontName="Receipt-Bold",
            fontSize=11,
            spaceBefore=12,
            spaceAfter=4,
        )

    def parts(self) -> list[Any]:
        case = self._case
        parts = [
            self._p(f"Case {case.reference}: {case.title}", self._title),
            self._p(
                f"Consented Music Studio. Opened {case.opened_at[:10]} by {case.examiner}; report "
                f"made {self._made_at:%Y-%m-%d %H:%M:%S} UTC.",
                self._small,
            ),
            self._p("Files", self._heading),
            self._overview(),
        ]
        if case.notes:
            parts.append(self._p("Notes", self._heading))
        for note in case.notes:
            about = "" if note.about is None else f", about file no. {note.about}"
            parts.append(self._p(f"{note.at[:19]}Z, {note.author}{about}", self._small))
            parts += [self._p(line) for line in note.text.splitlines() if line.strip()]
        for each in case.examinations:
            parts += self._examination(each)
        parts += [
            self._p("How to read it", self._heading),
            self._p(
                "Each verdict stands in the studio's ledger under the entry named, by the SHA-256 "
                "of the file; a file with another digest is another file. No verdict says that a "
                "person or a machine made a recording, and none says that somebody did wrong. The "
                "archive that this document came in holds a signed list of the digests of its "
                "files; `studio case check` checks it with the studio's public key alone."
            ),
        ]
        return parts

    def _overview(self) -> Any:
        from reportlab.lib import colors
        from reportlab.platypus import Table, TableStyle

        rows = [[self._p(head, self._small) for head in ("No.", "File", "Verdict", "Ledger entry")]]
        for each in self._case.examinations:
            entry = "none" if each.recorded is None else f"no. {each.recorded['entry']}"
            rows.append(
                [
                    self._p(str(each.number), self._small),
                    [self._p(each.file, self._small), self._p(each.sha256 or "", self._mono)],
                    self._p(each.verdict, self._small),
                    self._p(entry, self._small),
                ]
            )
        table = Table(rows, colWidths=[28, 290, 95, 90], repeatRows=1)
        table.setStyle(
            TableStyle(
                [
                    ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.HexColor("#8b857a")),
                    ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ]
            )
        )
        return table

    def _examination(self, each: CaseExamination) -> list[Any]:
        reading = READING[Verdict(each.verdict)]
        parts = [
            self._p(f"File no. {each.number}: {each.file}", self._heading),
            self._p(f"{each.verdict}: {reading.headline}."),
            self._p(str(each.report["explanation"])),
            *(self._p(line) for line in _tried(each.report)),
            self._p(f"What it does not mean. {reading.means_not}"),
            self._p(f"Examined {each.at[:19]}Z by {each.examiner}.", self._small),
            self._p(f"SHA-256 {each.sha256 or 'none'}", self._mono),
        ]
        if each.recorded is not None:
            text = f"ledger entry {each.recorded['entry']}, leaf {each.recorded['leaf_hash']}"
            parts.append(self._p(text, self._mono))
        for match in each.report.get("matches", ()):
            place = (
                f"{clock(match['start_s'])} to {clock(match['end_s'])}: "
                f"{PART_WORDS[match['kind']].title}, output {match['output_id']}, from "
                f"{clock(max(0.0, match['original_start_s']))} of the original"
            )
            parts.append(self._p(f"• {place}"))
        for comparison, files in self._pictures.get(each.number, ()):
            parts.append(self._compared(comparison, files))
        return parts

    def _compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> Any:
        """The spectrograms of a matched part, one below the other, kept on one page."""
        from reportlab.platypus import Image, KeepTogether

        place = comparison.place
        shown = [
            self._p(
                f"Side by side: {clock(place.start_s)} to {clock(place.end_s)} of the file, "
                f"{clock(max(0.0, place.original_start_s))} to {clock(place.original_end_s)} of "
                "the original. 50 Hz to 8 kHz, 70 dB; in the difference red is louder in the file.",
                self._small,
            )
        ]
        for name in PICTURES:
            if (content := files.get(f"{name}.png")) is not None:
                shown.append(self._p(name.capitalize(), self._small))
                shown.append(Image(io.BytesIO(content), 495, 72))
        if "difference.png" in files:
            shown.append(self._p(comparison.text(), self._small))
        return KeepTogether(shown)

    def _p(self, text: str, style: Any = None) -> Any:
        from reportlab.platypus import Paragraph

        return Paragraph(escaped(text), style or self._text)
