"""Ed25519 keys of rights holders; the studio stores only the public half.

A key is known by its id, the first 128 bits of the SHA-256 of its public half, and compared over
the telephone by its fingerprint, the whole SHA-256 in groups.

>>> key = SigningKey.generate()
>>> public = key.public
>>> public.accepts(key.sign(b"yes"), b"yes"), public.accepts(key.sign(b"yes"), b"no")
(True, False)
>>> PublicKey.parse(public.text) == public, len(public.id)
(True, 32)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

from studio.core.errors import ConfigError, UsageError
from watermark.util.files import create_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["PublicKey", "SigningKey"]


class PublicKey:
    """The half that checks. Equal where the 32 bytes are."""

    def __init__(self, raw: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self.raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 44 characters of base64. Raises :class:`ValueError`."""
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error as exc:
            raise ValueError("the public key is not base64") from exc
        if len(raw) != 32 or base64.b64encode(raw).decode() != text:
            raise ValueError("an Ed25519 public key is 32 bytes, 44 characters of base64")
        return cls(raw)

    @property
    def text(self) -> str:
        return base64.b64encode(self.raw).decode()

    @property
    def id(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()[:32]

    @property
    def fingerprint(self) -> str:
        """What two people read to each other: 64 hexadecimal digits in groups of eight."""
        digits = hashlib.sha256(self.raw).hexdigest()
        return " ".join(digits[start : start + 8] for start in range(0, 64, 8))

    def has_fingerprint(self, text: str) -> bool:
        """Whether somebody typed this key's fingerprint; spaces and case do not matter.

        >>> key = SigningKey.generate().public
        >>> key.has_fingerprint(key.fingerprint.upper()), key.has_fingerprint("")
        (True, False)
        """
        return "".join(text.lower().split()) == self.fingerprint.replace(" ", "")

    def accepts(self, signature: bytes, content: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)


class SigningKey:
    """The half that signs."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of 32 secret bytes: the same bytes, the same key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path, password: str | None = None) -> Self:
        """Read a PEM file. Raises :class:`ConfigError` with what is wrong, never the content."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            secret = None if password is None else password.encode()
            key = load_pem_private_key(path.read_bytes(), secret)
        except OSError as exc:
            raise ConfigError(f"cannot read the key {path}: {exc.strerror}") from exc
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # What the library says may quote the file.
            raise ConfigError(
                f"{path.name} is not a signing key in PEM, or its password is another; "
                "`studio consent keygen` makes one"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{path.name} holds a key of another kind; Ed25519 is needed")
        return cls(key)

    def save(self, path: Path, password: str | None = None) -> None:
        """Write a PEM file that only its owner can read; never replaces one."""
        from cryptography.hazmat.primitives import serialization

        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()
            if password is None
            else serialization.BestAvailableEncryption(password.encode()),
        )
        try:
            made = create_file(path, pem)
        except OSError as exc:
            raise UsageError(f"cannot write the key {path}: {exc.strerror}") from exc
        if not made:
            raise UsageError(f"{path} is there already; a key is never overwritten")

    def sign(self, content: bytes) -> bytes:
        return self._key.sign(content)
