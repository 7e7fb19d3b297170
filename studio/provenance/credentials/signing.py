"""Sign a finished file with C2PA, read it back, and examine other files.

:class:`Credentials` is the one object pipeline and verification use. It fails closed: a file whose
credentials do not read back as `trusted`, with every assertion in it, is not released.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studio.core.config import CredentialsConfig, OutputFormat
from studio.core.errors import CredentialError
from studio.provenance.credentials.certificates import Trust, load_trust
from studio.provenance.credentials.claims import (
    MEDIA_TYPES,
    Claim,
    definition,
    ingredient,
    soft_binding,
)
from studio.provenance.credentials.reading import (
    CredentialReading,
    CredentialState,
    examine,
    judge,
    judge_stored,
)

__all__ = ["Credentials", "SignedFile"]

_logger = logging.getLogger(__name__)

_MANIFEST = "application/c2pa"  # a manifest store without its file


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A file with its manifest inside, and the manifest's own bytes for the ledger."""

    content: bytes
    manifest: bytes
    label: str  # the manifest's URN

    @property
    def manifest_sha256(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()


class Credentials:
    """Signs for this studio and judges the manifests of others. Safe to share between threads."""

    def __init__(self, config: CredentialsConfig, trust: Trust) -> None:
        self._config = config
        self.trust = trust

    @classmethod
    def open(
        cls,
        config: CredentialsConfig,
        *,
        folder: Path,
        configs: Path,
        at: datetime | None = None,
    ) -> Credentials:
        """Open the configured chain, or a development chain in ``folder``, made if need be.

        Raises :class:`~studio.core.errors.ConfigError` and :class:`CredentialError`.
        """
        return cls(config, load_trust(config, folder, configs, at=at))

    @property
    def soft_binding(self) -> str:
        """Name of our soft-binding algorithm."""
        return soft_binding(self._config.namespace)

    def label(self, name: str) -> str:
        """The label of one of our own assertions: ``consent`` or ``generation``."""
        return f"{self._config.namespace}.{name}"

    def describe(self) -> Mapping[str, Any]:
        """Who signs, for the ledger."""
        identity = self.trust.current
        return {"certificate_sha256": identity.sha256, "development": identity.development}

    def sign(self, content: bytes, format: OutputFormat, claim: Claim) -> SignedFile:
        """The file with a signed manifest in it, which has been read back.

        Raises :class:`CredentialError` where signing fails or what was written is not trusted.
        """
        import c2pa

        identity = self.trust.current
        if (why := identity.why_not(datetime.now(UTC))) is not None:
            raise CredentialError(
                f"nothing was released: {why}; set the clock or renew the certificate, then start "
                "the studio again"
            )
        failed: list[BaseException] = []

        def sign(data: bytes) -> bytes:
            # c2pa-rs turns an exception in here into "internal error": keep the real one.
            try:
                return identity.sign(data)
            except Exception as exc:
                failed.append(exc)
                raise

        algorithm = getattr(c2pa.C2paSigningAlg, identity.algorithm.upper())
        signed = io.BytesIO()
        try:
            context = c2pa.Context.from_dict(self.settings(signing=True))
            builder = c2pa.Builder(
                definition(claim, format, self._config.namespace), context=context
            )
            if claim.parent is not None and claim.parent.content is not None:
                builder.add_ingredient(
                    ingredient(claim.parent),
                    MEDIA_TYPES[claim.parent.format],
                    io.BytesIO(claim.parent.content),
                )
            with c2pa.Signer.from_callback(
                sign, algorithm, identity.chain_pem, self._config.timestamp_authority
            ) as signer:
                manifest = builder.sign(signer, MEDIA_TYPES[format], io.BytesIO(content), signed)
        except c2pa.C2paError as exc:
            cause = failed[0] if failed else exc
            _logger.error("signing failed: %s", cause)
            raise CredentialError(
                f"nothing was released: Content Credentials could not be signed ({cause})"
            ) from cause
        return self._read_back(signed.getvalue(), manifest, format, claim)

    def _read_back(
        self, content: bytes, manifest: bytes, format: OutputFormat, claim: Claim
    ) -> SignedFile:
        raw = examine(io.BytesIO(content), self.settings(), media_type=MEDIA_TYPES[format])
        reading = judge(raw)
        wanted = definition(claim, format, self._config.namespace)["assertions"]
        missing = [item["label"] for item in wanted if item["label"] not in reading.claims]
        if reading.state is not CredentialState.TRUSTED or missing or reading.label is None:
            found = ", ".join([*reading.failures, *missing]) or str(reading.state)
            raise CredentialError(
                f"nothing was released: the signed file's Content Credentials read back as {found}"
            )
        return SignedFile(content, manifest, reading.label)

    def examine(self, source: io.BufferedIOBase) -> CredentialReading:
        """The manifest in an open file, examined in this process: for files of our own."""
        return judge(examine(source, self.settings()))

    def recover(self, manifest: bytes) -> CredentialReading | None:
        """A manifest from the ledger, without its file; None where it is not sound or not ours."""
        return judge_stored(examine(io.BytesIO(manifest), self.settings(), media_type=_MANIFEST))

    def settings(self, *, signing: bool = False) -> dict[str, Any]:
        """Settings of c2pa-rs: our anchors and no others, no network, nothing added by itself."""
        hosts = []
        if signing and self._config.timestamp_authority is not None:
            hosts = [urlsplit(self._config.timestamp_authority).hostname]
        return {
            "version": 1,
            "trust": {
                "trust_anchors": self.trust.anchors_pem,
                "trust_config": "1.3.6.1.5.5.7.3.4\n1.3.6.1.4.1.62558.2.1\n",
            },
            "core": {"allowed_network_hosts": hosts},
            "verify": {
                "remote_manifest_fetch": False,
                "ocsp_fetch": False,
                "verify_trust": True,
                "verify_timestamp_trust": True,
                "verify_after_sign": False,  # done by _read_back, with the state we require
            },
            "soft_binding": {"soft_binding_algorithms": [self.soft_binding]},
            "builder": {
                "thumbnail": {"enabled": False},
                "actions": {
                    f"auto_{name}_action": {"enabled": False}
                    for name in ("created", "opened", "placed")
                },
            },
        }
