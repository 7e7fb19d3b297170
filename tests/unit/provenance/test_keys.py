"""The site's keys: made once, on record, and never silently made again."""

from __future__ import annotations

import json
import stat

import pytest

from studio.core.errors import LedgerError, ProofError
from studio.provenance.keys import open_keys, rotate
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.public_keys import read_keys, write_keys
from studio.provenance.ledger.log import Ledger
from studio.provenance.ledger.proof_bundle import check_bundle
from tests.support.studios import PlainGenerator, as_owner, make_studio
from watermark.coding.message import SealKey


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys"


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


@pytest.mark.slow
def test_outputs_of_every_epoch_are_recognised_after_a_rotation(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        first = as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=6)
        )
        assert as_owner(studio).operation.rotate_key("seal") == 2
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        second = as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=6)
        )
        assert (first.seal["epoch"], second.seal["epoch"]) == (1, 2)
        for release in (first, second):
            report = as_owner(studio).verification.verify(release.path)
            assert report.seal_id == release.seal_id
        assert studio.ledger().verify().ok
    (tmp_path / "home/keys/epoch-0002.key").unlink()
    with (
        make_studio(tmp_path, generator=PlainGenerator()) as studio,
        pytest.raises(LedgerError, match="epoch-0002"),
    ):
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(["genre/jazz"], duration_s=6)
        )


def test_after_a_ledger_rotation_the_studio_signs_with_the_new_key(tmp_path):
    with make_studio(tmp_path) as studio:
        old = studio.checkpointer().signer
        as_owner(studio).operation.rotate_key("ledger")
    with make_studio(tmp_path) as studio:
        new = studio.checkpointer().signer
        assert new != old
        assert old.verifier() in studio.checkpointer().verifiers
        assert studio.checkpointer().check().checkpoint.size == 1


def test_a_studio_whose_ledger_was_set_back_does_not_open_it(tmp_path):
    with make_studio(tmp_path) as studio:
        studio.ledger().append("refusal", {})
        studio.checkpointer().checkpoint()
    for path in (tmp_path / "home").glob("ledger.db*"):
        path.unlink()
    with make_studio(tmp_path) as studio, pytest.raises((ProofError, LedgerError)):
        studio.ledger()


# -- rotations that are interrupted ----------------------------------------------------------------


def killed_in(folder, ledger, monkeypatch, purpose, where):
    """Run a rotation up to a call, as a kill there would leave it."""

    class Killed(BaseException):
        pass

    def killed(*_args, **_kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"studio.provenance.keys.{where}", killed)
        with pytest.raises(Killed):
            rotate(folder, ledger, purpose)


@pytest.mark.parametrize("purpose", ["seal", "ledger"])
def test_a_rotation_killed_before_its_entry_is_undone(folder, ledger, monkeypatch, purpose):
    before = open_keys(folder, ledger)
    killed_in(folder, ledger, monkeypatch, purpose, "_record")
    assert [path.suffix for path in folder.iterdir()].count(".next") == 1
    seal, signing = open_keys(folder, ledger)
    assert (seal.current, signing) == (before[0].current, before[1])
    assert ledger.size() == 0
    assert not list(folder.glob("*.next")), "no secret is left"
    assert rotate(folder, ledger, purpose) == 2


@pytest.mark.parametrize("purpose", ["seal", "ledger"])
def test_a_rotation_killed_after_its_entry_is_completed(folder, ledger, monkeypatch, purpose):
    open_keys(folder, ledger)
    killed_in(folder, ledger, monkeypatch, purpose, "_take_name")
    seal, signing = open_keys(folder, ledger)
    assert (seal.current.epoch, len(signing.signers)) == {"seal": (2, 1), "ledger": (1, 2)}[purpose]
    assert ledger.size() == 1
    assert not list(folder.glob("*.next"))


def test_the_handover_is_signed_by_both_before_the_new_key_is_used(folder, ledger):
    ledger.append("refusal", {})
    _, old = open_keys(folder, ledger)
    rotate(folder, ledger, "ledger")
    _, new = open_keys(folder, ledger)
    note = ledger.entry(1).body["handover"]
    for key in (old.current.verifier(), new.current.verifier()):
        checkpoint = Checkpoint.open(note, key)
        assert (checkpoint.size, checkpoint.head) == (1, ledger.entry(0).tree_head)


@pytest.mark.parametrize("content", [b"", b"PRIVATE+KEY+half"])
@pytest.mark.parametrize("name", ["epoch-0002.key", "ledger-0002.key"])
def test_a_key_file_that_a_full_disk_left_is_removed(folder, ledger, name, content):
    """Version 0.1 wrote keys in place: a studio with such a file did not start any more."""
    open_keys(folder, ledger)
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o600)
    open_keys(folder, ledger)
    assert not (folder / name).exists()


@pytest.mark.parametrize("name", ["epoch-0001.key", "ledger-0001.key"])
def test_a_damaged_key_that_is_on_record_is_never_removed(folder, ledger, name):
    open_keys(folder, ledger)
    (folder / name).write_bytes(b"")
    with pytest.raises(LedgerError):
        open_keys(folder, ledger)
    assert (folder / name).exists()


@pytest.mark.parametrize("purpose", ["seal", "ledger"])
def test_a_full_disk_during_a_rotation_leaves_the_old_key(folder, ledger, monkeypatch, purpose):
    before = open_keys(folder, ledger)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(LedgerError, match="cannot be written"):
            rotate(folder, ledger, purpose)
    assert len(list(folder.iterdir())) == 2
    after = open_keys(folder, ledger)
    assert (after[0].current, after[1]) == (before[0].current, before[1])


@pytest.mark.slow
def test_a_running_studio_follows_a_rotation(tmp_path):
    """It answered 500 to proofs and receipts: "not signed by the key that was given"."""
    with make_studio(tmp_path, generator=PlainGenerator()) as running:
        first = as_owner(running).generation.create(
            as_owner(running).generation.request(["genre/jazz"], duration_s=6)
        )
        running.checkpointer().checkpoint()
        with make_studio(tmp_path, generator=PlainGenerator()) as other:
            assert as_owner(other).operation.rotate_key("ledger") == 2
            assert as_owner(other).operation.rotate_key("seal") == 2
            elsewhere = as_owner(other).generation.create(
                as_owner(other).generation.request(["genre/jazz"], duration_s=6)
            )
        proof = json.dumps(as_owner(running).outputs.proof(first.output_id)).encode()
        assert check_bundle(proof, running.checkpointer().verifiers).index == first.entry_index
        assert as_owner(running).outputs.receipt(first.output_id)
        assert as_owner(running).verification.verify(elsewhere.path).seal_id == elsewhere.seal_id
        after = as_owner(running).generation.create(
            as_owner(running).generation.request(["genre/jazz"], duration_s=6)
        )
        assert after.seal["epoch"] == 2
        signed = running.checkpointer().checkpoint()
        assert (
            Checkpoint.open(signed.note, running.checkpointer().verifiers[-1]) == signed.checkpoint
        )


def test_a_retired_key_signs_for_nothing_later(tmp_path):
    with make_studio(tmp_path) as studio:
        old = studio.checkpointer().signer
        studio.ledger().append("refusal", {})
        as_owner(studio).operation.rotate_key("ledger")
        studio.ledger().append("refusal", {})
        size = studio.ledger().size()
        keys = read_keys(write_keys(studio.checkpointer().verifiers))
        assert [key.last_size is None for key in keys] == [False, True]
        early = Checkpoint(old.name, 1, studio.ledger().head(1)).sign(old)
        assert Checkpoint.open(early, *keys).size == 1
        late = Checkpoint(old.name, size, studio.ledger().head(size)).sign(old)
        with pytest.raises(ProofError, match="retired"):
            Checkpoint.open(late, *keys)
        assert Checkpoint.open(late, old.verifier()).size == size, "control: without a window"
        both = Checkpoint(old.name, size, studio.ledger().head(size)).sign(
            old, studio.checkpointer().signer
        )
        assert Checkpoint.open(both, *keys).size == size


def test_no_seal_is_reserved_with_a_retired_key(folder, ledger):
    open_keys(folder, ledger)
    ledger.reserve("ab" * 8, 1)
    rotate(folder, ledger, "seal")
    with pytest.raises(LedgerError, match="retired"):
        ledger.reserve("cd" * 8, 1)
    ledger.reserve("cd" * 8, 2)


def test_the_handover_is_kept_beside_the_checkpoints(tmp_path):
    with make_studio(tmp_path) as studio:
        old = studio.checkpointer().signer.verifier()
        studio.ledger().append("refusal", {})
        as_owner(studio).operation.rotate_key("ledger")
        path = studio.paths.checkpoints / "handover-0002.txt"
        assert Checkpoint.open(path.read_text(), old).size == 1
        path.unlink()
    with make_studio(tmp_path) as studio:
        studio.ledger()
        assert path.exists(), "a start writes what a kill kept back"
