"""HTML from Jinja2 templates, with autoescape.

A template lies in the folder ``templates`` of its package; ``studio/reports/templates`` is found by
all. A file of macros gives pieces of pages; a macro is called by :func:`piece`.

>>> str(piece("studio.reports", "pieces.html", "text")("<b>x.wav"))
'&lt;b&gt;x.wav'
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import escape

from studio.consent.types import format_instant
from studio.reports.formatting import clock, day, moment, tag_name, territory_name

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["escaped", "page", "piece"]


def page(package: str, template: str, **values: object) -> str:
    """A whole page."""
    return _environment(package).get_template(template).render(**values)


def piece(package: str, template: str, macro: str) -> Callable[..., Markup]:
    """A macro: a piece of a page, made by calling it. It is markup, so it is not escaped again."""
    made: Callable[..., Markup] = getattr(
        _environment(package).get_template(template).module, macro
    )
    return made


def escaped(text: str | Markup) -> str:
    """A text as markup for a writer of PDFs; markup stays as it is."""
    return str(escape(text))


@cache
def _environment(package: str) -> Environment:
    from studio.reports.statements.statement import plain

    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "studio.reports"))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clock=clock, day=day, moment=moment, tag_name=tag_name, territory=territory_name
    )
    environment.filters.update(instant=format_instant, plain=plain)
    return environment
