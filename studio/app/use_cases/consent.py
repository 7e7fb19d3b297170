"""Signed consent: grants, imports, revocations, statements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.consent.administration import admit_shipped, shipped_files
from studio.core.errors import UsageError
from studio.core.paths import shipped_configs

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.consent.administration import (
        AffectedOutput,
        GrantStatus,
        HolderStatus,
        ImportReport,
        RevocationPreview,
        ShippedFile,
    )
    from studio.consent.administration.restoration import Restoration
    from studio.reports.statements.rates import Rates
    from studio.reports.statements.statement import Period, Reconciliation, Statement

__all__ = ["Consent"]


class Consent(UseCases):
    """Looking at consent, and what a registrar does with it."""

    # -- looking ------------------------------------------------------------------------------

    @requires(Permission.BROWSE)
    def holders(self, studio: Container) -> tuple[HolderStatus, ...]:
        """Every rights holder, with its key and how many of its grants are live."""
        return studio.consent_service().holders()

    @requires(Permission.BROWSE)
    def grants(self, studio: Container) -> tuple[GrantStatus, ...]:
        """Every grant, with its state and what was made under it."""
        return studio.consent_service().grants()

    @requires(Permission.BROWSE)
    def site_id(self, studio: Container) -> str:
        """The id by which rights holders address this studio in what they sign."""
        return studio.consent_service().site()

    @requires(Permission.BROWSE)
    def restoration(self, studio: Container) -> Restoration | None:
        """The restore from a backup that keeps consent closed; None: it is open."""
        return studio.consent_service().restoration()

    @requires(Permission.BROWSE)
    def shipped(self, studio: Container) -> tuple[ShippedFile, ...]:
        """The signed files that come with this version, and what of them is not recorded here."""
        return shipped_files(studio.consent_service(), _shipped_folders(studio))

    # -- recording ----------------------------------------------------------------------------

    @requires(Permission.CONSENT)
    def import_file(self, studio: Container, data: bytes) -> ImportReport:
        """Record the signed documents of a file; report why any was refused.

        A revocation takes effect with this call. Raises :class:`ConsentFileError` where it is no
        such file at all.
        """
        return _noted(studio, studio.consent_service().import_file(data))

    @requires(Permission.CONSENT)
    def admit_holder(self, studio: Container, data: bytes, fingerprint: str) -> ImportReport:
        """Make a rights holder known, whose key's fingerprint was compared by another way."""
        return _noted(studio, studio.consent_service().admit(data, fingerprint))

    @requires(Permission.CONSENT)
    def admit_shipped(self, studio: Container, holder: str, fingerprint: str) -> ImportReport:
        """Take in what ``holder`` signed for this version, after comparing the fingerprint."""
        folders = _shipped_folders(studio)
        return _noted(studio, admit_shipped(studio.consent_service(), folders, holder, fingerprint))

    @requires(Permission.CONSENT)
    def override_key(
        self, studio: Container, data: bytes, fingerprint: str, *, lost: bool
    ) -> ImportReport:
        """Replace a holder's key that is ``lost``, or in other hands; recorded as an override."""
        return _noted(studio, studio.consent_service().override_key(data, fingerprint, lost=lost))

    @requires(Permission.CONSENT)
    def confirm_restore(self, studio: Container) -> int:
        """Say that no revocation since the backup is missing, which opens consent again.

        Returns the index of the ledger entry. Raises :class:`UsageError` where it is open.
        """
        return studio.consent_service().confirm_restore()

    @requires(Permission.CONSENT)
    def repair_clock(self, studio: Container) -> Mapping[str, Any]:
        """Correct entries dated in the future: each takes the time of the one before.

        Returns the body of the repair's entry. Raises :class:`UsageError` where no entry is ahead.
        """
        return studio.consent_service().repair_clock()

    @requires(Permission.CONSENT)
    def export(self, studio: Container, holder: str | None = None) -> bytes:
        """Every signed document, or those of one holder, as a file."""
        content = studio.consent_service().export(holder)
        studio.security_log().record("export", subject=f"consent of {holder or 'all holders'}")
        return content

    # -- effects ------------------------------------------------------------------------------

    @requires(Permission.CONSENT)
    def preview_revocation(self, studio: Container, grant_id: str) -> RevocationPreview:
        """What a revocation would do, if it came now. Raises :class:`UsageError`."""
        return studio.consent_service().preview(grant_id, studio.policy())

    @requires(Permission.CONSENT)
    def affected_outputs(self, studio: Container, grant_id: str) -> tuple[AffectedOutput, ...]:
        """The outputs that rest on the grant, oldest first. Raises :class:`UsageError`."""
        return studio.consent_service().affected(grant_id)

    # -- figures ------------------------------------------------------------------------------

    @requires(Permission.CONSENT)
    def statement(
        self, studio: Container, holder: str, period: Period, *, as_of: int | None = None
    ) -> Statement:
        """What was made under a holder's grants; see :mod:`studio.reports.statements.statement`.

        Raises :class:`UsageError` for a holder nobody knows.
        """
        from studio.reports.statements.statement import statement

        known = studio.consent().holders.get(holder)
        if known is None:
            raise UsageError(f"no rights holder {holder!r} in the registry")
        return statement(
            studio.ledger(), _rates(studio), holder, period, holder_name=known.name, as_of=as_of
        )

    @requires(Permission.CONSENT)
    def reconcile(
        self, studio: Container, period: Period, *, as_of: int | None = None
    ) -> Reconciliation:
        """The statements of all holders added up, against the ledger's own entries."""
        from studio.reports.statements.statement import reconcile

        return reconcile(studio.ledger(), _rates(studio), period, as_of=as_of)


def _shipped_folders(studio: Container) -> tuple[Path, ...]:
    """The site's own configuration first: it may be an older copy of the one that ships."""
    folders = (studio.paths.configs, shipped_configs())
    return tuple(folder / "consent" / "signed" for folder in folders)


def _noted(studio: Container, report: ImportReport) -> ImportReport:
    """Refused documents are security events; accepted ones have ledger entries."""
    for document in report.documents:
        if document.refusal is not None:
            studio.security_log().record(
                "consent-import",
                outcome="refused",
                subject=f"{document.kind} {document.digest}",
                detail=document.refusal,
            )
    return report


def _rates(studio: Container) -> Rates:
    from studio.reports.statements.rates import load_rates

    return load_rates(studio.paths.configs / "rates")
