"""The receipt of an output as a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.provenance.release import Release

__all__ = ["proof_of", "receipt_file"]


def receipt_file(
    studio: Container, release: Release, format: str, *, url: str | None = None
) -> bytes:
    """One page that a person can show about an output, as ``html`` or ``pdf``.

    ``url`` is the verification page's; by default the configured one of this studio. Raises
    :class:`UsageError` for an unknown format.
    """
    from studio.reports.receipt import render

    model = studio.models().get(release.request.model)
    return render(
        release,
        studio.consent(),
        format=format,
        training_basis="" if model is None else model.training_basis.strip(),
        url=url or studio.config.server.address,
        proof=proof_of(studio, release.output_id),
        printed_at=datetime.now(UTC),
    )


def proof_of(studio: Container, output_id: str, *, disclose: bool = False) -> Mapping[str, Any]:
    """The offline proof that the output's release is in the ledger."""
    from studio.provenance.ledger.proof_bundle import make_bundle

    index = studio.releases().get(output_id).entry_index
    return make_bundle(
        studio.ledger(), index, studio.checkpointer().covering(index), disclose=disclose
    )
