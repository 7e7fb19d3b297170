"""A statement as JSON, as CSV and as a page that can be read, printed and mailed.

None of the three holds text that a person typed but the holder's own name, and the page escapes it.
"""

from __future__ import annotations

import csv
import io
import json
from html import escape
from typing import Any

from studio.consent.types import format_instant
from studio.reports.statements.statement import (
    FORMAT_VERSION,
    Line,
    Statement,
    period_json,
    plain,
    summary_of,
)

__all__ = ["FORMATS", "to_csv", "to_html", "to_json", "write"]

FORMATS = ("csv", "json", "html")

_COLUMNS = (
    "entry", "output_id", "at", "use", "territory", "model", "holder", "grant", "grant_entry",
    "tags", "of_tags", "output_seconds", "seconds", "rates", "currency", "gross", "share", "amount",
)  # fmt: skip


def write(statement: Statement, format: str) -> str:
    """The statement in one of :data:`FORMATS`."""
    return {"csv": to_csv, "json": _json_text, "html": to_html}[format](statement)


def to_json(statement: Statement) -> dict[str, Any]:
    """Every field; decimals as strings, instants as RFC 3339."""
    return {
        "statement": FORMAT_VERSION,
        "holder": {"id": statement.holder, "name": statement.holder_name},
        "period": period_json(statement.period),
        "ledger": {"size": statement.ledger_size, "tree_head": statement.tree_head},
        "rates": list(statement.rates),
        "sums": summary_of(statement.sums),
        "tags": {
            tag: {"uses": uses, "seconds": plain(seconds)}
            for tag, (uses, seconds) in statement.by_tag.items()
        },
        "lines": [
            {**_cells(line), "tags": list(line.tags), "entry": line.entry,
             "grant_entry": line.grant_entry, "of_tags": line.of_tags}
            for line in statement.lines
        ],
        "withdrawn": [
            {
                "entry": gone.entry,
                "output_id": gone.output_id,
                "withdrawal_entry": gone.withdrawal_entry,
            }
            for gone in statement.withdrawn
        ],
    }  # fmt: skip


def _json_text(statement: Statement) -> str:
    return json.dumps(to_json(statement), ensure_ascii=False, indent=2) + "\n"


def to_csv(statement: Statement) -> str:
    """One row per line, RFC 4180; ids and numbers only, so no cell can be a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_cells(line) for line in statement.lines)
    return out.getvalue()


def _cells(line: Line) -> dict[str, Any]:
    return {
        "entry": line.entry,
        "output_id": line.output_id,
        "at": format_instant(line.at),
        "use": line.use,
        "territory": line.territory,
        "model": line.model,
        "holder": line.holder,
        "grant": line.grant,
        "grant_entry": line.grant_entry,
        "tags": " ".join(line.tags),
        "of_tags": line.of_tags,
        "output_seconds": plain(line.output_seconds),
        "seconds": plain(line.seconds),
        "rates": line.rates,
        "currency": line.currency,
        "gross": plain(line.gross),
        "share": plain(line.share),
        "amount": plain(line.amount),
    }


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem}
body{color:#1b1b1f}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:2rem 0 .4rem}
p{margin:.3rem 0}table{border-collapse:collapse;width:100%;margin:.4rem 0}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d9d9de;vertical-align:top}
th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.quiet{color:#5b5b66}code{font-size:.85em;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none}thead{display:table-header-group}}
@media (prefers-color-scheme:dark){@media screen{body{background:#16161a;color:#ececf1}
th,td{border-color:#3a3a42}.quiet{color:#a5a5b0}}}
"""


def to_html(statement: Statement) -> str:
    """A page of its own: no script, nothing from elsewhere."""
    sums = statement.sums
    money = "".join(
        f"<tr><th>Value of these uses</th><td class=n>{plain(sums.gross[currency])} {currency}</td>"
        f"</tr><tr><th>Of that to the holder</th><td class=n>{plain(amount)} {currency}</td></tr>"
        for currency, amount in sorted(sums.amount.items())
    )
    tags = "".join(
        f"<tr><td>{escape(tag)}</td><td class=n>{uses}</td><td class=n>{plain(seconds)}</td></tr>"
        for tag, (uses, seconds) in statement.by_tag.items()
    )
    lines = "".join(map(_html_line, statement.lines))
    gone = "".join(
        f"<li>Entry {gone.entry}, output <code>{gone.output_id}</code>: withdrawn by entry "
        f"{gone.withdrawal_entry}, counts nothing.</li>"
        for gone in statement.withdrawn
    )
    period = period_json(statement.period)
    title = f"Statement for {statement.holder_name}"
    nothing = "<p>Nothing was made under the holder's grants in this period.</p>"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style>
<h1>{escape(title)}</h1>
<p>From {period["from"][:19]}Z up to {period["to"][:19]}Z (UTC).
Rates: {escape(", ".join(statement.rates)) or "none used"}.</p>
<table><tr><th>Outputs</th><td class=n>{sums.outputs}</td></tr>
<tr><th>Uses of a tag</th><td class=n>{sums.tag_uses}</td></tr>
<tr><th>Seconds of music, by tags</th><td class=n>{plain(sums.seconds)}</td></tr>{money}</table>
<h2>By tag</h2>
{f"<table><tr><th>Tag<th class=n>Uses<th class=n>Seconds</tr>{tags}</table>" if tags else nothing}
<h2>Line by line</h2>
<table><thead><tr><th class=n>Entry<th>Released (UTC)<th>Output<th>Use<th>Grant and tags
<th class=n>Seconds<th class=n>Value<th class=n>Share<th class=n>Amount<th>Rates</tr></thead>
{lines}</table>
{f"<h2>Withdrawn</h2><ul>{gone}</ul>" if gone else ""}
<p class=quiet>An output's seconds and value are divided over its tags. Computed from the first
{statement.ledger_size} entries of the ledger, tree head <code>{statement.tree_head}</code>.</p>
</html>
"""


def _html_line(line: Line) -> str:
    return (
        f"<tr><td class=n>{line.entry}</td><td>{format_instant(line.at)[:19]}</td>"
        f"<td><code>{line.output_id}</code></td><td>{escape(line.use)}</td>"
        f"<td>{escape(line.grant)}: {escape(', '.join(line.tags))} "
        f"<span class=quiet>({len(line.tags)} of {line.of_tags})</span></td>"
        f"<td class=n>{plain(line.seconds)}</td>"
        f"<td class=n>{plain(line.gross)} {line.currency}</td><td class=n>{plain(line.share)}</td>"
        f"<td class=n>{plain(line.amount)} {line.currency}</td><td>{escape(line.rates)}</td></tr>"
    )
