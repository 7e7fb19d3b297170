"""What stands first in the page's document: its colours, and the scripts beside Gradio's.

The scheme, light or dark, is chosen before anything is drawn, so that nothing flashes.
"""

from __future__ import annotations

import re

from studio.reports.formatting import asset

__all__ = ["colours_of_the_system", "page_head"]


def page_head() -> str:
    """Colours, the script that chooses between them, and what the page does beside Gradio."""
    return (
        '<meta name="color-scheme" content="light dark">'
        f"<style>{asset('colours.css')}{asset('head.css')}</style>"
        f"<script>{asset('scheme.js')}{asset('player.js')}{asset('mixer.js')}"
        f"{asset('chart.js')}{asset('now.js')}{asset('output.js')}{asset('page.js')}</script>"
    )


def colours_of_the_system() -> str:
    """The colours for a page without scripts: dark where the visitor's system is."""
    return re.sub(
        r':root\[data-theme="dark"\] ({[^}]*})',
        r"@media (prefers-color-scheme: dark) { :root \1 }",
        asset("colours.css"),
    )
