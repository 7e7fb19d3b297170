"""Consent: rights holders, their grants and revocations, and the policy that decides by them.

The file formats and the rules are written down in ``docs/consent.md``.
"""

from __future__ import annotations

from studio.consent.policy import ConsentPolicy
from studio.consent.registry import ConsentRegistry
from studio.consent.types import (
    GENERATION_USES,
    Decision,
    Grant,
    GrantVerdict,
    OnRevocation,
    Reason,
    Revocation,
    RightsHolder,
    TagDecision,
    Use,
)

__all__ = [
    "GENERATION_USES",
    "ConsentPolicy",
    "ConsentRegistry",
    "Decision",
    "Grant",
    "GrantVerdict",
    "OnRevocation",
    "Reason",
    "Revocation",
    "RightsHolder",
    "TagDecision",
    "Use",
]
