"""The site's keys: made once, on record, and never silently made again."""

from __future__ import annotations

import stat

import pytest

from studio.errors import LedgerError, ProofError
from studio.provenance.keys import open_keys, rotate
from studio.provenance.ledger import Ledger
from tests.studios import PlainGenerator, make_studio
from watermark.message import SealKey


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys"


@pytest.fixture
def ledger(tmp_path, database_location):
    ledger = Ledger.open(database_location, outputs=tmp_path)
    yield ledger
    ledger.close()


def test_keys_are_made_at_the_first_start_and_found_again(folder, ledger):
    seal, signing = open_keys(folder, ledger, origin="studio.example/ledger")
    again = open_keys(folder, ledger)
    assert again[0].current == seal.current
    assert again[1] == signing
    assert signing.current.name == "studio.example/ledger"
    assert ledger.size() == 0
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["epoch-0001.key", "ledger-0001.key"])
def test_a_lost_key_is_an_error_and_no_other_is_made(folder, ledger, name):
    open_keys(folder, ledger)
    (folder / name).unlink()
    with pytest.raises(LedgerError, match=f"{name} is missing.*restore"):
        open_keys(folder, ledger)
    assert not (folder / name).exists()


def test_a_lost_key_of_a_studio_from_before_the_record(folder, ledger):
    ledger.reserve("ab" * 8, 1)
    with pytest.raises(LedgerError, match="missing"):
        open_keys(folder, ledger)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["epoch-0001.key", "ledger-0001.key"])
def test_an_exchanged_key_is_an_error(folder, ledger, tmp_path, name):
    open_keys(folder, ledger)
    other = Ledger.open(tmp_path / "other.db", outputs=tmp_path)
    (tmp_path / "others").mkdir()
    open_keys(tmp_path / "others", other)
    (tmp_path / "others" / name).replace(folder / name)
    with pytest.raises(LedgerError, match="not the key that was in use"):
        open_keys(folder, ledger)
    other.close()


@pytest.mark.parametrize("purpose", ["seal", "ledger"])
def test_a_rotation_is_on_record_and_keeps_the_old_key(folder, ledger, purpose):
    seal, signing = open_keys(folder, ledger)
    assert rotate(folder, ledger, purpose) == 2
    new_seal, new_signing = open_keys(folder, ledger)
    entry = ledger.entry(0)
    assert entry.kind == "key-rotation"
    assert (entry.body["purpose"], entry.body["number"]) == (purpose, 2)
    if purpose == "seal":
        assert new_seal.current.epoch == 2
        assert new_seal.of(1) == seal.current
        assert new_seal.current.secret.hex() not in str(entry.body)
    else:
        assert new_signing.signers[0] == signing.current
        assert entry.body["public"] == str(new_signing.current.verifier())
    assert ledger.verify().ok


def test_a_key_put_there_by_hand_gets_on_record(folder, ledger):
    open_keys(folder, ledger)
    SealKey.create(2).save(folder / "epoch-0002.key")
    open_keys(folder, ledger)
    assert [entry.kind for entry in ledger.entries()] == ["key-rotation"]


def test_outputs_of_every_epoch_are_recognised_after_a_rotation(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        first = studio.generate(studio.request(["genre/jazz"], duration_s=6))
        assert studio.rotate_key("seal") == 2
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        second = studio.generate(studio.request(["genre/jazz"], duration_s=6))
        assert (first.seal["epoch"], second.seal["epoch"]) == (1, 2)
        for release in (first, second):
            report = studio.verify(release.path)
            assert report.seal_id == release.seal_id
        assert studio.ledger().verify().ok
    (tmp_path / "home/keys/epoch-0002.key").unlink()
    with (
        make_studio(tmp_path, generator=PlainGenerator()) as studio,
        pytest.raises(LedgerError, match="epoch-0002"),
    ):
        studio.generate(studio.request(["genre/jazz"], duration_s=6))


def test_after_a_ledger_rotation_the_studio_signs_with_the_new_key(tmp_path):
    with make_studio(tmp_path) as studio:
        old = studio.notary().signer
        studio.rotate_key("ledger")
    with make_studio(tmp_path) as studio:
        new = studio.notary().signer
        assert new != old
        assert old.verifier() in studio.notary().verifiers
        assert studio.notary().check().checkpoint.size == 1


def test_a_studio_whose_ledger_was_set_back_does_not_open_it(tmp_path):
    with make_studio(tmp_path) as studio:
        studio.ledger().append("refusal", {})
        studio.notary().checkpoint()
    for path in (tmp_path / "home").glob("ledger.db*"):
        path.unlink()
    with make_studio(tmp_path) as studio, pytest.raises((ProofError, LedgerError)):
        studio.ledger()
