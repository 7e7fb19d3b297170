"""What the Consent tab shows, as HTML: holders, grants, what is live on which tag, what a
revocation would do, what became of an import.

Pure functions from the registrar's reports to markup; no Gradio in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from studio.reports.formatting import USE_TITLES, day, tag_name, territory_name
from studio.web.ui.templating import draw

if TYPE_CHECKING:
    from markupsafe import Markup

    from studio.consent.administration import (
        GrantStatus,
        HolderStatus,
        ImportReport,
        RevocationPreview,
        ShippedFile,
    )
    from studio.reports.statements.statement import Statement

__all__ = [
    "grant_card",
    "grant_choices",
    "holders_table",
    "import_panel",
    "live_table",
    "preview_panel",
    "site_line",
    "statement_links",
    "statement_panel",
    "too_large_panel",
    "waiting_lines",
]

_LISTED = 25  # outputs of a preview that are listed; the rest are counted

_STATES = {
    "live": ("good", "✓ live"),
    "not-yet-valid": ("warn", "not yet valid"),
    "expired": ("bad", "✗ expired"),
    "revoked": ("bad", "✗ revoked"),
    "demonstration": ("warn", "demonstration: permits nothing"),
}

_CONSEQUENCES = {
    "keep": "They stay available; later verdicts show the revocation.",
    "no-new-distribution": "They can no longer be downloaded; copies that are out stay out.",
    "withdraw": "Their audio is removed from this studio; the ledger entries stay.",
}


class _Scope(NamedTuple):
    """What a grant permits, in words."""

    holder: str
    uses: str
    places: str
    models: str
    until: str


def live_table(grants: Sequence[GrantStatus], tags: Iterable[str]) -> Markup:
    """The live grants with holder, uses, places and term, and the tags on which they are live.

    Tags that stand alike share a row; those that nobody grants come first.
    """
    live = [(status.grant.tags, _scope(status)) for status in grants if status.state == "live"]
    alike: dict[tuple[_Scope, ...], list[str]] = {}
    for tag in tags:
        on_it = tuple(scope for granted, scope in live if tag in granted)
        alike.setdefault(on_it, []).append(tag_name(tag))
    return draw("consent.html", "live_table", sorted(alike.items()))


def _scope(status: GrantStatus) -> _Scope:
    grant = status.grant
    return _Scope(
        holder=status.holder.name,
        uses=", ".join([use for use in (*USE_TITLES, "training") if use in grant.uses]),
        places=", ".join(territory_name(code) for code in sorted(grant.territories)),
        models="any model" if "*" in grant.models else ", ".join(sorted(grant.models)),
        until=f"until {day(grant.valid_until)}" if grant.valid_until else "until revoked",
    )


def site_line(site: str) -> Markup:
    """How rights holders address this studio."""
    return draw("consent.html", "site_line", site)


def waiting_lines(files: Sequence[ShippedFile]) -> Markup:
    """What came with a newer version and is not recorded here yet, and how to take it in."""
    return draw("consent.html", "waiting_lines", [file for file in files if file.state == "new"])


def holders_table(holders: Sequence[HolderStatus]) -> Markup:
    """Every rights holder, with the key's fingerprint as it is read aloud."""
    return draw("consent.html", "holders_table", holders)


def grant_choices(grants: Sequence[GrantStatus]) -> list[tuple[str, str]]:
    """Labels and ids for choosing one grant, live ones first."""
    ordered = sorted(grants, key=lambda status: (status.state != "live", status.grant.id))
    return [
        (f"{s.holder.name}: {s.grant.id} ({_STATES[str(s.state)][1]})", s.grant.id) for s in ordered
    ]


def grant_card(status: GrantStatus) -> Markup:
    """One grant whole: scope, term, terms, who signed it, what was made under it."""
    return draw(
        "consent.html",
        "grant_card",
        status,
        *_STATES[str(status.state)],
        tags=[tag_name(tag) for tag in sorted(status.grant.tags)],
        scope=_scope(status),
        made=_count(status.outputs, "output"),
    )


def preview_panel(preview: RevocationPreview) -> Markup:
    """What a revocation would do if it came now; nothing has happened."""
    ends: dict[tuple[str, ...], list[str]] = {}  # uses that end -> tags
    for tag, uses in preview.dark_tags:
        ends.setdefault(uses, []).append(tag_name(tag))
    return draw(
        "consent.html",
        "preview_panel",
        preview,
        ends=ends.items(),
        outputs=preview.outputs[:_LISTED],
        more=len(preview.outputs) - _LISTED,
        count=_count(len(preview.outputs), "output"),
        consequence=_CONSEQUENCES[str(preview.on_revocation)],
    )


def import_panel(report: ImportReport) -> Markup:
    """Each document of the file: recorded, or refused with the reason and what would help."""
    return draw(
        "consent.html",
        "import_panel",
        report,
        recorded=sum(item.accepted for item in report.documents),
        documents=_count(len(report.documents), "document"),
        withdrawn=_count(len(report.withdrawn), "output"),
    )


def too_large_panel() -> Markup:
    """The file is larger than any consent file."""
    return draw("consent.html", "too_large")


def statement_panel(made: Statement, first: str, last: str) -> Markup:
    """The sums of a holder's statement, and links to the whole of it."""
    links = statement_links(made.holder, first, last)
    return draw("consent.html", "statement", made, links)


def statement_links(holder: str, first: str, last: str) -> Markup:
    """Links that download a statement in each of its forms.

    >>> 'statement?from=2026-01-01&amp;to=2026-01-31&amp;format=csv"' in statement_links(
    ...     "ada", "2026-01-01", "2026-01-31")
    True
    """
    forms = (("html", "Open"), ("csv", "Download CSV"), ("json", "Download JSON"))
    links = []
    for form, title in forms:
        query = urlencode({"from": first, "to": last, "format": form})
        path = f"/api/v1/consent/holders/{quote(holder)}/statement?{query}"
        links.append((path, title, form != "html"))
    return draw("consent.html", "statement_links", links)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
