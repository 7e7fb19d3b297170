"""Released outputs as the use cases look them up: records, owners and files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from studio.core.errors import OutputGoneError, UsageError

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.provenance.release import Release

__all__ = ["Releases"]


class Releases:
    """Look up outputs in the ledger."""

    def __init__(self, studio: Container) -> None:
        self._studio = studio

    def get(self, output_id: str) -> Release:
        """The release of that id. Raises :class:`UsageError` where there is none."""
        found = self._studio.ledger().release(output_id)
        if found is None:
            raise UsageError(f"no output {output_id!r} in the ledger")
        return found

    def recent(self, limit: int) -> list[Release]:
        """The latest releases of all accounts, newest first."""
        return self._studio.ledger().releases(newest_first=True, limit=limit)

    def made_by(self, account: str | None, limit: int) -> list[Release]:
        """What an account has made, newest first; None, the local owner, made everything."""
        if account is None:
            return self.recent(limit)
        reserved = self._studio.accounts().outputs_of(account)
        released = (self._studio.ledger().release(output_id) for output_id in reserved)
        return list(islice((release for release in released if release is not None), limit))

    def require_distribution(self, output_id: str) -> None:
        """Raises :class:`OutputWithdrawnError` where a revocation stops its distribution."""
        self._studio.consent_service().require_distribution(output_id)

    def is_public(self, output_id: str) -> bool:
        """Whether the public detector tells the title and credits of an output.

        It does so of a published output whose distribution no revocation stops.
        """
        return (
            self._studio.publications().is_public(output_id)
            and self._studio.consent_service().distribution(output_id).open
        )

    def file_of(self, release: Release) -> Path:
        """The file of an output, from the folder of released outputs and nowhere else.

        Raises :class:`OutputGoneError` where there is no regular file in that folder, wherever the
        ledger says it is.
        """
        path = release.path.resolve()
        if not path.is_relative_to(self._studio.paths.outputs.resolve()) or not path.is_file():
            raise OutputGoneError("this output is no longer on this machine; its record remains")
        return path
