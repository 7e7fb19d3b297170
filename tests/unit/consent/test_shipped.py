"""Signed consent that a newer version brings: made for one holder, seen, compared, taken in."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.consent.administration import (
    ConsentService,
    ImportReport,
    ShippedFile,
    admit_shipped,
    shipped_files,
)
from studio.consent.signed.admission import DocumentRefusedError, Refusal
from studio.consent.signed.documents import TagsDocument, TagTerms
from studio.consent.signed.drafts import SIGNED, Drafts, sign_drafts
from studio.consent.signed.keys import SigningKey
from studio.consent.signed.signing import new_document, read_file, sign
from studio.core.errors import ConfigError, ConsentFileError, UsageError
from studio.provenance.ledger.log import Ledger
from tests.support.consent import CONSENT, file_of, grant, key_of

HOLDER = "house-composer"
SHIPPED = CONSENT / SIGNED
FILE = SHIPPED / f"05-{HOLDER}.json"
DOCUMENTS = read_file(FILE.read_bytes())


class OldStudio:
    """A studio that started when the files 01 to 04 shipped, with those very files."""

    def __init__(self, folder: Path) -> None:
        self.signed = folder / "signed"
        self.signed.mkdir()
        for path in sorted(SHIPPED.glob("0[1-4]-*.json")):
            (self.signed / path.name).write_bytes(path.read_bytes())
        self.ledger = Ledger.open(folder / "ledger.db", outputs=folder)
        self.registrar = ConsentService(self.ledger, studio=None, outputs=folder)
        self.registrar.start(self.signed)
        self.folders = [self.signed, SHIPPED]

    def files(self) -> dict[str, ShippedFile]:
        return {file.name: file for file in shipped_files(self.registrar, self.folders)}

    def admit(self, fingerprint: str, holder: str = HOLDER) -> ImportReport:
        return admit_shipped(self.registrar, self.folders, holder, fingerprint)

    def entries(self) -> list[str]:
        return [entry.kind for entry in self.ledger.entries()]


@pytest.fixture
def old(tmp_path):
    studio = OldStudio(tmp_path)
    yield studio
    studio.ledger.close()


def test_a_running_studio_sees_what_is_new_and_takes_it_in_once(old):
    assert "genre/metal" not in old.registrar.vocabulary()
    files = old.files()
    assert [files[name].state for name in sorted(files)] == ["recorded"] * 4 + ["new"]
    new = files[FILE.name]
    assert new.to_json()["pending"] == [
        f"holder of {HOLDER}", f"30 tags of {HOLDER}", f"grant house-composer-2026 of {HOLDER}"
    ]  # fmt: skip
    before = old.entries()
    assert "genre/metal" not in old.registrar.vocabulary(), "looking records nothing"

    assert old.admit(new.key.fingerprint.upper()).ok
    assert "genre/metal" in old.registrar.vocabulary()
    assert "house-composer-2026" in old.registrar.registry().grants
    added = list(old.ledger.entries())[len(before) :]
    assert [(entry.kind, entry.body["admission"]) for entry in added] == [
        ("holder", "registrar"), ("tags", "signature"), ("grant", "signature")
    ]  # fmt: skip
    assert old.files()[FILE.name].state == "recorded"
    with pytest.raises(UsageError, match="recorded here already"):
        old.admit(new.key.fingerprint)
    assert old.ledger.verify().ok


@pytest.mark.parametrize("fingerprint", ["", "0" * 64, key_of("house").public.fingerprint])
def test_without_the_right_fingerprint_nothing_is_taken_in(old, fingerprint):
    before = old.entries()
    with pytest.raises(DocumentRefusedError) as caught:
        old.admit(fingerprint)
    assert caught.value.refusal is Refusal.FINGERPRINT
    assert "docs/consent.md" in str(caught.value)
    assert old.entries() == before
    with pytest.raises(UsageError, match="no consent of 'nobody' ships"):
        old.admit(fingerprint, holder="nobody")


def test_what_was_taken_in_by_half_is_finished(old):
    key = old.files()[FILE.name].key
    half = old.registrar.admit(file_of(DOCUMENTS[0]), key.fingerprint)
    assert half.ok
    assert len(old.files()[FILE.name].pending) == 2
    assert [document.kind for document in old.admit(key.fingerprint).documents] == ["tags", "grant"]
    assert old.files()[FILE.name].state == "recorded"


def test_a_tag_of_that_name_stops_the_file_before_anything_is_recorded(old):
    """The site's own label put it into the vocabulary first, with another meaning."""
    label = key_of("label")
    card, tags = own_file("label", label, "genre/metal")
    assert old.registrar.admit(file_of(card, tags), label.public.fingerprint).ok
    file, before = old.files()[FILE.name], old.entries()
    assert file.state == "refused"
    assert file.to_json()["refusal"] == "taken"
    with pytest.raises(DocumentRefusedError, match="genre/metal is in the vocabulary already"):
        old.admit(file.key.fingerprint)
    assert old.entries() == before


def test_the_files_of_a_site_with_keys_of_its_own_are_told_from_the_shipped(tmp_path):
    """The site signed the same drafts itself: same ids, other keys."""
    own = tmp_path / "own"
    own.mkdir()
    for name, content in sign_drafts(Drafts(CONSENT), key_of).items():
        (own / name).write_bytes(content)
    ledger = Ledger.open(tmp_path / "ledger.db", outputs=tmp_path)
    registrar = ConsentService(ledger, studio=None, outputs=tmp_path)
    registrar.start(own)
    files = shipped_files(registrar, [own, SHIPPED])
    assert [file.state for file in files] == ["recorded"] * 5 + ["refused"] * 5
    assert {str(file.refusal.refusal) for file in files[5:]} == {"holder-known"}
    with pytest.raises(DocumentRefusedError, match="there is a rights holder 'house' already"):
        admit_shipped(registrar, [own, SHIPPED], "house", files[5].key.fingerprint)
    ledger.close()


def test_a_broken_file_is_named(old, tmp_path):
    (old.signed / "06-torn.json").write_bytes(FILE.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"06-torn\.json"):
        old.files()


def own_file(holder: str, key: SigningKey, *tags: str):
    from studio.consent.signed.documents import HolderDocument, HolderTerms

    profile = HolderTerms(name=holder.title(), kind="label", public_key=key.public.text)
    added = tuple(TagTerms(id=tag, phrase="of our own") for tag in tags)
    return (
        sign(new_document(HolderDocument, holder, profile=profile, audience="*"), key),
        sign(new_document(TagsDocument, holder, tags=added, audience="*"), key),
    )


def test_admitting_a_file_records_what_else_its_holder_signed_and_nobody_else(old):
    key = key_of("ada")
    card, tags = own_file("ada", key, "genre/cloud-polka")
    granted = grant("ada-1", "ada", tags=["genre/cloud-polka"])
    for wrong in ([tags, card], [tags], [card, grant("g1")], [card, card]):
        before = old.entries()
        with pytest.raises(ConsentFileError, match="one rights holder"):
            old.registrar.admit(file_of(*wrong), key.public.fingerprint)
        assert old.entries() == before
    forged = sign(tags.document, key_of("eve"))
    report = old.registrar.admit(file_of(card, forged, tags, granted), key.public.fingerprint)
    assert [document.refusal for document in report.documents] == [
        None, "unknown-key", None, None
    ]  # fmt: skip
    assert "ada-1" in old.registrar.registry().grants


# -- making the file of one holder -----------------------------------------------------------------


def test_one_holders_file_is_made_beside_those_of_the_others():
    asked = []

    def key(holder: str) -> SigningKey:
        asked.append(holder)
        return key_of(holder)

    present = ["01-house.json", "04-demonstration-quartet.json", "README.md"]
    (name,) = files = sign_drafts(Drafts(CONSENT), key, only=HOLDER, present=present)
    assert (name, asked) == (f"05-{HOLDER}.json", [HOLDER])
    assert [signed.document.type for signed in read_file(files[name])] == [
        signed.document.type for signed in DOCUMENTS
    ]
    # Signed again it keeps its name; of all of them, those that are new come last.
    again = sign_drafts(Drafts(CONSENT), key_of, only=HOLDER, present=[*present, name])
    assert list(again) == [name]
    assert sorted(sign_drafts(Drafts(CONSENT), key_of, present=present)) == [
        "01-house.json",
        "04-demonstration-quartet.json",
        "05-house-composer.json",
        "06-demonstration-distributor.json",
        "07-demonstration-label.json",
    ]
    with pytest.raises(ConfigError, match="no rights holder 'nobody'"):
        sign_drafts(Drafts(CONSENT), key_of, only="nobody")
