"""The certificate chain and key that sign Content Credentials.

Without configuration the studio makes itself a *development* chain at first start: a root that
signs exactly one leaf and whose key is then thrown away, so that nobody, thief or operator, can
ever mint a second leaf under it. ``credentials/development-0001.pem`` holds the leaf's key and both
certificates, readable by the owner only; a chain that is about to expire is followed by number
0002, and every earlier root stays trusted. Of several, the one signs that is valid longest of
those valid now, so a chain made while the clock was wrong is passed over. In production the chain
comes from a certificate authority and the key from a file or from a callback that asks a hardware
module.

The leaf's profile is what the C2PA specification (2.x, section 14.5) asks of a signer: CA false,
``digitalSignature`` and nothing else, extended key usage ``emailProtection`` beside C2PA's own.

>>> identity = make_development_identity(datetime(2026, 11, 22, tzinfo=UTC))
>>> identity.algorithm, len(identity.sign(b"claim")), identity.expires.year
('es256', 64, 2036)
"""

from __future__ import annotations

import importlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import ConfigError, CredentialError
from watermark.util.files import create_file

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateBuilder

    from studio.core.config import CredentialsConfig

__all__ = ["SigningIdentity", "Trust", "load_trust", "make_development_identity"]

_ORGANISATION = "Consented Music Studio (development)"
_LEAF_DAYS = 3652
_RENEW_DAYS = 365  # a chain with less left is followed by another
_BACKDATED = timedelta(hours=1)  # for a reader whose clock is a little behind
_NAME = re.compile(r"^development-(\d{4,})\.pem$")
_C2PA_SIGNING = "1.3.6.1.4.1.62558.2.1"  # the C2PA extended key usage


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """A chain and the function that signs for it."""

    chain_pem: str  # leaf first
    algorithm: str  # COSE name: es256, es384 or ed25519
    sign: Callable[[bytes], bytes]  # raw signature: r ‖ s for ECDSA (RFC 9053, section 2.1)
    development: bool
    key_pem: str | None = None  # only of a development identity that was just made

    @property
    def certificates(self) -> list[Certificate]:
        from cryptography import x509

        return x509.load_pem_x509_certificates(self.chain_pem.encode())

    @property
    def root_pem(self) -> str:
        return _pem(self.certificates[-1])

    @property
    def expires(self) -> datetime:
        return self.certificates[0].not_valid_after_utc

    def why_not(self, at: datetime) -> str | None:
        """Why a signature of that time would not be trusted; None if it would be."""
        leaf = self.certificates[0]
        whole = at.replace(microsecond=0)  # certificates count whole seconds, the last one included
        if leaf.not_valid_before_utc <= whole <= leaf.not_valid_after_utc:
            return None
        return (
            f"the signing certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and the clock of this machine says "
            f"{at:%Y-%m-%d %H:%M} UTC"
        )

    @property
    def sha256(self) -> str:
        """Fingerprint of the leaf certificate, hexadecimal."""
        from cryptography.hazmat.primitives import hashes

        return self.certificates[0].fingerprint(hashes.SHA256()).hex()


@dataclass(frozen=True, slots=True)
class Trust:
    """The identity that signs now, and everything a reader may trust."""

    current: SigningIdentity
    anchors_pem: str  # roots, concatenated


def load_trust(
    config: CredentialsConfig, folder: Path, configs: Path, *, at: datetime | None = None
) -> Trust:
    """The studio's identity and anchors, making a development chain where none is configured.

    ``folder`` holds development chains; paths in ``config`` are relative to ``configs``.

    Raises :class:`ConfigError` for a configured file that cannot be used, and
    :class:`CredentialError` for a development chain that cannot be read or made.
    """
    now = at or datetime.now(UTC)
    own = _development_identities(folder)
    if config.certificate_chain is not None:
        current = _production_identity(config, configs)
    else:
        valid = [identity for identity in own.values() if identity.why_not(now) is None]
        newest = max(valid, key=lambda identity: identity.expires, default=None)
        if newest is None or newest.expires - now < timedelta(days=_RENEW_DAYS):
            newest = _add_development_identity(folder, own, now)
        current = newest
    identities = [*own.values(), current]
    anchors = [identity.root_pem for identity in identities]
    anchors += [_read(configs / name, "trust anchors") for name in config.trust_anchors]
    return Trust(current, "".join(dict.fromkeys(anchors)))


def make_development_identity(
    at: datetime, *, valid: timedelta = timedelta(days=_LEAF_DAYS)
) -> SigningIdentity:
    """A new chain of root and leaf from ``at`` on; the root's key does not leave this function."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    root_key = ec.generate_private_key(ec.SECP256R1())
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    mark = secrets.token_hex(4)
    root_name, leaf_name = f"Root {mark}", f"Signer {mark}"
    term = (at - _BACKDATED, at + valid)
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _certificate(root_name, root_name, root_key.public_key(), term)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(root_id, critical=False)
        .add_extension(_key_usage(certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _certificate(leaf_name, root_name, leaf_key.public_key(), term)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
        )
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.EMAIL_PROTECTION, x509.ObjectIdentifier(_C2PA_SIGNING)]
            ),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )
    key_pem = leaf_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    algorithm, sign = _signing_function(leaf_key)
    return SigningIdentity(_pem(leaf) + _pem(root), algorithm, sign, True, key_pem)


# -- the development chain -------------------------------------------------------------------------


def _development_identities(folder: Path) -> dict[int, SigningIdentity]:
    try:
        found = ((_NAME.match(path.name), path) for path in folder.iterdir())
        return {int(match[1]): _load_development(path) for match, path in found if match}
    except OSError as exc:
        raise CredentialError(f"the signing keys cannot be read: {exc.strerror}") from exc


def _load_development(path: Path) -> SigningIdentity:
    if path.stat().st_mode & 0o077:
        raise CredentialError(f"signing key {path.name} is open to other users; chmod 600 it")
    try:
        text = path.read_text(encoding="ascii")
        key_pem, marker, chain = text.partition("-----BEGIN CERTIFICATE-----")
        algorithm, sign = _signing_function(_private_key(key_pem))
        identity = SigningIdentity(marker + chain, algorithm, sign, True)
        _check_pair(identity)
    except ValueError as exc:
        raise CredentialError(f"signing key {path.name} is damaged; restore it") from exc
    return identity


def _add_development_identity(
    folder: Path, own: dict[int, SigningIdentity], now: datetime
) -> SigningIdentity:
    """Make and keep the next chain; of two processes at once the first wins."""
    number = max(own, default=0) + 1
    path = folder / f"development-{number:04d}.pem"
    made = make_development_identity(now)
    try:
        create_file(path, ((made.key_pem or "") + made.chain_pem).encode("ascii"))
    except OSError as exc:
        raise CredentialError(f"no signing key can be made: {exc.strerror}") from exc
    own[number] = _load_development(path)
    return own[number]


def _certificate(
    subject: str, issuer: str, key: Any, term: tuple[datetime, datetime]
) -> CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def name(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(term[0])
        .not_valid_after(term[1])
    )


def _key_usage(*, certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


# -- the production chain --------------------------------------------------------------------------


def _production_identity(config: CredentialsConfig, configs: Path) -> SigningIdentity:
    chain = _read(configs / (config.certificate_chain or ""), "certificate chain")
    try:
        if config.signer is not None:
            identity = _with_callback(chain, config.signer)
        else:
            path = configs / (config.private_key or "")
            if path.exists() and path.stat().st_mode & 0o077:
                raise ConfigError(f"private key {path.name} is open to other users; chmod 600 it")
            algorithm, sign = _signing_function(_private_key(_read(path, "private key")))
            identity = SigningIdentity(chain, algorithm, sign, False)
        _check_pair(identity)
    except ValueError as exc:
        raise ConfigError(f"credentials: the certificate chain and its key: {exc}") from exc
    return identity


def _with_callback(chain: str, reference: str) -> SigningIdentity:
    """``reference`` is ``package.module:function``: bytes to be signed in, raw signature out."""
    from cryptography import x509

    module, _, name = reference.partition(":")
    try:
        callback = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigError(f"credentials.signer {reference!r} cannot be found: {exc}") from exc
    key = x509.load_pem_x509_certificates(chain.encode())[0].public_key()
    return SigningIdentity(chain, _algorithm(key), callback, False)


def _check_pair(identity: SigningIdentity) -> None:
    """ValueError unless the key fits the leaf. One signature shows it, whoever holds the key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

    probe = secrets.token_bytes(32)
    key = identity.certificates[0].public_key()
    signature = identity.sign(probe)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, probe)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            digest = {"es256": hashes.SHA256(), "es384": hashes.SHA384()}[identity.algorithm]
            key.verify(utils.encode_dss_signature(r, s), probe, ec.ECDSA(digest))
    except InvalidSignature as exc:
        raise ValueError("the key does not belong to the certificate") from exc


def _signing_function(key: Any) -> tuple[str, Callable[[bytes], bytes]]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

    algorithm = _algorithm(key.public_key())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return algorithm, key.sign
    size = (key.curve.key_size + 7) // 8
    digest = {"es256": hashes.SHA256(), "es384": hashes.SHA384()}[algorithm]

    def sign(data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return algorithm, sign


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    curves = {"secp256r1": "es256", "secp384r1": "es384"}
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in curves:
        return curves[key.curve.name]
    raise ValueError("a signing key is P-256, P-384 or Ed25519")


def _private_key(pem: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        return serialization.load_pem_private_key(pem.encode(), password=None)
    except (TypeError, UnsupportedAlgorithm) as exc:  # TypeError: encrypted with a passphrase
        raise ValueError("an encrypted or unknown private key") from exc


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as exc:
        raise ConfigError(f"credentials: the {what} {path.name} cannot be read") from exc


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()
