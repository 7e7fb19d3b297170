"""The page's HTML head: colours, and the scripts beside Gradio's.

The scheme, light or dark, is chosen before anything is drawn, so that nothing flashes.
"""

from __future__ import annotations

import re

from markupsafe import Markup

from studio.reports.formatting import asset
from studio.reports.templating import page
from studio.web.ui.templating import our_own

__all__ = ["colours_of_the_system", "page_head"]


def page_head() -> str:
    """Colours, the script that chooses between them, and what the page does beside Gradio."""
    return page(
        "studio.web.ui",
        "head.html",
        style=our_own("colours.css", "head.css"),
        script=our_own(
            "scheme.js",
            "player.js",
            "stream.js",
            "preview.js",
            "mixer.js",
            "chart.js",
            "now.js",
            "fetch.js",
            "output.js",
            "download.js",
            "share.js",
            "compare.js",
            "page.js",
        ),
    )


def colours_of_the_system() -> Markup:
    """The colours for a page without scripts: dark where the visitor's system is."""
    rules = re.sub(
        r':root\[data-theme="dark"\] ({[^}]*})',
        r"@media (prefers-color-scheme: dark) { :root \1 }",
        asset("colours.css"),
    )
    return Markup(rules)  # noqa: S704 - our own style sheet
