"""The lead sheet on the Create tab: what the artist fixes of the score."""

from __future__ import annotations

import gradio as gr

from studio.music.composer.sheet import MAX_SHEET_CHARACTERS

__all__ = ["SheetSection"]

_EXAMPLE = """key: F# minor
tempo: 96
form: intro 2, verse 4, chorus 4, ending 2
chords verse: F#m | D A | Bm7 | C#7
melody chorus: C#5 - B4 A4 | F#4 - - - | A4 B4 C#5 - | %"""


class SheetSection:
    """A folded section with a text; shown for models that perform scores."""

    def __init__(self, *, visible: bool) -> None:
        with gr.Accordion(
            "Lead sheet: your key, tempo, form, chords, melody",
            open=False,
            elem_classes="section",
            visible=visible,
        ) as self.section:
            self.text = gr.Textbox(
                label="Lead sheet",
                info="What no line fixes the composer decides. A form decides the duration",
                placeholder=_EXAMPLE,
                lines=7,
                max_lines=30,
                max_length=MAX_SHEET_CHARACTERS,
            )
