"""Consent: rights holders, grants, revocations, and the policy.

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
