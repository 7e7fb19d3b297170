"""A statement as JSON, CSV or a printable page.

None of the three holds text that a person typed but the holder's own name, and the page escapes it.
"""

from __future__ import annotations

import csv
import io
import json
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
from studio.reports.templating import page

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


def to_html(statement: Statement) -> str:
    """A page of its own: no script, nothing from elsewhere."""
    return page(
        "studio.reports",
        "statement.html",
        statement=statement,
        sums=statement.sums,
        period=period_json(statement.period),
    )
