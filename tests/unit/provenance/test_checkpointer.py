"""When checkpoints are signed and where they lie; bundles made from them."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from studio.core.errors import LedgerError, ProofError, UnreadableProofError
from studio.provenance.keys import LedgerKeys
from studio.provenance.ledger.checkpoints import timestamp
from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint
from studio.provenance.ledger.checkpoints.checkpointer import outside_folder
from studio.provenance.ledger.checkpoints.public_keys import read_keys
from studio.provenance.ledger.checkpoints.signed_note import SignerKey
from studio.provenance.ledger.log import Ledger
from studio.provenance.ledger.proof_bundle import check_bundle, check_file, make_bundle
from tests.support.authority import Authority
from tests.support.ledgers import CONFIG, checkpointer_of, fill

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def small(tmp_path):
    """Eleven entries, where the database does not matter."""
    ledger = Ledger.open(tmp_path / "small.db", outputs=tmp_path)
    fill(ledger)
    yield ledger
    ledger.close()


def notes(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*.txt"))


@pytest.mark.slow
def test_a_checkpoint_is_written_to_both_folders_with_the_public_key(ledger, tmp_path):
    fill(ledger)
    second = tmp_path / "elsewhere" / "deeper"
    checkpointer = checkpointer_of(ledger, tmp_path, second_folder=str(second))
    signed = checkpointer.checkpoint()
    assert notes(second) == notes(tmp_path / "checkpoints") == ["checkpoint-000000000011.txt"]
    keys = read_keys((second / "public-keys.txt").read_text())
    assert Checkpoint.open((second / signed.path.name).read_text(), *keys) == signed.checkpoint
    assert signed.checkpoint.size == 11
    assert signed.checkpoint.head == ledger.entry(10).tree_head
    assert checkpointer.checkpoint().path == signed.path, "nothing new: nothing new is signed"


def test_every_so_many_entries(ledger, tmp_path):
    checkpointer = checkpointer_of(ledger, tmp_path, checkpoint_every_entries=3)
    ledger.after_append(checkpointer.consider)
    for number in range(8):
        ledger.append("refusal", {"number": number})
    assert notes(tmp_path / "checkpoints") == [
        "checkpoint-000000000003.txt",
        "checkpoint-000000000006.txt",
    ]
    checkpointer.close()


def test_so_long_after_an_entry_at_the_latest(small, tmp_path):
    import time

    checkpointer = checkpointer_of(small, tmp_path, checkpoint_every_minutes=0.05 / 60)
    small.after_append(checkpointer.consider)
    small.append("refusal", {})
    deadline = time.monotonic() + 60
    while not notes(tmp_path / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert notes(tmp_path / "checkpoints")
    checkpointer.close()


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_ledger(small, tmp_path, caplog):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    checkpointer = checkpointer_of(
        small, tmp_path, checkpoint_every_entries=1, second_folder=str(tmp_path / "blocked")
    )
    small.after_append(checkpointer.consider)
    with caplog.at_level(logging.ERROR):
        small.append("refusal", {})
    assert "no checkpoint could be signed" in caplog.text
    assert small.size() == 12
    with pytest.raises(LedgerError, match="cannot be written"):
        checkpointer.checkpoint()
    assert notes(tmp_path / "checkpoints"), "the first place has it all the same"


def test_the_second_folder_finds_what_the_first_forgot(small, tmp_path):
    """Ledger and checkpoints of the home are set back together; the other hand remembers."""
    second = tmp_path / "elsewhere"
    checkpointer = checkpointer_of(small, tmp_path, second_folder=str(second))
    checkpointer.checkpoint()
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    older = Ledger.open(tmp_path / "older.db", outputs=tmp_path)
    fill(older, 5)
    checkpointer_of(older, tmp_path).check()  # the home alone knows nothing
    with pytest.raises(ProofError, match="cut off"):
        checkpointer_of(older, tmp_path, second_folder=str(second)).check()
    older.close()


def test_a_checkpoint_changed_on_disk_is_refused(small, tmp_path):
    checkpointer = checkpointer_of(small, tmp_path)
    path = checkpointer.checkpoint().path
    path.write_text(path.read_text().replace("\n11\n", "\n10\n"))
    with pytest.raises(ProofError, match="does not hold"):
        checkpointer.check()


def test_with_an_authority_the_checkpoint_has_its_time(small, tmp_path):
    authority = Authority()
    (tmp_path / "roots.pem").write_bytes(authority.root_pem())
    with authority.listening() as url:
        checkpointer = checkpointer_of(small, tmp_path, timestamp_authority=url)
        signed = checkpointer.checkpoint()
        assert checkpointer.checkpoint().timestamp == signed.timestamp, "read back from its file"
    assert authority.asked == 1
    roots = timestamp.load_roots(tmp_path / "roots.pem")
    assert timestamp.check(signed.timestamp, signed.note.encode(), roots) == authority.at
    proven = check_bundle(as_bytes(make_bundle(small, 2, signed)), checkpointer.verifiers)
    assert proven.timestamp == signed.timestamp


# -- bundles ---------------------------------------------------------------------------------------


def as_bytes(bundle: dict) -> bytes:
    return json.dumps(bundle).encode()


@pytest.fixture
def checkpointer(small, tmp_path):
    return checkpointer_of(small, tmp_path)


@pytest.fixture
def bundle(small, checkpointer):
    return make_bundle(small, 5, checkpointer.covering(5))


def test_a_bundle_of_every_entry_holds(ledger, tmp_path):
    fill(ledger)
    checkpointer = checkpointer_of(ledger, tmp_path)
    for entry in ledger.entries():
        content = as_bytes(make_bundle(ledger, entry.index, checkpointer.covering(entry.index)))
        proven = check_bundle(content, checkpointer.verifiers)
        assert (proven.index, proven.kind, proven.body) == (entry.index, entry.kind, entry.body)
    assert notes(tmp_path / "checkpoints") == ["checkpoint-000000000011.txt"]


def test_the_file_it_speaks_of(bundle, checkpointer):
    proven = check_bundle(as_bytes(bundle), checkpointer.verifiers)
    check_file(proven, b"abc")
    with pytest.raises(ProofError, match="not the one"):
        check_file(proven, b"abd")


def test_an_entry_that_speaks_of_no_file(small, checkpointer):
    proven = check_bundle(
        as_bytes(make_bundle(small, 0, checkpointer.covering(0))), checkpointer.verifiers
    )
    with pytest.raises(ProofError, match="no file"):
        check_file(proven, b"abc")


def test_an_old_bundle_still_holds_when_the_ledger_has_grown(small, bundle, checkpointer):
    fill(small, 2)
    checkpointer.checkpoint()
    assert check_bundle(as_bytes(bundle), checkpointer.verifiers).checkpoint.size == 11


def test_disclosed_credits_are_checked_and_survive_their_erasure(small, checkpointer):
    bundle = make_bundle(small, 5, checkpointer.covering(5), disclose=True)
    assert check_bundle(as_bytes(bundle), checkpointer.verifiers).disclosed == {
        "credit_lines/0": "A line"
    }
    bundle["openings"]["credit_lines/0"]["value"] = "Another line"
    with pytest.raises(ProofError, match="commits to"):
        check_bundle(as_bytes(bundle), checkpointer.verifiers)
    small.erase(5, "credit_lines/0")
    after = make_bundle(small, 5, checkpointer.covering(5), disclose=True)
    assert check_bundle(as_bytes(after), checkpointer.verifiers).disclosed == {}


def _with(bundle: dict, **changes: object) -> dict:
    return {**bundle, **changes}


@pytest.mark.parametrize(
    "lie",
    [
        lambda b: _with(b, leaf=b["leaf"].replace("jazz", "rock")),
        lambda b: _with(b, index=4),
        lambda b: _with(b, inclusion=b["inclusion"][:-1]),
        lambda b: _with(b, inclusion=[*b["inclusion"], base64.b64encode(bytes(32)).decode()]),
        lambda b: _with(b, inclusion=b["inclusion"][::-1]),
        lambda b: _with(b, checkpoint=b["checkpoint"].replace("\n11\n", "\n12\n")),
    ],
)
def test_a_bundle_with_anything_changed_does_not_hold(bundle, checkpointer, lie):
    check_bundle(as_bytes(bundle), checkpointer.verifiers)
    with pytest.raises(ProofError):
        check_bundle(as_bytes(lie(bundle)), checkpointer.verifiers)


def test_under_another_key_of_the_same_name_nothing_holds(bundle):
    stranger = SignerKey.create("studio.example/ledger").verifier()
    with pytest.raises(ProofError, match="not signed by"):
        check_bundle(as_bytes(bundle), [stranger])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"type": "consented-music-studio/proof/v1"}',
        b'{"type": "consented-music-studio/proof/v1", "leaf": 1, "index": 1, "inclusion": [], '
        b'"checkpoint": ""}',
    ],
)
def test_what_is_no_bundle_is_said_so(content, checkpointer):
    with pytest.raises(UnreadableProofError):
        check_bundle(content, checkpointer.verifiers)


@pytest.mark.parametrize(
    "change",
    [{"inclusion": [1]}, {"inclusion": ["!"]}, {"openings": []}, {"openings": {"a": 1}},
     {"checkpoint": "x"}, {"index": True}, {"timestamp": 7}],
)  # fmt: skip
def test_a_malformed_part_is_said_so(bundle, checkpointer, change):
    with pytest.raises(UnreadableProofError):
        check_bundle(as_bytes(_with(bundle, **change)), checkpointer.verifiers)


@pytest.mark.parametrize("text", ["", "# only a remark\n", "not a key\n"])
def test_a_file_without_public_keys(text):
    with pytest.raises(UnreadableProofError):
        read_keys(text)


def test_checking_needs_neither_database_nor_numerics():
    """What checks a proof can be read by one person: it pulls in nothing heavy."""
    code = (
        "import sys; import studio.provenance.ledger.proof_bundle; "
        "heavy = {'torch', 'numpy', 'sqlalchemy', 'alembic', 'gradio', 'pydantic', 'watermark'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- rotation --------------------------------------------------------------------------------------


def test_after_a_rotation_old_and_new_key_both_vouch_for_the_handover(small, tmp_path):
    old = checkpointer_of(small, tmp_path)
    first = old.checkpoint()
    (tmp_path / "keys" / "ledger-0002.key").write_text(
        SignerKey.create(old.signer.name).to_text() + "\n"
    )
    new = checkpointer_of(small, tmp_path)
    assert new.signer != old.signer
    handover = new.checkpoint(old.signer)
    for keys in (old.verifiers, [new.signer.verifier()]):
        assert Checkpoint.open(handover.note, *keys).size == 11
    small.append("refusal", {})
    later = new.checkpoint()
    assert Checkpoint.open(later.note, new.signer.verifier()).size == 12
    with pytest.raises(ProofError, match="not signed by"):
        Checkpoint.open(later.note, *old.verifiers)
    assert Checkpoint.open(first.note, *new.verifiers).size == 11, "old ones stay good"


def test_a_gap_in_the_signing_keys_is_an_error(tmp_path):
    LedgerKeys.open(tmp_path)
    (tmp_path / "ledger-0001.key").rename(tmp_path / "ledger-0003.key")
    with pytest.raises(LedgerError, match="missing"):
        LedgerKeys.open(tmp_path)
    (tmp_path / "ledger-0003.key").write_text("nonsense")
    with pytest.raises(LedgerError, match="cannot be read"):
        LedgerKeys.open(tmp_path)


def test_the_golden_proof_holds_for_ever():
    """docs/ledger-format.md: this bundle, under this key, can never cease to hold."""
    proven = check_bundle(
        (GOLDEN / "proof-v1.json").read_bytes(), read_keys((GOLDEN / "proof-v1.key").read_text())
    )
    assert (proven.index, proven.kind) == (5, "release")
    assert proven.checkpoint.size == 7
    assert proven.disclosed == {"credit_lines/0": "A line"}
    check_file(proven, b"abc")


@pytest.mark.parametrize(
    ("home", "outside"),
    [("/srv/studio", "/srv/studio-checkpoints"), ("/srv/x/../studio/", "/srv/studio-checkpoints")],
)
def test_the_folder_beside_the_home_has_its_name(home, outside):
    config = CONFIG.model_copy(update={"second_folder": "auto"})
    assert outside_folder(config, Path(home)) == Path(outside)


def test_a_home_given_as_a_dot_has_a_folder_beside_it(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = CONFIG.model_copy(update={"second_folder": "auto"})
    assert outside_folder(config, Path()) == tmp_path / "here-checkpoints"
    assert outside_folder(config, Path("/")) is None
    assert outside_folder(CONFIG, Path()) is None, "null: nowhere"
