"""Pieces of the page's HTML, from the templates beside this module.

>>> print(draw("parts.html", "banner", "warn", "Busy", "Wait for <Anna>."))
<div class="banner warn"><strong>Busy</strong><p>Wait for &lt;Anna&gt;.</p></div>
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.reports.templating import piece

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["draw", "heading"]


def draw(template: str, macro: str, /, *values: object, **named: object) -> Markup:
    """Call a macro of a template with values; what is not markup yet is escaped."""
    return piece("studio.web.ui", template, macro)(*values, **named)


def heading(title: str, text: str = "") -> Markup:
    """The head of a section: its title, and a sentence under it."""
    return draw("parts.html", "heading", title, text)
