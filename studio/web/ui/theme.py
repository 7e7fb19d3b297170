"""Gradio's theme in our colours.

Light and dark differ in ``assets/colours.css`` alone: the theme names its variables.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

__all__ = ["theme"]

_ACCENT = "var(--accent)"

_PARTS = {
    "color_accent": _ACCENT,
    "color_accent_soft": "var(--accent-soft)",
    "slider_color": _ACCENT,
    "loader_color": _ACCENT,
    "background_fill_primary": "var(--card)",
    "background_fill_secondary": "var(--paper)",
    "body_background_fill": "var(--paper)",
    "body_text_color": "var(--ink)",
    "body_text_color_subdued": "var(--ink-soft)",
    "block_background_fill": "var(--card)",
    "block_title_text_color": "var(--ink)",
    "block_label_text_color": "var(--ink)",
    "block_label_background_fill": "var(--card)",
    "block_info_text_color": "var(--ink-soft)",
    "border_color_primary": "var(--line)",
    "border_color_accent": _ACCENT,
    "panel_background_fill": "var(--card)",
    "input_background_fill": "var(--card)",
    "input_background_fill_focus": "var(--card)",
    "input_border_color": "var(--control)",
    "input_border_color_focus": _ACCENT,
    "input_placeholder_color": "var(--ink-soft)",
    "checkbox_background_color": "var(--card)",
    "checkbox_border_color": "var(--control)",
    "checkbox_label_background_fill": "var(--card)",
    "checkbox_label_background_fill_hover": "var(--card)",
    "checkbox_label_background_fill_selected": "var(--card)",
    "button_secondary_background_fill": "var(--card)",
    "button_secondary_background_fill_hover": "var(--accent-soft)",
    "button_secondary_border_color": _ACCENT,
    "button_secondary_text_color": _ACCENT,
    "button_primary_background_fill": _ACCENT,
    "button_primary_text_color": "var(--on-tone)",
    "link_text_color": _ACCENT,
    "link_text_color_hover": "var(--accent-strong)",
    "link_text_color_visited": _ACCENT,
    "link_text_color_active": _ACCENT,
    "error_background_fill": "var(--bad-soft)",
    "error_border_color": "var(--bad)",
    "error_text_color": "var(--bad)",
    "error_icon_color": "var(--bad)",
}


def theme() -> gr.themes.Base:
    """System fonts and our colours: the page asks no font server for anything."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif"]
    mono = ["ui-monospace", "DejaVu Sans Mono", "Consolas", "monospace"]
    base = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", radius_size="md", font=sans, font_mono=mono
    )
    known = vars(base)
    parts: dict[str, Any] = _PARTS | {
        f"{name}_dark": value for name, value in _PARTS.items() if f"{name}_dark" in known
    }
    return base.set(checkbox_label_shadow="none", **parts)
