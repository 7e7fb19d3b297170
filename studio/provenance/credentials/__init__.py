"""Content Credentials: signing what is handed out, reading what comes in (C2PA).

What a manifest says is written down in ``docs/content-credentials.md``.
"""

from studio.provenance.credentials.claims import Claim, Parent, TrainingTerms
from studio.provenance.credentials.reading import CredentialReading, CredentialState
from studio.provenance.credentials.signing import Credentials, SignedFile

__all__ = [
    "Claim",
    "CredentialReading",
    "CredentialState",
    "Credentials",
    "Parent",
    "SignedFile",
    "TrainingTerms",
]
