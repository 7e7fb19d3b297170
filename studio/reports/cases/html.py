"""The report on a case as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from studio.reports.formatting import asset
from studio.reports.templating import page
from studio.reports.verification.comparison import Shown, data_uri, side_by_side
from studio.reports.verification.page import shared_rules
from studio.reports.verification.texts import READING
from studio.verification.report import Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from studio.verification.cases import Case
    from studio.verification.comparison import Comparison

__all__ = ["CasePictures", "case_page"]

CasePictures = Mapping[int, Sequence[tuple["Comparison", Mapping[str, bytes]]]]
"""Of each file by its number: its matched parts with their pictures, such as ``suspect.png``."""


def case_page(case: Case, made_at: datetime, pictures: CasePictures) -> str:
    """The page: what was asked, each file with its verdict in one table, notes, then each file."""
    return page(
        "studio.reports",
        "case.html",
        title=f"Case {case.reference}: {case.title}",
        case=case,
        made_at=made_at,
        shared_style=Markup(shared_rules() + asset("compare.css")),  # noqa: S704 - our own
        # Rendered, and everything from outside escaped, when the files were examined.
        articles={each.number: Markup(each.page) for each in case.examinations},  # noqa: S704
        compared={
            each.number: side_by_side(map(_shown, pictures[each.number]))
            if each.number in pictures
            else ""
            for each in case.examinations
        },
        headlines={
            each.number: READING[Verdict(each.verdict)].headline for each in case.examinations
        },
    )


def _shown(part: tuple[Comparison, Mapping[str, bytes]]) -> Shown:
    comparison, files = part
    return Shown(
        comparison,
        lambda name: data_uri(files[name]),
        suspect_picture="suspect.png" in files,
        original_pictures="original.png" in files,
        suspect_sound=False,
        original_sound=False,
    )
