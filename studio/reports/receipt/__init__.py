"""A receipt: one page that says what an output is and on whose consent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from studio.consent import ConsentRegistry
from studio.core.errors import ConfigError, UsageError
from studio.reports.receipt.content import receipt_of
from watermark.util.extras import install_hint

if TYPE_CHECKING:
    from studio.provenance.release import Release

__all__ = ["render"]


def render(release: Release, registry: ConsentRegistry, *, format: str, **told: Any) -> bytes:
    """The receipt as a file; ``told`` as for :func:`receipt_of`.

    Raises :class:`UsageError`, and :class:`ConfigError` where what draws it is not installed.
    """
    receipt = receipt_of(release, registry, **told)
    try:
        if format == "html":
            from studio.reports.receipt.html import render_html

            return render_html(receipt)
        if format == "pdf":
            from studio.reports.receipt.pdf import render_pdf

            return render_pdf(receipt)
    except ModuleNotFoundError as exc:
        if hint := install_hint(exc):
            raise ConfigError(hint) from exc
        raise
    raise UsageError(f"a receipt is html or pdf, not {format!r}")
