"""The rules by which a signed document is accepted or refused, with reasons.

:func:`examine` is pure: it takes the document, the history of what was recorded before, and the
instant. It raises :class:`DocumentRefusedError` for the first rule that is not met. The table in
``docs/consent.md`` says what an attacker may try and which rule meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from studio.consent.signed.documents import (
    ANY_STUDIO,
    Document,
    GrantDocument,
    HolderDocument,
    KeyDocument,
    RevocationDocument,
    TagsDocument,
    short_type,
)
from studio.consent.signed.keys import PublicKey
from studio.consent.signed.signing import SignedDocument
from studio.consent.storage.history import OVERRIDES, Admission, ConsentHistory, HolderRecord
from studio.consent.types import format_instant
from studio.core.errors import ConsentRefusedError

__all__ = [
    "CLOCK_SKEW",
    "DocumentRefusedError",
    "Refusal",
    "check_signatures",
    "describe",
    "examine",
]

CLOCK_SKEW = timedelta(hours=1)
"""A document dated further ahead than this was not issued yet."""


class Refusal(StrEnum):
    """Why a document is refused."""

    REPLAYED = "replayed"
    AUDIENCE = "audience"
    UNKNOWN_HOLDER = "unknown-holder"
    HOLDER_KNOWN = "holder-known"
    NOT_ADMITTED = "not-admitted"
    FINGERPRINT = "fingerprint"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"
    WRONG_SIGNER = "wrong-signer"
    RETIRED_KEY = "retired-key"
    ALTERED = "altered"
    SUPERSEDED = "superseded"
    NOT_YET_ISSUED = "not-yet-issued"
    EXPIRED = "expired"
    KEY_TAKEN = "key-taken"
    TAKEN = "taken"
    UNKNOWN_TAG = "unknown-tag"
    UNKNOWN_GRANT = "unknown-grant"
    NOT_YOURS = "not-yours"
    ALREADY_REVOKED = "already-revoked"


class DocumentRefusedError(ConsentRefusedError):
    """One document is refused: ``refusal`` says why, ``advice`` what to do."""

    def __init__(self, refusal: Refusal, why: str, advice: str) -> None:
        super().__init__(f"{why}; {advice}")
        self.refusal = refusal
        self.why = why
        self.advice = advice


def examine(
    signed: SignedDocument,
    history: ConsentHistory,
    *,
    at: datetime,
    addresses: Sequence[str],
    admission: Admission,
) -> None:
    """Accept the document or raise :class:`DocumentRefusedError`.

    ``addresses`` are those of this studio, its site id first
    (:mod:`studio.consent.administration.site`).
    """
    document = signed.document
    _not_seen_before(signed, history)
    _is_for_us(document, addresses)
    _holder_is_known(document, history, admission)
    check_signatures(signed, history, admission)
    _id_is_new(signed, history)
    _in_order(document, history.holders.get(document.holder))
    _in_time(document, at)
    match document:
        case HolderDocument() | KeyDocument():
            _key_is_free(document, history)
        case TagsDocument():
            _tags_are_free(document, history)
        case GrantDocument():
            _grant_is_possible(document, history, at)
        case RevocationDocument():
            _revocation_is_possible(document, history, at)


def check_signatures(signed: SignedDocument, history: ConsentHistory, admission: Admission) -> None:
    """Whether exactly those signed who must. Raises :class:`DocumentRefusedError`."""
    needed = _signers(signed.document, history, admission)
    if not signed.signatures:
        raise DocumentRefusedError(
            Refusal.UNSIGNED, "nobody signed it", "ask its holder to sign it and send it again"
        )
    by_id = {key.id: key for key in needed}
    for signature in signed.signatures:
        if signature.key not in by_id:
            raise _wrong_key(signature.key, signed.document, history)
    for key in needed:
        if all(signature.key != key.id for signature in signed.signatures):
            raise DocumentRefusedError(
                Refusal.UNSIGNED,
                f"the signature by the key {key.id} is missing",
                "a change of keys is signed with the new key and with the present one; where "
                "that one is lost, a registrar can record an override",
            )
        if not signed.signed_by(key):
            raise DocumentRefusedError(
                Refusal.ALTERED,
                "the signature does not fit the document: one of them was changed after signing",
                f"ask {signed.document.holder} to send the file again, by another way if need be",
            )


def _signers(
    document: Document, history: ConsentHistory, admission: Admission
) -> tuple[PublicKey, ...]:
    if isinstance(document, HolderDocument):
        return (PublicKey.parse(document.profile.public_key),)
    present = history.holders[document.holder].key
    if isinstance(document, KeyDocument):
        new = PublicKey.parse(document.new_public_key)
        return (new,) if admission in OVERRIDES else (new, present)
    return (present,)


def _wrong_key(key_id: str, document: Document, history: ConsentHistory) -> DocumentRefusedError:
    owner = history.owner_of(key_id)
    if owner is None:
        return DocumentRefusedError(
            Refusal.UNKNOWN_KEY,
            f"it is signed with a key that belongs to nobody here ({key_id})",
            f"{document.holder} signs with the key known here, or sends a change of keys first",
        )
    if owner != document.holder:
        return DocumentRefusedError(
            Refusal.WRONG_SIGNER,
            f"it speaks for {document.holder} and is signed by {owner}",
            f"only {document.holder} can sign it",
        )
    return DocumentRefusedError(
        Refusal.RETIRED_KEY,
        f"it is signed with a key that {owner} has retired",
        f"ask {owner} to sign it again with the present key",
    )


def _is_for_us(document: Document, addresses: Sequence[str]) -> None:
    """What permits counts in the studios its holder chose, and in no other."""
    said = "audience" in document.model_fields_set
    if isinstance(document, GrantDocument) and not said:
        why = "it does not say which studio it is for"
    elif document.audience not in (ANY_STUDIO, *addresses):
        why = f"it is for the studio {document.audience!r}, and this one is {addresses[0]!r}"
    else:
        return
    raise DocumentRefusedError(
        Refusal.AUDIENCE,
        why,
        f"ask {document.holder} to sign one with `--audience {addresses[0]}`",
    )


def _not_seen_before(signed: SignedDocument, history: ConsentHistory) -> None:
    entry = history.entry_of(signed.digest)
    if entry is not None:
        raise DocumentRefusedError(
            Refusal.REPLAYED,
            f"this very document was recorded before, in ledger entry {entry}",
            "there is nothing left to do; a new permission takes a new document",
        )


def _id_is_new(signed: SignedDocument, history: ConsentHistory) -> None:
    entry = history.entry_of(signed.document.id)
    if entry is not None:
        raise DocumentRefusedError(
            Refusal.REPLAYED,
            f"the id of this document was used in ledger entry {entry}",
            f"ask {signed.document.holder} to sign it again: every document gets an id of its own",
        )


def _holder_is_known(document: Document, history: ConsentHistory, admission: Admission) -> None:
    known = history.holders.get(document.holder)
    if not isinstance(document, HolderDocument):
        if known is None:
            raise DocumentRefusedError(
                Refusal.UNKNOWN_HOLDER,
                f"the rights holder {document.holder!r} is not known here",
                "a registrar admits the holder first, with `studio consent holder admit`",
            )
        return
    if known is not None:
        raise DocumentRefusedError(
            Refusal.HOLDER_KNOWN,
            f"there is a rights holder {document.holder!r} already",
            "another key takes a change of keys, another person another id",
        )
    if admission not in (Admission.SHIPPED, Admission.REGISTRAR):
        raise DocumentRefusedError(
            Refusal.NOT_ADMITTED,
            f"the rights holder {document.holder!r} is not known here, and a file can say anything",
            "compare the key's fingerprint with the holder by another way, then admit it with "
            "`studio consent holder admit`: "
            + PublicKey.parse(document.profile.public_key).fingerprint,
        )


def _in_order(document: Document, known: HolderRecord | None) -> None:
    if known is None:
        return
    if document.serial in known.serials:
        raise DocumentRefusedError(
            Refusal.REPLAYED,
            f"{document.holder} used the serial {document.serial} in another document",
            f"ask for one with a serial above {known.highest_serial}",
        )
    # What only takes away is welcome however late it arrives; what permits must not be older than
    # something its holder has said since.
    if document.serial < known.highest_serial and not isinstance(document, RevocationDocument):
        raise DocumentRefusedError(
            Refusal.SUPERSEDED,
            f"{document.holder} has signed later documents that are recorded here (serial "
            f"{known.highest_serial}, this one is {document.serial})",
            "if it still holds, ask for it to be signed again",
        )


def _in_time(document: Document, at: datetime) -> None:
    if document.issued_at > at + CLOCK_SKEW:
        raise DocumentRefusedError(
            Refusal.NOT_YET_ISSUED,
            f"it is dated {format_instant(document.issued_at)}, which is still to come",
            "check both clocks, then ask for it to be signed again",
        )
    if document.import_before is not None and at >= document.import_before:
        raise DocumentRefusedError(
            Refusal.EXPIRED,
            f"it was to be recorded before {format_instant(document.import_before)}",
            f"ask {document.holder} for a new one",
        )


def _key_is_free(document: HolderDocument | KeyDocument, history: ConsentHistory) -> None:
    text = (
        document.profile.public_key
        if isinstance(document, HolderDocument)
        else document.new_public_key
    )
    key = PublicKey.parse(text)
    owner = history.owner_of(key.id)
    if owner is not None:
        raise DocumentRefusedError(
            Refusal.KEY_TAKEN,
            f"the key {key.id} is or was a key of {owner}",
            "make another with `studio consent keygen`",
        )


def _tags_are_free(document: TagsDocument, history: ConsentHistory) -> None:
    taken = sorted({tag.id for tag in document.tags} & set(history.tags))
    if taken or len({tag.id for tag in document.tags}) < len(document.tags):
        raise DocumentRefusedError(
            Refusal.TAKEN,
            f"{', '.join(taken) or 'a tag'} is in the vocabulary already, or listed twice",
            "leave it out, or choose another name",
        )


def _grant_is_possible(document: GrantDocument, history: ConsentHistory, at: datetime) -> None:
    grant = document.grant
    if history.grant_record(grant.id) is not None:
        raise DocumentRefusedError(
            Refusal.TAKEN,
            f"there is a grant {grant.id!r} already, and a grant is never changed",
            "a new permission takes a new grant id; the old one can be revoked",
        )
    unknown = sorted(grant.tags - set(history.tags))
    if unknown:
        raise DocumentRefusedError(
            Refusal.UNKNOWN_TAG,
            f"{', '.join(unknown[:5])} is not in the vocabulary",
            "import the document that adds the tag first; `studio tags` lists those there are",
        )
    # A demonstration grant permits nothing; one that has expired shows how that looks.
    demonstration = history.holders[document.holder].holder.kind == "demonstration"
    if grant.valid_until is not None and grant.valid_until <= at and not demonstration:
        raise DocumentRefusedError(
            Refusal.EXPIRED,
            f"its term ended on {format_instant(grant.valid_until)}",
            f"ask {document.holder} for a grant with a later valid_until",
        )


def _revocation_is_possible(
    document: RevocationDocument, history: ConsentHistory, at: datetime
) -> None:
    wanted = document.revocation
    record = history.grant_record(wanted.grant)
    if record is None:
        raise DocumentRefusedError(
            Refusal.UNKNOWN_GRANT,
            f"there is no grant {wanted.grant!r} here",
            "check its id with `studio consent list`; nothing is permitted under an unknown grant",
        )
    if record.signed.document.holder != document.holder:
        raise DocumentRefusedError(
            Refusal.NOT_YOURS,
            f"the grant {wanted.grant!r} is {record.signed.document.holder}'s",
            "only its own holder can take it back",
        )
    before = history.revoked_at(wanted.grant)
    effective = at if wanted.effective_at is None else max(wanted.effective_at, at)
    if before is not None and before <= effective:
        raise DocumentRefusedError(
            Refusal.ALREADY_REVOKED,
            f"the grant {wanted.grant!r} is revoked from {format_instant(before)} on",
            "there is nothing left to do",
        )


def describe(document: Document) -> str:
    """One line for a report: what kind, by whom, about what."""
    match document:
        case GrantDocument():
            return f"grant {document.grant.id} of {document.holder}"
        case RevocationDocument():
            return f"revocation of {document.revocation.grant} by {document.holder}"
        case TagsDocument():
            return f"{len(document.tags)} tags of {document.holder}"
    return f"{short_type(document)} of {document.holder}"
