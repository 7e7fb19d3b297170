"""A claim and the development settings of Content Credentials."""

from __future__ import annotations

from studio.core.config import CredentialsConfig
from studio.provenance.credentials.claims import Claim, TrainingTerms

__all__ = ["CLAIM", "DEVELOPMENT"]

DEVELOPMENT = CredentialsConfig(
    namespace="org.example",
    certificate_chain=None,
    private_key=None,
    signer=None,
    trust_anchors=(),
    timestamp_authority=None,
)
CLAIM = Claim(
    output_id="ab" * 8,
    seal_id="ab" * 8,
    title="Calm jazz",
    made_at="2026-11-22T12:00:00Z",
    model={"id": "house"},
    request={"seed": 1},
    consent=[],
    use="experiment",
    territory="WORLD",
    training=TrainingTerms({}),
)
