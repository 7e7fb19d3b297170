"""Signed documents, and the file format in which they are exchanged.

A file is JSON: ``{"format": ..., "version": 1, "documents": [{"document": {...}, "signatures":
[{"algorithm": "ed25519", "key": ID, "signature": BASE64}]}, ...]}``. Reading one says only what is
in it; whether to believe it is decided by :mod:`studio.consent.signed.admission`.

>>> from studio.consent.signed.documents import RevocationDocument, RevocationTerms
>>> from studio.consent.signed.keys import SigningKey
>>> key = SigningKey.generate()
>>> signed = sign(new_document(RevocationDocument, "ada", audience="*",
...                            revocation=RevocationTerms(grant="g1")), key)
>>> [again] = read_file(write_file([signed]))
>>> again == signed, again.signed_by(key.public)
(True, True)
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from studio.consent.signed.documents import (
    BaseDocument,
    Document,
    HolderDocument,
    canonical,
    parse_document,
    strict_json,
)
from studio.consent.signed.keys import PublicKey, SigningKey
from studio.consent.types import Record
from studio.core.errors import ConsentFileError

__all__ = [
    "FORMAT",
    "MAX_BYTES",
    "Signature",
    "SignedDocument",
    "new_document",
    "of_one_holder",
    "read_file",
    "sign",
    "write_file",
]

FORMAT = "consented-music-studio/signed-consent"
VERSION = 1
MAX_BYTES = 16 * 1024 * 1024
"""A larger file is refused unread; a grant takes about 1 kB."""

_Kind = TypeVar("_Kind", bound=BaseDocument)


class _Serials:
    """Milliseconds since 1970, or one more than the last, whichever is higher."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        with self._lock:
            self._last = max(time.time_ns() // 1_000_000, self._last + 1)
            return self._last


_serials = _Serials()


class Signature(Record):
    """One signature and the id of the key that made it."""

    algorithm: Literal["ed25519"] = "ed25519"
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    signature: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{86}==$")]

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.signature)


@dataclass(frozen=True)
class SignedDocument:
    """A document as the bytes that were signed, what they say, and who signed them."""

    content: bytes  # canonical JSON
    document: Document
    signatures: tuple[Signature, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal: by this the ledger knows the document."""
        return hashlib.sha256(self.content).hexdigest()

    def signed_by(self, key: PublicKey) -> bool:
        """Whether one of the signatures is by this key, and good."""
        return any(
            signature.key == key.id and key.accepts(signature.raw, self.content)
            for signature in self.signatures
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "document": json.loads(self.content),
            "signatures": [signature.model_dump() for signature in self.signatures],
        }

    @classmethod
    def of(cls, body: Any, signatures: Any) -> SignedDocument:
        """From parsed JSON. Raises :class:`ValueError` naming what is wrong."""
        if not isinstance(body, dict) or not isinstance(signatures, list):
            raise ValueError("a signed document is {document, signatures}")
        try:
            read = tuple(Signature.model_validate(signature) for signature in signatures)
        except ValidationError as exc:
            raise ValueError(
                "a signature is {algorithm: ed25519, key: 32 digits, signature: base64}"
            ) from exc
        return cls(canonical(body), parse_document(body), read)


def new_document(kind: type[_Kind], holder: str, *, audience: str, **fields: Any) -> _Kind:
    """A document of this kind with a new id, the present instant and a serial that rises.

    ``audience`` is the site id of the one studio spoken to, or ``*`` for every studio. The serial
    is the time in milliseconds: above every earlier one, without the holder having to remember any.
    """
    given: dict[str, Any] = {
        "id": secrets.token_hex(16),
        "serial": _serials.next(),
        "issued_at": datetime.now(UTC),
    } | fields
    return kind(holder=holder, audience=audience, **given)


def sign(document: Document, *keys: SigningKey) -> SignedDocument:
    """The document with a signature by each key. Raises :class:`ValueError` without any."""
    if not keys:
        raise ValueError("a document is signed by at least one key")
    content = canonical(document)
    signatures = tuple(
        Signature(key=key.public.id, signature=base64.b64encode(key.sign(content)).decode())
        for key in keys
    )
    return SignedDocument(content, document, signatures)


def write_file(documents: Iterable[SignedDocument]) -> bytes:
    """The file that :func:`read_file` reads, indented for people."""
    body = {
        "format": FORMAT,
        "version": VERSION,
        "documents": [document.to_json() for document in documents],
    }
    return (json.dumps(body, ensure_ascii=False, indent=2) + "\n").encode()


def read_file(data: bytes) -> tuple[SignedDocument, ...]:
    """Read a file, without checking signatures. Raises :class:`ConsentFileError`."""
    if len(data) > MAX_BYTES:
        raise ConsentFileError(
            f"the file is larger than {MAX_BYTES // 2**20} MiB; send its documents in several files"
        )
    try:
        body = strict_json(data)
    except ValueError as exc:
        raise ConsentFileError(
            f"this is not a file of signed consent: {exc}; ask for the file as it was exported, "
            "unchanged and not pasted into a message"
        ) from exc
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ConsentFileError(f'this is not a file of signed consent: no "format": "{FORMAT}"')
    if body.get("version") != VERSION or isinstance(body.get("version"), bool):
        raise ConsentFileError(
            f"the file is of version {body.get('version')!r}, this studio reads version {VERSION} "
            "only; export it again with a studio of this version"
        )
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents or set(body) != _FIELDS:
        raise ConsentFileError("the file holds no documents, or more than documents")
    return tuple(_read_one(number, item) for number, item in enumerate(documents, start=1))


def of_one_holder(data: bytes) -> tuple[tuple[SignedDocument, ...], HolderDocument]:
    """The documents of a file with which a rights holder makes itself known, and its own.

    First stands the document of the kind ``holder``; what else there is, the same holder signed.
    Raises :class:`ConsentFileError` for a file of another shape.
    """
    documents = read_file(data)
    holder = documents[0].document
    if isinstance(holder, HolderDocument):
        others = [signed.document for signed in documents[1:]]
        if all(
            other.holder == holder.holder and not isinstance(other, HolderDocument)
            for other in others
        ):
            return documents, holder
    raise ConsentFileError(
        "this takes the file of one rights holder: first the document of the kind 'holder', then "
        "nothing but what that holder signed"
    )


_FIELDS = {"format", "version", "documents"}


def _read_one(number: int, item: Any) -> SignedDocument:
    try:
        if not isinstance(item, dict) or set(item) != {"document", "signatures"}:
            raise ValueError("a signed document is {document, signatures}")
        return SignedDocument.of(item["document"], item["signatures"])
    except ValueError as exc:
        raise ConsentFileError(
            f"document {number} of the file cannot be read ({exc}); it was changed on the way, or "
            "made by another version: ask the rights holder for it again"
        ) from exc
