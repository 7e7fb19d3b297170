"""Render the page's templates.

>>> print(draw("parts.html", "banner", "warn", "Busy", "Wait for <Anna>."))
<div class="banner warn"><strong>Busy</strong><p>Wait for &lt;Anna&gt;.</p></div>
"""

from __future__ import annotations

from markupsafe import Markup

from studio.reports.formatting import asset
from studio.reports.templating import piece

__all__ = ["draw", "heading", "our_own"]


def draw(template: str, macro: str, /, *values: object, **named: object) -> Markup:
    """Call a macro of a template with values; what is not markup yet is escaped."""
    return piece("studio.web.ui", template, macro)(*values, **named)


def heading(title: str, text: str = "") -> Markup:
    """The head of a section: its title, and a sentence under it."""
    return draw("parts.html", "heading", title, text)


def our_own(*names: str) -> Markup:
    """Files of ``studio/web/ui/assets`` one after the other: our own, so they are not escaped."""
    return Markup("".join(asset(name) for name in names))  # noqa: S704
