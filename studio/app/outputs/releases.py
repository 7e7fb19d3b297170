"""Released outputs as the use cases look them up: records, owners and files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from studio.core.errors import OutputGoneError, UsageError

if TYPE_CHECKING:
    from studio.accounts.service import Accounts
    from studio.consent.administration import ConsentService
    from studio.core.paths import StudioPaths
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.publication import Publications
    from studio.provenance.release import Release

__all__ = ["Records", "Releases"]


class Records(Protocol):
    """The parts of a studio that know its outputs."""

    paths: StudioPaths

    def ledger(self) -> Ledger: ...
    def accounts(self) -> Accounts: ...
    def consent_service(self) -> ConsentService: ...
    def publications(self) -> Publications: ...


class Releases:
    """Look up outputs in the ledger."""

    def __init__(self, studio: Records) -> None:
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
