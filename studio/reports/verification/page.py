"""A report on examined files as one HTML page, to read, print and file.

Whole in itself: no script, no font, picture or style from anywhere else (a content security policy
in it forbids them), and whatever came from outside, file names above all, is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from studio.reports.formatting import asset
from studio.reports.templating import page, piece
from studio.reports.verification import view as views
from studio.reports.verification.json import versions

if TYPE_CHECKING:
    from studio.verification.verifier import VerifyReport

__all__ = ["article_of", "report_links", "report_page", "shared_rules"]

_SHARED = (
    ":root",
    ".card",
    ".soft",
    ".small",
    ".mono",
    "dl.facts",
    "dl.figures",
    ".table-scroll",
    "table.plain",
    ".verdict",
    ".timeline",
    ".place",
    ".swatch",
)


def report_page(reports: Sequence[VerifyReport], *, made_at: datetime | None = None) -> str:
    """The page: an overview where there are several files, then each file."""
    one = len(reports) == 1
    title = f"Verification report: {reports[0].file or 'a file'}" if one else "Verification report"
    return page(
        "studio.reports",
        "verification.html",
        title=title,
        shared_style=Markup(shared_rules()),  # noqa: S704 - our own style sheet
        made_at=made_at or datetime.now(UTC),
        reports=reports,
        overview=views.overview(reports),
        articles=[article_of(report) for report in reports],
        made_with=_made_with(versions(reports)),
    )


def report_links(id_: str, name: str) -> Markup:
    """Links to the reports on one examined file, named after it."""
    links = piece("studio.reports", "verification/cards.html", "report_links")
    return links(id_, name.rsplit(".", 1)[0] or "file")


def article_of(report: VerifyReport) -> Markup:
    """One file: its verdict with everything behind it."""
    return Markup().join(
        (
            views.verdict_card(report),
            views.examined_card(report),
            views.parts_card(report),
            views.output_cards(report),
            views.evidence_card(report, opened=True),
            views.next_steps_card(report),
        )
    )


def _made_with(parts: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in parts.items()
    )


def shared_rules() -> str:
    """The rules of the page's style sheet that concern what is printed here."""
    text = asset("colours.css") + asset("style.css").split("@media", 1)[0]
    sheet = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    rules = (
        (selector.strip(), body) for selector, body in re.findall(r"([^{}]+)({[^{}]*})", sheet)
    )
    return "".join(
        selector + body
        for selector, body in rules
        if selector.startswith(_SHARED) and "data-theme" not in selector
    )
