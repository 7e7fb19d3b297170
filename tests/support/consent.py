"""Rights holders for tests: their keys are derived from their ids, so anything can be signed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from studio.consent.signed.documents import RevocationDocument, RevocationTerms
from studio.consent.signed.drafts import SIGNED, Drafts, draft_grant, sign_drafts, sign_grant
from studio.consent.signed.keys import SigningKey
from studio.consent.signed.signing import SignedDocument, new_document, sign, write_file
from studio.core.paths import shipped_configs

CONSENT = shipped_configs() / "consent"
HOUSE_GRANT = "house-catalogue-2026"


def key_of(holder: str) -> SigningKey:
    """The holder's key in every test."""
    return SigningKey.from_seed(hashlib.sha256(f"test {holder}".encode()).digest())


@lru_cache(maxsize=1)
def _shipped() -> dict[str, bytes]:
    return dict(sign_drafts(Drafts(CONSENT), key_of))


def sign_shipped(folder: Path) -> None:
    """Replace the signed files of a copy of configs/consent by ones signed with the test's keys."""
    (folder / SIGNED).mkdir(exist_ok=True)
    for path in (folder / SIGNED).glob("*.json"):
        path.unlink()
    for name, content in _shipped().items():
        (folder / SIGNED / name).write_bytes(content)


def revocation(grant: str = HOUSE_GRANT, holder: str = "house", **fields) -> SignedDocument:
    """A signed revocation; ``fields``: `effective_at`, `reason`, and any field of the envelope."""
    terms = {name: fields.pop(name) for name in ("effective_at", "reason") if name in fields}
    fields.setdefault("audience", "*")
    document = new_document(
        RevocationDocument, holder, revocation=RevocationTerms(grant=grant, **terms), **fields
    )
    return sign(document, key_of(holder))


def grant(id: str, holder: str = "house", *, envelope=None, **changes) -> SignedDocument:
    """A signed grant: the house's own terms with ``changes``."""
    terms = draft_grant(CONSENT / "grants" / f"{HOUSE_GRANT}.yaml")
    terms = type(terms).model_validate(
        {**terms.model_dump(), "id": id, "holder": holder, **changes}
    )
    return sign_grant(terms, key_of(holder), **{"audience": "*", **(envelope or {})})


def file_of(*documents: SignedDocument) -> bytes:
    return write_file(documents)
