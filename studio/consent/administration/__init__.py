"""Record consent and revocations, and carry out what a revocation requires.

A signed document that is believed (:mod:`studio.consent.signed.admission`) is put into the
database in the same transaction as the ledger entry that says so. A revocation takes effect with
that commit: the next decision sees it, a request that runs is stopped at its release, downloads
are blocked or audio is removed as the grant's own terms say.
"""

from __future__ import annotations

from studio.consent.administration.reports import (
    AffectedOutput,
    Distribution,
    DistributionState,
    GrantState,
    GrantStatus,
    HolderStatus,
    ImportedDocument,
    ImportReport,
    RevocationPreview,
)
from studio.consent.administration.service import ConsentService
from studio.consent.administration.shipped import ShippedFile, admit_shipped, shipped_files

__all__ = [
    "AffectedOutput",
    "ConsentService",
    "Distribution",
    "DistributionState",
    "GrantState",
    "GrantStatus",
    "HolderStatus",
    "ImportReport",
    "ImportedDocument",
    "RevocationPreview",
    "ShippedFile",
    "admit_shipped",
    "shipped_files",
]
