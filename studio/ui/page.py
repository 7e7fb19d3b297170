"""The page: masthead and three tabs over one studio, as ``gr.Blocks``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from studio.ui.about import build_about
from studio.ui.create import CreateTab
from studio.ui.verify_tab import VerifyTab
from studio.ui.wording import asset

if TYPE_CHECKING:
    from studio.api.claims import Claims
    from studio.api.jobs import JobRunner
    from studio.services import Studio

__all__ = ["build_page", "theme"]

_UPLOADS_LIVE_S = 600  # uploads a closed browser left behind are deleted after this

_ACCENT = "#1f5f5b"  # --accent of the style sheet

_MASTHEAD = """
<header class="masthead">{seal}<div><h1>Consented Music Studio</h1>
<p>Music from styles whose rights holders agreed. Every output is sealed, recorded, and recognised
again.</p></div></header>
"""


def theme() -> gr.themes.Base:
    """System fonts and our accent: the page asks no font server for anything."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif"]
    mono = ["ui-monospace", "DejaVu Sans Mono", "Consolas", "monospace"]
    base = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", radius_size="md", font=sans, font_mono=mono
    )
    return base.set(slider_color=_ACCENT, color_accent=_ACCENT, checkbox_label_shadow="none")


def build_page(
    studio: Studio, claims: Claims, *, making: JobRunner, checking: JobRunner
) -> gr.Blocks:
    """The whole page. ``making`` and ``checking`` run the two kinds of work."""
    page: gr.Blocks = gr.Blocks(
        title="Consented Music Studio",
        analytics_enabled=False,
        delete_cache=(_UPLOADS_LIVE_S, _UPLOADS_LIVE_S),
        fill_width=True,
    )
    with page:
        gr.HTML(_MASTHEAD.format(seal=asset("seal.svg")))
        with gr.Tabs():
            with gr.Tab("Create", id="create"):
                create = CreateTab(studio, claims, making)
            with gr.Tab("Verify", id="verify"):
                VerifyTab(studio, checking)
            with gr.Tab("Models and limits", id="about"):
                build_about(studio)
        create.connect_load(page)
    page.queue(api_open=False, default_concurrency_limit=8, max_size=64)
    return page
