"""Ledger entries of consent documents: terms and digests, no names, no text.

The document's own random id is left out, so that its digest commits to the rest without letting
anybody guess a name from it.
"""

from __future__ import annotations

from typing import Any

from studio.consent.signed.documents import (
    GrantDocument,
    HolderDocument,
    KeyDocument,
    RevocationDocument,
    TagsDocument,
)
from studio.consent.signed.keys import PublicKey
from studio.consent.signed.signing import SignedDocument
from studio.consent.storage.history import Admission
from studio.consent.types import format_instant

__all__ = ["ENTRY_KINDS", "entry_body", "entry_kind"]

ENTRY_KINDS = ("holder", "holder-key", "tags", "grant", "revocation")
"""Kinds of entries that each record one document."""


def entry_kind(signed: SignedDocument) -> str:
    """The kind of ledger entry that records it."""
    match signed.document:
        case HolderDocument():
            return "holder"
        case KeyDocument():
            return "holder-key"
        case TagsDocument():
            return "tags"
        case GrantDocument():
            return "grant"
        case RevocationDocument():
            return "revocation"


def entry_body(signed: SignedDocument, admission: Admission) -> dict[str, Any]:
    """The body of that entry."""
    document = signed.document
    body: dict[str, Any] = {
        "holder": document.holder,
        "digest": signed.digest,
        "serial": document.serial,
        "keys": [signature.key for signature in signed.signatures],
        "admission": str(admission),
    }
    match document:
        case HolderDocument():
            key = PublicKey.parse(document.profile.public_key)
            body |= {"holder_kind": document.profile.kind, "key": key.id}
        case KeyDocument():
            body["key"] = PublicKey.parse(document.new_public_key).id
        case TagsDocument():
            body["tags"] = [tag.id for tag in document.tags]
        case GrantDocument():
            terms = document.grant.model_dump(mode="json")
            body["grant"] = terms.pop("id")
            body["terms_sha256"] = terms.pop("terms")["sha256"]
            body |= terms
        case RevocationDocument():
            at = document.revocation.effective_at
            body["grant"] = document.revocation.grant
            body["effective_at"] = None if at is None else format_instant(at)
    return body
