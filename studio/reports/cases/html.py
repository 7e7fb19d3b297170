"""The report on a case as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from studio.reports.templating import page
from studio.reports.verification.page import shared_rules
from studio.reports.verification.texts import READING
from studio.verification.report import Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from studio.verification.cases import Case

__all__ = ["case_page"]


def case_page(case: Case, made_at: datetime) -> str:
    """The page: what was asked, each file with its verdict in one table, notes, then each file."""
    return page(
        "studio.reports",
        "case.html",
        title=f"Case {case.reference}: {case.title}",
        case=case,
        made_at=made_at,
        shared_style=Markup(shared_rules()),  # noqa: S704 - our own style sheet
        # Rendered, and everything from outside escaped, when the files were examined.
        articles={each.number: Markup(each.page) for each in case.examinations},  # noqa: S704
        headlines={
            each.number: READING[Verdict(each.verdict)].headline for each in case.examinations
        },
    )
