"""A report on examined files as one HTML page, to read, print and file.

Whole in itself: no script, no font, picture or style from anywhere else (a content security policy
in it forbids them), and whatever came from outside, file names above all, is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from studio.reports.formatting import asset, esc, moment
from studio.reports.verification import view as views
from studio.reports.verification.json import versions

if TYPE_CHECKING:
    from studio.verification.verifier import VerifyReport

__all__ = ["report_links", "report_page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

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

_STYLE = """
:root { color-scheme: light; }
body { background: var(--paper); color: var(--ink); margin: 0; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 28px 22px 60px; }
h1 { font-size: 1.5rem; margin: 0 0 2px; } header p { margin: 2px 0; }
header { margin-bottom: 16px; }
.card h2 { font-size: 1.08rem; margin: 0; } .card p { margin: 6px 0 0; }
article { margin-top: 26px; } article > * + * { margin-top: 14px; }
article + article { border-top: 2px solid var(--line); padding-top: 26px; }
dl.facts { grid-template-columns: minmax(150px, max-content) 1fr; }
td.nowrap, th.nowrap { white-space: nowrap; }
@media (max-width: 640px) { main { padding: 14px 10px 40px; }
  dl.facts { grid-template-columns: 1fr; gap: 1px 0; } dl.facts dd { margin-bottom: 7px; }
  .verdict { grid-template-columns: 36px 1fr; padding: 14px; } }
footer { margin-top: 28px; color: var(--ink-soft); font-size: .86rem; }
@media print {
  body { background: #fff; font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .card, .verdict, tr, li { break-inside: avoid; }
  article + article { break-before: page; border-top: 0; padding-top: 0; }
  .verdict, .badge, .place, .place > div, rect, polygon, .key span::before, .swatch {
    print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .timeline svg { height: 110px; }
}
@page { margin: 16mm; }
"""


def report_page(reports: Sequence[VerifyReport], *, made_at: datetime | None = None) -> str:
    """The page: an overview where there are several files, then each file."""
    at = made_at or datetime.now(UTC)
    one = len(reports) == 1
    title = f"Verification report: {reports[0].file or 'a file'}" if one else "Verification report"
    several = (
        ""
        if one
        else f'<section class="card"><h2>{len(reports)} files</h2>{views.overview(reports)}'
        "</section>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)}</title><style>{_page_style()}{_STYLE}</style></head><body><main>"
        f"<header><h1>Verification report</h1><p>Consented Music Studio. Made on "
        f"{esc(moment(at))}.</p></header>{several}"
        + "".join(_article(report) for report in reports)
        + _footer(versions(reports))
        + "</main></body></html>\n"
    )


def report_links(id_: str, name: str) -> str:
    """Links to the reports on one examined file, named after it."""
    stem = name.rsplit(".", 1)[0] or "file"
    links = "".join(
        f'<a class="button-link" href="examinations/report.{kind}?id={esc(id_)}" '
        f'download="{esc(stem)}.verdict.{kind}">Report on this file ({title})</a>'
        for kind, title in (("html", "HTML, to print"), ("json", "JSON"))
    )
    return f'<div class="button-row">{links}</div>'


def _article(report: VerifyReport) -> str:
    return (
        f"<article>{views.verdict_card(report)}{views.examined_card(report)}{views.parts_card(report)}"
        f"{views.output_cards(report)}{views.evidence_card(report, opened=True)}"
        f"{views.next_steps_card(report)}</article>"
    )


def _footer(made_with: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in made_with.items()
    ]
    return (
        "<footer><p>How to read it: a <b>seal</b> is a watermark whose messages follow a secret "
        "key; only whoever holds the key can make one, but a seal can be copied from one file to "
        "another. So a file is called ours only where the <b>content</b> agrees too. Every "
        "probability stated is the chance of the finding if it were wrong, over all that was "
        "searched; it is not the probability that somebody did something. No verdict says that a "
        f"person or a machine made a recording.</p><p>Made with: {esc('; '.join(parts))}.</p>"
        "</footer>"
    )


def _page_style() -> str:
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
