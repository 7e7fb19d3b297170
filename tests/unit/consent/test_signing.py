"""Signed documents: what is believed, and for every way to cheat the reason why it is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.consent.signed.admission import DocumentRefusedError, Refusal, examine
from studio.consent.signed.documents import (
    HolderDocument,
    HolderTerms,
    KeyDocument,
    TagsDocument,
    TagTerms,
    canonical,
)
from studio.consent.signed.keys import PublicKey, SigningKey
from studio.consent.signed.signing import SignedDocument, new_document, read_file, sign, write_file
from studio.consent.storage.history import Admission, ConsentHistory, ConsentRecord
from studio.core.errors import ConfigError, ConsentFileError, UsageError
from tests.support.consent import grant, key_of, revocation

NOW = datetime.now(UTC)


def holder(id: str, kind: str = "label", key: SigningKey | None = None) -> SignedDocument:
    key = key or key_of(id)
    terms = HolderTerms(name=id.title(), kind=kind, public_key=key.public.text)
    return sign(new_document(HolderDocument, id, profile=terms, audience="*"), key)


def tags_of(*ids: str, holder: str = "house") -> SignedDocument:
    terms = tuple(TagTerms(id=id, phrase=id) for id in ids)
    return sign(new_document(TagsDocument, holder, tags=terms, audience="*"), key_of(holder))


HOUSE_TAGS = sorted(grant("x").document.grant.tags)


class Studio:
    """A book that documents are put to."""

    def __init__(self) -> None:
        self.book = ConsentHistory()
        for signed in (holder("house", "project"), holder("ada", "artist"), tags_of(*HOUSE_TAGS)):
            self.take(signed, admission=Admission.SHIPPED)

    def take(self, signed, *, at=None, admission=Admission.SIGNATURE) -> None:
        at = at or datetime.now(UTC)
        examine(signed, self.book, at=at, addresses=("here",), admission=admission)
        self.book.apply(ConsentRecord(signed, self.book.version + 1, at, admission))

    def refusal(self, signed, **how) -> Refusal:
        version = self.book.version
        with pytest.raises(DocumentRefusedError) as refused:
            self.take(signed, **how)
        assert self.book.version == version
        assert refused.value.why
        assert refused.value.advice, "every refusal says how to get it right"
        return refused.value.refusal


@pytest.fixture
def studio() -> Studio:
    return Studio()


def changed(signed: SignedDocument, change) -> SignedDocument:
    """The document with something changed after signing, as it would come out of a file."""
    body = json.loads(write_file([signed]))
    change(body["documents"][0])
    (again,) = read_file(json.dumps(body).encode())
    return again


def test_a_signed_grant_is_believed_and_revoked_by_its_holder(studio):
    studio.take(grant("g1"))
    assert studio.book.registry().grants["g1"].holder == "house"
    studio.take(revocation("g1", reason="enough"))
    assert studio.book.revoked_at("g1") is not None
    assert studio.book.revocation_reason("g1") == "enough"


def test_a_file_survives_reindenting_but_no_change_of_content(studio):
    signed = grant("g1")
    assert changed(signed, lambda _: None).content == signed.content
    wider = changed(signed, lambda d: d["document"]["grant"]["models"].append("other"))
    assert studio.refusal(wider) is Refusal.ALTERED
    studio.take(signed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("share", "0.9"),
        ("valid_until", None),
        ("uses", ["commercial"]),
        ("territories", ["AT"]),
        ("on_revocation", "withdraw"),
        ("id", "g2"),
    ],
)
def test_every_term_is_under_the_signature(studio, field, value):
    forged = changed(grant("g1"), lambda d: d["document"]["grant"].update({field: value}))
    assert studio.refusal(forged) is Refusal.ALTERED


@pytest.mark.parametrize("field", ["serial", "issued_at", "audience", "import_before", "id"])
def test_the_envelope_is_under_the_signature_as_well(studio, field):
    values = {
        "serial": 2**52,
        "issued_at": "2026-01-01T00:00:00Z",
        "audience": "here",
        "import_before": "2099-01-01T00:00:00Z",
        "id": "f" * 32,
    }
    forged = changed(grant("g1"), lambda d: d["document"].update({field: values[field]}))
    assert studio.refusal(forged) is Refusal.ALTERED


def test_a_document_of_one_kind_cannot_be_read_as_another(studio):
    def retype(signed):
        signed["document"]["type"] = "consented-music-studio/revocation"

    with pytest.raises(ConsentFileError, match="cannot be read"):
        changed(grant("g1"), retype)


def test_replays(studio):
    signed = grant("g1")
    studio.take(signed)
    assert studio.refusal(signed) is Refusal.REPLAYED
    same_serial = grant("g2", envelope={"serial": signed.document.serial})
    assert studio.refusal(same_serial) is Refusal.REPLAYED
    same_id = grant("g2", envelope={"id": signed.document.id})
    assert studio.refusal(same_id) is Refusal.REPLAYED


def test_an_older_permission_does_not_come_after_a_newer_word(studio):
    """A wide grant that its holder thought better of, mailed by somebody who kept it."""
    old, new = grant("wide"), grant("narrow", uses=["experiment"])
    studio.take(new)
    assert studio.refusal(old) is Refusal.SUPERSEDED


def test_a_revocation_is_welcome_however_late(studio):
    studio.take(grant("g1"))
    late = revocation("g1")
    studio.take(grant("g2"))
    studio.take(late)
    assert studio.book.revoked_at("g1") is not None


def test_only_the_holder_speaks_for_the_holder(studio):
    terms = grant("g1").document
    assert studio.refusal(sign(terms, key_of("ada"))) is Refusal.WRONG_SIGNER
    assert studio.refusal(sign(terms, key_of("mallory"))) is Refusal.UNKNOWN_KEY
    studio.take(grant("g1"))
    assert studio.refusal(revocation("g1", holder="ada")) is Refusal.NOT_YOURS


def test_a_signature_that_claims_the_right_key_but_was_made_with_another(studio):
    forged = sign(grant("g1").document, key_of("mallory"))
    house = key_of("house").public.id
    forged = changed(forged, lambda d: d["signatures"][0].update(key=house))
    assert studio.refusal(forged) is Refusal.ALTERED


def test_unsigned_and_signed_with_something_else(studio):
    unsigned = changed(grant("g1"), lambda d: d["signatures"].clear())
    assert studio.refusal(unsigned) is Refusal.UNSIGNED
    for algorithm in ("none", "hmac-sha256", "rsa"):
        with pytest.raises(ConsentFileError, match="ed25519"):
            changed(grant("g1"), lambda d, a=algorithm: d["signatures"][0].update(algorithm=a))
    # A signature beside the right one is no reason to believe less carefully.
    extra = sign(grant("g1").document, key_of("house"), key_of("mallory"))
    assert studio.refusal(extra) is Refusal.UNKNOWN_KEY


def test_unknown_holders_tags_and_grants(studio):
    assert studio.refusal(grant("g1", holder="nobody")) is Refusal.UNKNOWN_HOLDER
    assert studio.refusal(grant("g1", tags=["genre/polka"])) is Refusal.UNKNOWN_TAG
    assert studio.refusal(revocation("never-given")) is Refusal.UNKNOWN_GRANT
    studio.take(tags_of("genre/polka", holder="ada"))
    studio.take(grant("g1", tags=["genre/polka"]))
    assert studio.refusal(tags_of("genre/polka")) is Refusal.TAKEN


def test_a_new_holder_is_admitted_by_a_person(studio):
    eve = holder("eve")
    assert studio.refusal(eve) is Refusal.NOT_ADMITTED
    studio.take(eve, admission=Admission.REGISTRAR)
    assert studio.refusal(holder("eve"), admission=Admission.REGISTRAR) is Refusal.HOLDER_KNOWN
    stolen = holder("eve2", key=key_of("eve"))
    assert studio.refusal(stolen, admission=Admission.REGISTRAR) is Refusal.KEY_TAKEN
    # Somebody who does not hold the key cannot claim it.
    claimed = sign(holder("bob").document, key_of("mallory"))
    assert studio.refusal(claimed, admission=Admission.REGISTRAR) is Refusal.UNKNOWN_KEY


def test_files_have_a_term_and_an_address(studio):
    dated = grant("g1", envelope={"import_before": NOW})
    assert studio.refusal(dated, at=NOW) is Refusal.EXPIRED
    studio.take(grant("g0", envelope={"import_before": NOW}), at=NOW - timedelta(microseconds=1))
    ahead = grant("g1", envelope={"issued_at": NOW + timedelta(days=2)})
    assert studio.refusal(ahead) is Refusal.NOT_YET_ISSUED
    assert studio.refusal(grant("g1", envelope={"audience": "there"})) is Refusal.AUDIENCE
    studio.take(grant("g1", envelope={"audience": "here"}))


def test_a_term_that_is_over_permits_nothing_and_is_not_recorded(studio):
    over = grant("g1", valid_until=NOW - timedelta(days=1))
    assert studio.refusal(over) is Refusal.EXPIRED


def test_a_grant_is_never_changed_and_revoked_once(studio):
    studio.take(grant("g1"))
    assert studio.refusal(grant("g1", share="0.5")) is Refusal.TAKEN
    later = NOW + timedelta(days=30)
    studio.take(revocation("g1", effective_at=later))
    assert studio.book.revoked_at("g1") == later
    studio.take(revocation("g1"))  # sooner is news, later is not
    assert studio.refusal(revocation("g1")) is Refusal.ALREADY_REVOKED


def test_a_revocation_dated_back_takes_effect_when_it_is_recorded(studio):
    """What was made in between was made with consent, and stays so in every verdict."""
    studio.take(grant("g1"))
    at = datetime.now(UTC)
    studio.take(revocation("g1", effective_at=at - timedelta(days=100)), at=at)
    assert studio.book.revoked_at("g1") == at


def test_a_key_is_changed_by_both_keys(studio):
    new = key_of("house later")
    change = new_document(KeyDocument, "house", new_public_key=new.public.text, audience="*")
    assert studio.refusal(sign(change, new)) is Refusal.UNSIGNED
    assert studio.refusal(sign(change, key_of("house"))) is Refusal.UNSIGNED
    assert studio.refusal(sign(change, new, key_of("ada"))) is Refusal.WRONG_SIGNER
    studio.take(sign(change, new, key_of("house")))
    old_key = grant("g1")
    assert studio.refusal(old_key) is Refusal.RETIRED_KEY
    studio.take(sign(old_key.document, new))
    assert studio.book.registry().holders["house"].public_key == new.public.text


def test_a_registrar_can_let_a_new_key_in_where_the_old_is_gone(studio):
    new = key_of("house later")
    change = sign(
        new_document(KeyDocument, "house", new_public_key=new.public.text, audience="*"), new
    )
    studio.take(change, admission=Admission.OVERRIDE_COMPROMISED)
    assert studio.refusal(grant("g1")) is Refusal.RETIRED_KEY
    theirs = sign(
        new_document(KeyDocument, "ada", new_public_key=new.public.text, audience="*"),
        new,
        key_of("ada"),
    )
    assert studio.refusal(theirs) is Refusal.KEY_TAKEN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"format": "consented-music-studio/signed-consent", "version": 0, "documents": [1]}',
        b'{"format": "consented-music-studio/signed-consent", "version": true, "documents": [1]}',
        b'{"format": "consented-music-studio/signed-consent", "version": 2, "documents": [1]}',
        b'{"format": "consented-music-studio/signed-consent", "version": 1, "documents": []}',
        b'{"format": "consented-music-studio/signed-consent", "version": 1, "documents": [null]}',
        b"[" * 200_000,
        b"1" * 10_000,
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
    ],
)
def test_what_is_no_such_file_is_refused_in_words(data):
    with pytest.raises(ConsentFileError):
        read_file(data)


def test_numbers_and_texts_that_have_no_canonical_form():
    for poison in (2**60, "\ud800", float("1e400")):
        with pytest.raises(ConsentFileError):
            changed(grant("g1"), lambda d, p=poison: d["document"].update(note=p))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(min_value=0))
def test_any_change_of_a_file_is_refused_or_changes_nothing(noise, place):
    """Bytes written over a signed file: it is unreadable, refused, or says the same as before."""
    signed = grant("g1", envelope={"id": "0" * 32, "serial": 2**40})
    data = bytearray(write_file([signed]))
    place %= len(data)
    data[place : place + len(noise)] = noise
    try:
        (read,) = read_file(bytes(data))
    except ConsentFileError:
        return
    book = Studio().book
    try:
        examine(read, book, at=NOW, addresses=("here",), admission=Admission.SIGNATURE)
    except DocumentRefusedError:
        return
    assert read.content == signed.content


def test_canonical_bytes_do_not_depend_on_the_order_of_fields():
    body = json.loads(grant("g1").content)
    assert canonical(dict(reversed(body.items()))) == canonical(body)


def test_keys_on_disk(tmp_path):
    key, path = SigningKey.generate(), tmp_path / "key.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public == key.public
    with pytest.raises(UsageError, match="never overwritten"):
        key.save(path)
    key.save(tmp_path / "closed.pem", "a password")
    assert SigningKey.load(tmp_path / "closed.pem", "a password").public == key.public
    for password in (None, "another"):
        with pytest.raises(ConfigError, match=r"closed\.pem"):
            SigningKey.load(tmp_path / "closed.pem", password)
    for text in ("", "AAAA", key.public.text[:-4] + "!!!=", "A" * 44):
        with pytest.raises(ValueError, match="key"):
            PublicKey.parse(text)
