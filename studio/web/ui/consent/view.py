"""What the Consent tab shows, as HTML: holders, grants, what is live on which tag, what a
revocation would do, what became of an import.

Pure functions from the registrar's reports to text; no Gradio in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from studio.reports.formatting import USE_TITLES, day, esc, moment, tag_name, territory_name

if TYPE_CHECKING:
    from studio.consent import Grant
    from studio.consent.administration import (
        GrantStatus,
        HolderStatus,
        ImportedDocument,
        ImportReport,
        RevocationPreview,
        ShippedFile,
    )

__all__ = [
    "grant_card",
    "grant_choices",
    "holders_table",
    "import_panel",
    "live_table",
    "preview_panel",
    "site_line",
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


def live_table(grants: Sequence[GrantStatus], tags: Iterable[str]) -> str:
    """The live grants with holder, uses, places and term, and the tags on which they are live.

    Tags that stand alike share a row; those that nobody grants come first.
    """
    live = [status for status in grants if status.state == "live"]
    alike: dict[str, list[str]] = {}
    for tag in tags:
        on_it = [_live_line(status) for status in live if tag in status.grant.tags]
        alike.setdefault("".join(on_it), []).append(tag)
    none = '<span class="state bad">✗ nobody</span><div class="soft">Nothing is generated.</div>'
    rows = "".join(
        f'<tr><th scope="row">{lines or none}</th>'
        f"<td>{esc(', '.join(tag_name(tag) for tag in named))}</td></tr>"
        for lines, named in sorted(alike.items())
    )
    return _table(("Granted by", "Tags"), rows)


def _live_line(status: GrantStatus) -> str:
    grant = status.grant
    return (
        f'<div>{esc(status.holder.name)}<div class="soft">for {esc(_uses(grant))}; '
        f"{esc(_places(grant))}; {esc(_models(grant))}; {esc(_until(grant))}</div></div>"
    )


def site_line(site: str) -> str:
    """How rights holders address this studio."""
    return (
        '<p class="small">A grant for this studio alone is signed with '
        f'<span class="mono">--audience {esc(site)}</span>.</p>'
    )


def waiting_lines(files: Sequence[ShippedFile]) -> str:
    """What came with a newer version and is not recorded here yet, and how to take it in."""
    lines = (
        f"<p>{esc(file.holder.name)} ({esc(file.holder.kind)}) has signed consent that came with "
        "this version of the studio and is not taken in. Compare the key "
        f'<span class="mono">{esc(file.key.fingerprint)}</span> with the one in docs/consent.md, '
        f'then run <span class="mono">studio consent shipped {esc(file.holder.id)}</span>.</p>'
        for file in files
        if file.state == "new"
    )
    return "".join(lines)


def holders_table(holders: Sequence[HolderStatus]) -> str:
    """Every rights holder, with the key's fingerprint as it is read aloud."""
    rows = "".join(
        f'<tr><th scope="row">{esc(status.holder.name)}<div class="soft small">'
        f"{esc(status.holder.id)}, {esc(status.holder.kind)}</div></th>"
        f'<td class="mono">{esc(status.fingerprint)}</td>'
        f"<td>{status.live_grants} of {status.grants}</td><td>no. {status.entry}</td></tr>"
        for status in holders
    )
    return _table(("Rights holder", "Fingerprint of the key", "Live grants", "Entry"), rows)


def grant_choices(grants: Sequence[GrantStatus]) -> list[tuple[str, str]]:
    """Labels and ids for choosing one grant, live ones first."""
    ordered = sorted(grants, key=lambda status: (status.state != "live", status.grant.id))
    return [
        (f"{s.holder.name}: {s.grant.id} ({_STATES[str(s.state)][1]})", s.grant.id) for s in ordered
    ]


def grant_card(status: GrantStatus) -> str:
    """One grant whole: scope, term, terms, who signed it, what was made under it."""
    grant = status.grant
    tone, words = _STATES[str(status.state)]
    tags = ", ".join(tag_name(tag) for tag in sorted(grant.tags))
    revoked = ""
    if status.revoked_at is not None:
        why = f" – {esc(status.revocation_reason)}" if status.revocation_reason else ""
        revoked = f"<dt>Revoked</dt><dd>{esc(moment(status.revoked_at))}{why}</dd>"
    facts = (
        f"<dt>Holder</dt><dd>{esc(status.holder.name)} ({esc(status.holder.kind)})</dd>"
        f"<dt>Tags</dt><dd>{esc(tags)}</dd><dt>Uses</dt><dd>{esc(_uses(grant))}</dd>"
        f"<dt>Territories</dt><dd>{esc(_places(grant))}</dd>"
        f"<dt>Models</dt><dd>{esc(_models(grant))}</dd>"
        f"<dt>Term</dt><dd>{esc(day(grant.valid_from))} {esc(_until(grant))}</dd>{revoked}"
        f"<dt>Share</dt><dd>{float(grant.share) * 100:g} % of what the studio earns with an output"
        f"</dd><dt>On revocation</dt><dd>{esc(grant.on_revocation)}</dd>"
        f'<dt>Terms</dt><dd>{esc(grant.terms.url)} <span class="mono soft">'
        f"SHA-256 {esc(grant.terms.sha256[:16])}…</span></dd>"
        f'<dt>Signed with</dt><dd class="mono">{esc(status.key)}</dd>'
        f"<dt>Ledger entry</dt><dd>no. {status.entry}</dd>"
        f"<dt>Made under it</dt><dd>{_count(status.outputs, 'output')}, {status.seconds:.0f} s"
        "</dd>"
    )
    return (
        f'<div aria-live="polite"><h3>{esc(grant.id)} <span class="state {tone}">{esc(words)}'
        f'</span></h3><dl class="facts">{facts}</dl></div>'
    )


def preview_panel(preview: RevocationPreview) -> str:
    """What a revocation would do if it came now; nothing has happened."""
    ends: dict[tuple[str, ...], list[str]] = {}  # uses that end -> tags
    for tag, uses in preview.dark_tags:
        ends.setdefault(uses, []).append(tag_name(tag))
    dark = "".join(
        f"<li><b>{esc(', '.join(tags))}</b>: no longer for {esc(', '.join(uses))}</li>"
        for uses, tags in ends.items()
    )
    outputs = "".join(
        f'<li>{esc(item.output.title)} <span class="soft">{esc(day(item.output.created_at))}, '
        f"{item.output.duration_s:.0f} s, entry no. {item.output.entry_index}</span></li>"
        for item in preview.outputs[:_LISTED]
    )
    more = len(preview.outputs) - _LISTED
    if more > 0:
        outputs += f"<li>and {more} more</li>"
    consequence = _CONSEQUENCES[str(preview.on_revocation)]
    return (
        '<section class="card" role="status" aria-label="Effect of a revocation">'
        f"<h2>If {esc(preview.holder.name)} revoked {esc(preview.grant.id)} now</h2>"
        '<p class="small soft">A preview: nothing has happened.</p>'
        f"<h3>Tags</h3><ul>{dark or '<li>No tag would go dark: others grant the same.</li>'}</ul>"
        f"<h3>Outputs made under it</h3><p><b>{_count(len(preview.outputs), 'output')}</b>, "
        f"{preview.seconds:.0f} s. {esc(consequence)}</p><ul class='small'>{outputs}</ul>"
        '<p class="small soft after">Only the holder can revoke: the signed revocation arrives as '
        "a file and takes effect the moment it is recorded above. A request that is running then "
        "stops before its release.</p></section>"
    )


def import_panel(report: ImportReport) -> str:
    """Each document of the file: recorded, or refused with the reason and what would help."""
    rows = "".join(
        f'<li class="{"granted" if item.accepted else "refused"}"><span class="mark" '
        f'aria-hidden="true">{"✓" if item.accepted else "✗"}</span><div><span class="what">'
        f'{esc(item.about)}</span><div class="who">{_outcome(item)}</div></div></li>'
        for item in report.documents
    )
    withdrawn = (
        f"<p>{_count(len(report.withdrawn), 'output')} withdrawn: the audio was removed.</p>"
        if report.withdrawn
        else ""
    )
    tone, title = ("good", "✓ Recorded") if report.ok else ("bad", "✗ Not everything was believed")
    count = sum(item.accepted for item in report.documents)
    return (
        f'<section role="status" aria-label="What became of the file"><div class="banner {tone}">'
        f"<strong>{title}</strong><p>{count} of {_count(len(report.documents), 'document')} "
        f'recorded.</p>{withdrawn}</div><ul class="consent-list">{rows}</ul></section>'
    )


def _outcome(item: ImportedDocument) -> str:
    if item.accepted:
        return f"Recorded as ledger entry no. {item.entry}."
    return f"{esc(item.why)}. {esc(item.advice)} <span class='mono'>{esc(item.refusal)}</span>"


def _table(heads: Sequence[str], rows: str) -> str:
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f'<div class="table-scroll"><table class="plain"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _uses(grant: Grant) -> str:
    return ", ".join([use for use in (*USE_TITLES, "training") if use in grant.uses])


def _places(grant: Grant) -> str:
    return ", ".join(territory_name(code) for code in sorted(grant.territories))


def _models(grant: Grant) -> str:
    return "any model" if "*" in grant.models else ", ".join(sorted(grant.models))


def _until(grant: Grant) -> str:
    return f"until {day(grant.valid_until)}" if grant.valid_until else "until revoked"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
