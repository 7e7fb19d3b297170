"""A deleted account: what is about a person is gone from the files, and everything still proves."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import studio.app.container
from studio.accounts.permissions import Role
from studio.cli.main import cli
from studio.core.errors import SignInError, UsageError
from studio.provenance.ledger.proof_bundle import check_bundle
from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import PlainGenerator, as_account, as_owner, make_studio

TITLE, NOTE, NAME = "Zebraquist by the lake", "for Quagga", "melusine"
HERE = "198.51.100.77"


@pytest.fixture
def house(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as house:
        with_cheap_passwords(house)
        add_one_of_each(house.accounts())
        house.accounts().add(NAME, Role.ARTIST, PASSWORD, by=None)
        yield house


@pytest.fixture
def made(house):
    """An output with a typed title and a note, of the account that will be deleted."""
    house.accounts().sign_in(NAME, PASSWORD, address=HERE)
    with pytest.raises(SignInError):
        house.accounts().sign_in(NAME, "wrong", address=HERE)
    request = as_owner(house).generation.request(
        ["genre/jazz"], duration_s=6.0, seed=3, title=TITLE, note=NOTE
    )
    return as_account(house, NAME).generation.create(request)


def traces(house, *texts: str) -> list[str]:
    """Which of the texts any file of the database still holds."""
    house.database().scrub("opening")
    files = [path for path in house.paths.home.glob("ledger.db*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    return [text for text in texts if text.encode() in content]


def remove(house, name: str = NAME) -> int:
    house.accounts().disable(name, by=None)
    return house.accounts().delete(name, by=None)


def test_only_a_disabled_account_is_deleted(house):
    with pytest.raises(UsageError, match="disable 'melusine' first"):
        house.accounts().delete(NAME, by=None)
    assert house.accounts().sign_in(NAME, PASSWORD, address=HERE)
    with pytest.raises(UsageError, match="last administrator"):
        house.accounts().disable("root", by=None)


def test_what_is_personal_is_gone_from_the_files(house, made):
    before = traces(house, NAME, NOTE, HERE)
    assert before == [NAME, NOTE, HERE], "the search finds what is there"
    assert remove(house) == 2
    assert traces(house, NAME, NOTE, HERE) == []
    with pytest.raises(SignInError):
        house.accounts().sign_in(NAME, PASSWORD, address="192.0.2.1")
    assert NAME not in [account.name for account in house.accounts().all()]
    release = as_owner(house).outputs.get(made.output_id)
    assert (release.request.title, release.title) == (None, f"Jazz ({made.output_id[:4]})")
    events = house.security_log().events(limit=1000)
    assert NAME not in str(events)
    gone = [event for event in events if event.address is None]
    assert gone
    assert {event.event for event in gone} >= {"sign-in"}


def test_everything_still_proves(house, made):
    keys = house.checkpointer().verifiers
    before = json.dumps(as_owner(house).outputs.proof(made.output_id, disclose=True)).encode()
    owner = house.accounts().owner_of(made.output_id)
    remove(house)
    assert house.ledger().verify().ok
    assert house.security_log().check(house.ledger()).ok
    house.checkpointer().check()
    after = json.dumps(as_owner(house).outputs.proof(made.output_id, disclose=True)).encode()
    assert check_bundle(before, keys).body == check_bundle(after, keys).body
    assert TITLE in before.decode(), "what was disclosed before is out"
    assert TITLE not in after.decode()
    assert house.accounts().owner_of(made.output_id) == owner
    assert as_owner(house).verification.verify(made.path).seal_id == made.seal_id
    kinds = [entry.kind for entry in house.ledger().entries() if entry.kind != "verification"]
    assert kinds[-3:] == ["account", "erasure", "account"]
    assert house.ledger().entries(kind="account")[-1].body["change"] == "deleted"


def test_others_keep_what_is_theirs(house, made):
    request = as_owner(house).generation.request(
        ["genre/jazz"], duration_s=6.0, seed=4, title="Ada's", note="hers"
    )
    hers = as_account(house, "ada").generation.create(request)
    remove(house)
    assert as_owner(house).outputs.get(hers.output_id).title == "Ada's"
    assert house.accounts().sign_in("ada", PASSWORD, address=HERE)
    assert HERE in [event.address for event in house.security_log().events()]


def test_the_name_is_free_again_and_opens_nothing_old(house, made):
    remove(house)
    again = house.accounts().add(NAME, Role.ARTIST, PASSWORD, by=None)
    assert house.accounts().outputs_of(again.account_id) == []
    deleted = house.accounts().owner_of(made.output_id)
    assert deleted != again.account_id
    for name in (f"deleted {deleted}", f"deleted-{deleted}"):
        with pytest.raises(UsageError, match="no account"):
            house.accounts().enable(name, by=None)


def test_on_the_command_line(house, tmp_path, monkeypatch):
    monkeypatch.setattr(studio.app.container, "open_container", lambda: house)
    monkeypatch.setattr(house, "close", lambda: None)
    token = house.accounts().sign_in("root", PASSWORD, address=HERE).token
    monkeypatch.setenv("STUDIO_TOKEN", token)
    run = CliRunner().invoke
    assert run(cli, ["account", "delete", NAME]).exit_code == 2
    assert run(cli, ["account", "disable", NAME]).exit_code == 0
    assert run(cli, ["account", "delete", NAME]).exit_code == 0
    assert NAME not in run(cli, ["account", "list"]).stdout
