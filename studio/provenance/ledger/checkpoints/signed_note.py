"""C2SP signed notes with Ed25519 (https://c2sp.org/signed-note).

A key is known by its name and by a key id, the first 4 bytes of
SHA-256(name ‖ LF ‖ 0x01 ‖ public key). Opening a note needs one good signature by a known key; a
bad one by a known key refuses it, those by unknown keys do not matter.

>>> key = VerifierKey.parse(
...     "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
... )
>>> key.name, key.key_id.hex()
('example.com/foo', '530d903a')
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from studio.core.errors import ProofError, UnreadableProofError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["SignerKey", "VerifierKey", "open_note", "sign_note"]

_ED25519 = b"\x01"
_MAX_NOTE = 1_000_000  # bytes; a checkpoint has a few hundred
_MAX_SIGNATURES = 100
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key as ``<name>+<key id, hex>+<base64(0x01 ‖ 32 bytes)>``."""

    name: str
    public: bytes  # 32 bytes
    last_size: int | None = field(default=None, compare=False)
    """Of a retired key: over how many entries of the ledger it may have signed; None: no end."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises :class:`UnreadableProofError` for anything but an Ed25519 verifier key."""
        name, _, rest = text.strip().partition("+")
        id_, _, encoded = rest.partition("+")
        body = _unbase64(encoded)
        if not _NAME.fullmatch(name) or body is None or len(body) != 33 or body[:1] != _ED25519:
            raise UnreadableProofError("not an Ed25519 public key of the form name+id+base64")
        key = cls(name, body[1:])
        if key.key_id.hex() != id_:
            raise UnreadableProofError("the public key does not have the key id beside it")
        return key

    @property
    def key_id(self) -> bytes:
        material = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(material).digest()[:4]

    def verify(self, text: str, signature: bytes) -> None:
        """Raises :class:`ProofError` unless this key signed the text."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError) as exc:
            raise ProofError(f"the signature of {self.name} does not hold") from exc

    def __str__(self) -> str:
        body = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{body}"


@dataclass(frozen=True, slots=True, repr=False)
class SignerKey:
    """A private key as ``PRIVATE+KEY+<name>+<key id, hex>+<base64(0x01 ‖ 32 bytes)>``."""

    name: str
    secret: bytes  # 32 bytes

    @classmethod
    def create(cls, name: str) -> Self:
        import secrets

        if not _NAME.fullmatch(name):
            raise ValueError("a key's name has neither spaces nor plus signs")
        return cls(name, secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises :class:`UnreadableProofError`; never shows the text."""
        parts = text.strip().split("+", 4)
        body = _unbase64(parts[4]) if len(parts) == 5 else None
        if parts[:2] != ["PRIVATE", "KEY"] or body is None or len(body) != 33:
            raise UnreadableProofError("not an Ed25519 private key of the ledger")
        key = cls(parts[2], body[1:])
        if body[:1] != _ED25519 or key.verifier().key_id.hex() != parts[3]:
            raise UnreadableProofError("the private key does not have the key id beside it")
        return key

    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self._private().public_key().public_bytes_raw())

    def sign(self, text: str) -> bytes:
        return self._private().sign(text.encode())

    def to_text(self) -> str:
        body = base64.b64encode(_ED25519 + self.secret).decode()
        return f"PRIVATE+KEY+{self.name}+{self.verifier().key_id.hex()}+{body}"

    def _private(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.secret)

    def __repr__(self) -> str:
        return f"SignerKey(name={self.name!r}, secret=<hidden>)"


def sign_note(text: str, *signers: SignerKey) -> str:
    """The note: the text, which ends with a line feed, and a signature line per signer."""
    if not text.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in text):
        raise ValueError("a note's text is lines without control characters")
    lines = []
    for signer in signers:
        body = base64.b64encode(signer.verifier().key_id + signer.sign(text)).decode()
        lines.append(f"— {signer.name} {body}\n")
    return f"{text}\n{''.join(lines)}"


def open_note(note: str, *keys: VerifierKey) -> tuple[str, Sequence[VerifierKey]]:
    """The text of a note, and which of the keys signed it: at least one.

    Raises :class:`UnreadableProofError` where it is no note, :class:`ProofError` where no known key
    signed it or a known key's signature is bad.
    """
    text, separator, tail = note.rpartition("\n\n")
    lines = tail.split("\n")[:-1]
    if (
        not separator
        or len(note.encode(errors="replace")) > _MAX_NOTE
        or not tail.endswith("\n")
        or not 1 <= len(lines) <= _MAX_SIGNATURES
        or any(ord(c) < 0x20 and c != "\n" for c in note)
    ):
        raise UnreadableProofError("not a signed note")
    text += "\n"
    signed: list[VerifierKey] = []
    for line in lines:
        match = _SIGNATURE.fullmatch(line)
        body = _unbase64(match[2]) if match else None
        if match is None or body is None or len(body) < 5:
            raise UnreadableProofError("not a signed note: a signature line is malformed")
        for key in keys:
            if (key.name, key.key_id) == (match[1], body[:4]) and key not in signed:
                key.verify(text, body[4:])
                signed.append(key)
    if not signed:
        raise ProofError("the note is not signed by the key that was given")
    return text, signed


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
