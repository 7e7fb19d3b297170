"""The receipt as a PDF of one A4 page, with its fonts embedded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from studio.core.errors import StudioError
from studio.reports.receipt.content import Receipt
from studio.reports.templating import escaped, piece

__all__ = ["register_fonts", "render_pdf"]

_INK, _SOFT, _LINE, _ACCENT, _PALE = "#1d1b18", "#5b5750", "#e2ddd3", "#1f5f5b", "#e3efed"
_WIDTH, _HEIGHT = 595.28, 841.89  # A4, points
_MARGIN = 46.0
_QR = 104.0

# DejaVu covers Latin, Greek and Cyrillic names; matplotlib, which the project needs anyway, has it.
_FONTS = {
    "Receipt": "DejaVuSans.ttf",
    "Receipt-Bold": "DejaVuSans-Bold.ttf",
    "Receipt-Serif": "DejaVuSerif.ttf",
    "Receipt-Mono": "DejaVuSansMono.ttf",
    "Receipt-Mono-Bold": "DejaVuSansMono-Bold.ttf",
}


def render_pdf(receipt: Receipt) -> bytes:
    """The page. Raises :class:`StudioError` where it does not fit one sheet even when set small."""
    for scale in (1.0, 0.93, 0.86, 0.79, 0.72):
        page = _Page(receipt, scale)
        if page.draw():
            return page.finish()
    raise StudioError("the receipt does not fit one page; the HTML receipt has no such limit")


class _Page:
    """Draws from top to bottom; ``scale`` shrinks every size of type."""

    def __init__(self, receipt: Receipt, scale: float) -> None:
        from reportlab.pdfgen.canvas import Canvas

        register_fonts()
        self._receipt = receipt
        self._scale = scale
        self._buffer = io.BytesIO()
        self._canvas: Any = Canvas(self._buffer, pagesize=(_WIDTH, _HEIGHT), invariant=1)
        self._canvas.setTitle(f"Receipt: {receipt.title}")
        self._canvas.setAuthor("Consented Music Studio")
        self._canvas.setSubject(f"Output {receipt.output_id}")
        self._y = _HEIGHT - _MARGIN

    def draw(self) -> bool:
        """Whether everything found room."""
        receipt = self._receipt
        self._header()
        self._gap(20)
        self._text(receipt.title, "Receipt-Serif", 22)
        made = f"Generated music (trained algorithmic media), made {receipt.made}"
        self._text(made, size=8.8, colour=_SOFT)
        self._gap(7)
        self._pills()
        self._gap(9)
        self._facts()
        self._heading("Who consented to these styles")
        self._consents()
        self._heading("What made it, and on what that was trained")
        basis = f"{receipt.licence}. {receipt.training_basis}"
        self._text(piece("studio.reports", "pieces.html", "model_line")(receipt.model, basis))
        self._recognition()
        self._heading("How to verify")
        for number, step in enumerate(receipt.steps, 1):
            top = self._y
            self._text(step, x=_MARGIN + 15)
            self._canvas.setFont("Receipt-Bold", 8.6 * self._scale)
            self._canvas.setFillColor(_ACCENT)
            self._canvas.drawString(_MARGIN, top - 8.9 * self._scale, f"{number}")
            self._gap(3)
        self._gap(8)
        self._rule()
        self._gap(6)
        self._text(receipt.caveat, size=7.4, colour=_SOFT)
        return self._y > _MARGIN * 0.7

    def finish(self) -> bytes:
        self._canvas.showPage()
        self._canvas.save()
        return self._buffer.getvalue()

    # -- parts --------------------------------------------------------------------------------

    def _header(self) -> None:
        canvas, receipt = self._canvas, self._receipt
        canvas.setFillColor(_ACCENT)
        canvas.rect(0, _HEIGHT - 8, _WIDTH, 8, stroke=0, fill=1)
        self._y -= 4
        x, y = _MARGIN + 15, self._y - 15
        canvas.circle(x, y, 15, stroke=0, fill=1)
        canvas.setStrokeColor(_PALE)
        canvas.setLineWidth(0.9)
        canvas.setDash(1.5, 1.5)
        canvas.circle(x, y, 12, stroke=1, fill=0)
        canvas.setDash()
        canvas.setStrokeColor("#ffffff")
        canvas.setLineWidth(1.7)
        canvas.setLineJoin(1)
        canvas.setLineCap(1)
        wave = canvas.beginPath()
        points = (
            (-8, 0),
            (-5.3, 0),
            (-3.6, 4),
            (-1, -4.6),
            (1.7, 7.4),
            (4.4, -2),
            (5.8, 0),
            (8, 0),
        )
        wave.moveTo(x + points[0][0], y + points[0][1])
        for dx, dy in points[1:]:
            wave.lineTo(x + dx, y + dy)
        canvas.drawPath(wave)
        canvas.setFillColor(_INK)
        canvas.setFont("Receipt-Bold", 10.5)
        canvas.drawString(_MARGIN + 40, y + 2.5, "Receipt of consent and origin")
        canvas.setFillColor(_SOFT)
        canvas.setFont("Receipt", 8.8)
        canvas.drawString(_MARGIN + 40, y - 9.5, "Consented Music Studio")
        canvas.setFont("Receipt", 7.6)
        canvas.drawRightString(_WIDTH - _MARGIN, y + 2.5, f"Printed {receipt.printed}")
        canvas.drawRightString(_WIDTH - _MARGIN, y - 9.5, f"Output {receipt.output_id}")
        self._y -= 30

    def _pills(self) -> None:
        canvas, size = self._canvas, 8.4 * self._scale
        x, height = _MARGIN, size + 7
        canvas.setFont("Receipt", size)
        for tag in self._receipt.tags:
            width = canvas.stringWidth(tag, "Receipt", size) + 16
            if x + width > _WIDTH - _MARGIN:
                x, self._y = _MARGIN, self._y - height - 4
            canvas.setFillColor(_PALE)
            canvas.roundRect(x, self._y - height, width, height, height / 2, stroke=0, fill=1)
            canvas.setFillColor("#184b48")
            canvas.drawString(x + 8, self._y - height + 5, tag)
            x += width + 5
        self._y -= height

    def _facts(self) -> None:
        self._rule()
        self._gap(8)
        share = (_WIDTH - 2 * _MARGIN) / max(5, len(self._receipt.facts))
        top, lowest = self._y, self._y
        for place, (label, value) in enumerate(self._receipt.facts):
            self._y, x = top, _MARGIN + place * share
            self._text(label.upper(), "Receipt-Bold", 6.3, _SOFT, x, share - 8)
            self._text(value, "Receipt-Bold", 8.4, _INK, x, share - 8)
            lowest = min(lowest, self._y)
        self._y = lowest
        self._gap(8)
        self._rule()

    def _consents(self) -> None:
        columns = (_MARGIN, _MARGIN + 130, _MARGIN + 268)
        widths = (122.0, 130.0, _WIDTH - 2 * _MARGIN - 268)
        for consent in self._receipt.consents:
            self._gap(2)
            after = f"; if revoked: {consent.on_revocation}" if consent.on_revocation else ""
            term = consent.until if consent.until == "until revoked" else f"to {consent.until}"
            texts = (
                [
                    (consent.holder, "Receipt-Bold", 9.6, _INK),
                    (f"grant {consent.grant}", "Receipt", 7.2, _SOFT),
                ],
                [(", ".join(consent.tags), "Receipt", 8.6, _INK)],
                [
                    (term + after, "Receipt", 8.6, _INK),
                    (consent.terms, "Receipt", 7.2, _SOFT),
                    (f"SHA-256 {consent.terms_sha256}", "Receipt-Mono", 6.0, _SOFT),
                ],
            )
            top, lowest = self._y, self._y
            for x, width, lines in zip(columns, widths, texts, strict=True):
                self._y = top
                for text, font, size, colour in lines:
                    self._text(text, font, size, colour, x, width)
                lowest = min(lowest, self._y)
            self._y = lowest
            self._gap(3)

    def _recognition(self) -> None:
        self._heading("How to recognise this recording")
        top, label = self._y, _MARGIN + 92
        width = _WIDTH - _MARGIN - _QR - 18 - label
        for name, value in self._receipt.marks:
            row = self._y
            self._text(name, size=7.6, colour=_SOFT, width=88)
            lowest, self._y = self._y, row
            if name == "Seal":
                self._text(value, "Receipt-Mono-Bold", 12, _ACCENT, label, width)
            else:
                self._text(value, "Receipt-Mono", 7.2, _INK, label, width)
            self._y = min(lowest, self._y)
            self._gap(3)
        end, self._y = self._y, top
        x = _WIDTH - _MARGIN - _QR
        self._qr(x, top - _QR + 4)
        self._y = top - _QR - 2
        self._text(self._receipt.url, size=6.6, colour=_SOFT, x=x, width=_QR)
        self._y = min(end, self._y)

    def _qr(self, x: float, y: float) -> None:
        import segno

        matrix = segno.make(self._receipt.url, error="m", micro=False).matrix
        step = _QR / len(matrix)
        self._canvas.setFillColor(_INK)
        path = self._canvas.beginPath()
        for row, line in enumerate(matrix):
            for column, dark in enumerate(line):
                if dark:
                    path.rect(x + column * step, y + _QR - (row + 1) * step, step, step)
        self._canvas.drawPath(path, stroke=0, fill=1)

    # -- type ---------------------------------------------------------------------------------

    def _heading(self, text: str) -> None:
        self._gap(13)
        self._text(text.upper(), "Receipt-Bold", 6.8, _SOFT)
        self._gap(3)

    def _text(
        self,
        text: str,
        font: str = "Receipt",
        size: float = 8.6,
        colour: str = _INK,
        x: float = _MARGIN,
        width: float | None = None,
    ) -> None:
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.platypus import Paragraph

        size *= self._scale
        style = ParagraphStyle(
            "text", fontName=font, fontSize=size, leading=size * 1.38, textColor=colour,
            splitLongWords=1,
        )  # fmt: skip
        paragraph = Paragraph(escaped(text), style)
        room = width if width is not None else _WIDTH - _MARGIN - x
        _, height = paragraph.wrap(room, _HEIGHT)
        paragraph.drawOn(self._canvas, x, self._y - height)
        self._y -= height

    def _rule(self) -> None:
        self._canvas.setStrokeColor(_LINE)
        self._canvas.setLineWidth(0.7)
        self._canvas.line(_MARGIN, self._y, _WIDTH - _MARGIN, self._y)

    def _gap(self, points: float) -> None:
        self._y -= points * self._scale


def register_fonts() -> None:
    """Make the fonts known under their names here; may be called again."""
    from reportlab.lib.fonts import addMapping
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    if "Receipt" in pdfmetrics.getRegisteredFontNames():
        return
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name, file in _FONTS.items():
        pdfmetrics.registerFont(TTFont(name, str(folder / file)))
    addMapping("Receipt", 0, 0, "Receipt")
    addMapping("Receipt", 1, 0, "Receipt-Bold")
