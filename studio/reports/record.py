"""The public record of an output, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from studio.consent.types import format_instant

if TYPE_CHECKING:
    from studio.provenance.release import Release

__all__ = ["record_of"]


def record_of(release: Release) -> dict[str, Any]:
    """The public record of an output: no path, nothing of the machine."""
    return {
        "output_id": release.output_id,
        "title": release.title,
        "created_at": format_instant(release.created_at),
        "sha256": release.sha256,
        "duration_s": release.duration_s,
        "rate": release.rate,
        "channels": release.channels,
        "seal_id": release.seal_id,
        "seal": dict(release.seal),
        "entry": {"index": release.entry_index, "hash": release.entry_hash},
        "request": release.request.to_json(),
        "decision": dict(release.decision),
        "model": dict(release.model),
        "credits": list(release.credits),
    }
