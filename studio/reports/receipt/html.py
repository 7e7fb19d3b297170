"""The receipt as one self-contained HTML page of A4, with the proof in it."""

from __future__ import annotations

import base64
import io
import json

from markupsafe import Markup

from studio.reports.receipt.content import Receipt
from studio.reports.templating import page

__all__ = ["render_html"]


def render_html(receipt: Receipt) -> bytes:
    """The page, UTF-8."""
    proof = None
    if receipt.proof is not None:
        proof = base64.b64encode(json.dumps(dict(receipt.proof)).encode()).decode()
    text = page("studio.reports", "receipt.html", receipt=receipt, proof=proof, qr=_qr(receipt.url))
    return text.encode()


def _qr(url: str) -> Markup:
    import segno

    drawn = io.BytesIO()
    segno.make(url, error="m", micro=False).save(
        drawn, kind="svg", xmldecl=False, svgns=True, border=1, dark="#1d1b18", omitsize=True
    )
    return Markup(drawn.getvalue().decode())  # noqa: S704 - drawn by segno from numbers alone
