"""The receipt of an output as a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from studio.app.outputs.releases import Releases
    from studio.consent import ConsentRegistry
    from studio.core.config import StudioConfig
    from studio.music.models.config import ModelConfig
    from studio.provenance.ledger.checkpoints.checkpointer import Checkpointer
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.release import Release

__all__ = ["ReceiptParts", "proof_of", "receipt_file"]


class ReceiptParts(Protocol):
    """The parts of a studio that a receipt tells of."""

    config: StudioConfig

    def releases(self) -> Releases: ...
    def consent(self) -> ConsentRegistry: ...
    def models(self) -> Mapping[str, ModelConfig]: ...
    def ledger(self) -> Ledger: ...
    def checkpointer(self) -> Checkpointer: ...


def receipt_file(
    studio: ReceiptParts, release: Release, format: str, *, url: str | None = None
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


def proof_of(studio: ReceiptParts, output_id: str, *, disclose: bool = False) -> Mapping[str, Any]:
    """The offline proof that the output's release is in the ledger."""
    from studio.provenance.ledger.proof_bundle import make_bundle

    index = studio.releases().get(output_id).entry_index
    return make_bundle(
        studio.ledger(), index, studio.checkpointer().covering(index), disclose=disclose
    )
