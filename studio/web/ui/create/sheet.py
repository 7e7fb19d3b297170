"""The lead sheet on the Create tab: what the artist fixes of the score.

Drawn by ``assets/sheet.js``. Its value is the text that command line and REST layer take too
(:mod:`studio.music.composer.notation.sheet`); the script asks ``POST api/v1/sheets`` what it says.
"""

from __future__ import annotations

import gradio as gr

from studio.music.composer.notation.fixed import BPM_RANGE, SECTION_KINDS
from studio.music.composer.notation.harmony import SCALES
from studio.music.composer.notation.rhythm import FEELS
from studio.music.composer.notation.score import METRES
from studio.music.composer.notation.sheet import MAX_SHEET_CHARACTERS
from studio.reports.formatting import asset
from studio.reports.templating import page

__all__ = ["SheetSection", "sheet_text"]


class SheetSection:
    """A folded section; shown for models that perform scores."""

    def __init__(self, *, visible: bool) -> None:
        slowest, fastest = BPM_RANGE
        with gr.Column(elem_classes="section", visible=visible) as self.section:
            self.text = gr.HTML(
                value="",
                html_template=page(
                    "studio.web.ui",
                    "create/sheet.html",
                    modes=tuple(SCALES),
                    metres=tuple(METRES),
                    feels=FEELS,
                    kinds=SECTION_KINDS,
                    slowest=f"{slowest:g}",
                    fastest=f"{fastest:g}",
                    longest=MAX_SHEET_CHARACTERS,
                ),
                js_on_load=asset("sheet.js"),
                elem_id="sheet",
            )


def sheet_text(value: object) -> str | None:
    """The text of a sheet as the page sent it; None where nothing is fixed.

    >>> sheet_text(" "), sheet_text({"a": 1}), sheet_text("key: C")
    (None, None, 'key: C')
    """
    return value if isinstance(value, str) and value.strip() else None
