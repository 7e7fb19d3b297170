"""RFC 3161 timestamps: a third party attests when a checkpoint existed.

Off unless ``ledger.timestamp_authority`` names a service; it learns a digest and nothing else.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from studio.core.errors import LedgerError, ProofError, UnreadableProofError

__all__ = ["ask", "check", "load_roots", "text"]

_TIMEOUT_S = 15.0
_MAX_RESPONSE = 1_000_000  # bytes


def ask(url: str, message: bytes) -> bytes:
    """The authority's response (DER) over SHA-512 of the message. Raises :class:`LedgerError`."""
    import rfc3161_client

    if not url.startswith(("http://", "https://")):
        raise LedgerError("the timestamp authority must be an http or https address")
    request = rfc3161_client.TimestampRequestBuilder().data(message).build()
    post = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, request.as_bytes(), {"Content-Type": "application/timestamp-query"}
    )
    try:
        with urllib.request.urlopen(post, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            response: bytes = answer.read(_MAX_RESPONSE)
        decoded = rfc3161_client.decode_timestamp_response(response)
        granted = decoded.status in (0, 1) and decoded.tst_info.nonce == request.nonce
    except (OSError, urllib.error.URLError, ValueError) as exc:
        raise LedgerError(f"the timestamp authority did not answer: {exc}") from exc
    if not granted:
        raise LedgerError("the timestamp authority did not grant a timestamp")
    return response


def load_roots(path: Path) -> Sequence[bytes]:
    """The certificates of a PEM file as DER. Raises :class:`UnreadableProofError`."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    try:
        certificates = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise UnreadableProofError(f"{path.name} holds no certificates: {exc}") from exc
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def check(response: bytes, message: bytes, roots: Sequence[bytes]) -> datetime:
    """When the authority saw the message (UTC), by a certificate under one of the roots.

    Raises :class:`ProofError` where the timestamp does not hold.
    """
    import rfc3161_client
    from cryptography.x509 import load_der_x509_certificate

    try:
        decoded = rfc3161_client.decode_timestamp_response(response)
    except ValueError as exc:
        raise UnreadableProofError(f"not a timestamp: {exc}") from exc
    builder = rfc3161_client.VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(load_der_x509_certificate(root))
    try:
        builder.build().verify_message(decoded, message)
    except (rfc3161_client.VerificationError, ValueError) as exc:
        raise ProofError(f"the timestamp does not hold: {exc}") from exc
    return decoded.tst_info.gen_time.astimezone(UTC)


def text(at: datetime) -> str:
    """A time of an authority, which counts whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
