"""The security log: who, what, when, from where; whole, bounded, and erasable in its personal part.
Its storage is tried on SQLite and on PostgreSQL."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import delete, text, update

import studio.app.container
from studio.accounts import Accounts
from studio.accounts.origin import calling, current
from studio.accounts.permissions import Permission, Role
from studio.accounts.security_log import SecurityLog
from studio.app.gateway import Gateway
from studio.app.session import Session
from studio.cli.caller import say_who_calls
from studio.cli.main import cli
from studio.core.config import SecurityLogConfig, load_config
from studio.core.db.tables.security import security_event, security_origin
from studio.core.errors import AccessDeniedError, LedgerError, SignInError
from studio.core.paths import shipped_configs
from studio.provenance.ledger.log import Ledger
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from tests.support.accounts import (
    PASSWORD,
    Clock,
    add_one_of_each,
    cheap_passwords,
    with_cheap_passwords,
)
from tests.support.consent import file_of, grant
from tests.support.ledgers import unguard
from tests.support.studios import as_owner
from tests.unit.pretend import PretendStudio

LIMITS = SecurityLogConfig(keep_events=1000, keep_days=400)
ACCOUNTS = load_config(shipped_configs() / "studio.yaml").accounts
HERE = "192.0.2.1"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(database, clock):
    return SecurityLog(database, LIMITS, clock)


@pytest.fixture
def ledger(database, tmp_path, clock, log):
    ledger = Ledger(database, tmp_path, clock)
    ledger.beside_append(log.mirror)
    return ledger


@pytest.fixture
def accounts(ledger, database, clock, log):
    return Accounts(
        ledger, database, ACCOUNTS, security_log=log, passwords=cheap_passwords(), clock=clock
    )


def told(log: SecurityLog, **how) -> list[tuple[str, str, str | None, str | None, str]]:
    return [(e.event, e.outcome, e.name, e.address, e.detail) for e in log.events(**how)][::-1]


# -- what is recorded ------------------------------------------------------------------------------


def test_sign_ins_and_failures_say_who_when_and_from_where(accounts, log, clock):
    root = accounts.add("root", Role.ADMINISTRATOR, PASSWORD, by=None)
    clock.forward(minutes=5)
    session = accounts.sign_in("root", PASSWORD, address=HERE)
    for name in ("root", "hunter2 is my password"):
        with pytest.raises(SignInError):
            accounts.sign_in(name, "wrong", address="198.51.100.9")
    accounts.sign_out(session.token)
    assert told(log)[1:] == [
        ("sign-in", "ok", "root", HERE, "token"),
        ("sign-in", "refused", "root", "198.51.100.9", "wrong password"),
        ("sign-in", "refused", None, "198.51.100.9", "unknown name"),
        ("sign-out", "ok", "root", "this process", ""),
    ]
    newest = log.events(limit=1)[0]
    assert (newest.account_id, newest.at) == (root.account_id, clock.now)
    assert "hunter2" not in str(log.events()), "people type passwords where a name is asked for"


def test_attempts_that_have_to_wait_are_failures_too(accounts, log):
    accounts.add("root", Role.ADMINISTRATOR, PASSWORD, by=None)
    for _ in range(8):
        with pytest.raises(SignInError):
            accounts.sign_in("root", "wrong", address=HERE)
    details = [detail for event, *_, detail in told(log) if event == "sign-in"]
    assert details == ["wrong password"] * 6 + ["too many attempts"] * 2


def test_changes_are_recorded_with_their_ledger_entry_or_not_at_all(accounts, ledger, log):
    root = accounts.add("root", Role.ADMINISTRATOR, PASSWORD, by=None)
    with calling(root.account_id, HERE):
        ada = accounts.add("ada", Role.ARTIST, PASSWORD, by=root.account_id)
        accounts.set_role("ada", Role.VERIFIER, by=root.account_id)
    role = log.events(limit=1)[0]
    assert (role.event, role.name, role.subject, role.address) == (
        "account",
        "root",
        ada.account_id,
        HERE,
    )
    assert role.detail == "ledger entry 2, role (verifier)"

    def fail(_connection):
        raise LedgerError("no")

    with pytest.raises(LedgerError):
        ledger.append("key-rotation", {"purpose": "seal", "number": 2}, also=fail)
    ledger.append("refusal", {"stage": "consent"})  # no event of security
    assert log.events(limit=1)[0] == role
    ledger.append("key-rotation", {"purpose": "seal", "number": 2})
    assert log.events(limit=1)[0].subject == "seal 2"


def test_a_deleted_account_leaves_its_id_and_no_address(accounts, ledger, log, database):
    accounts.add("root", Role.ADMINISTRATOR, PASSWORD, by=None)
    ada = accounts.add("ada", Role.ARTIST, PASSWORD, by=None)
    for name in ("ada", "root"):
        accounts.sign_in(name, PASSWORD, address=HERE)
    accounts.disable("ada", by=None)
    assert accounts.delete("ada", by=None) == 0
    with pytest.raises(SignInError):
        accounts.sign_in("ada", PASSWORD, address="192.0.2.2")
    signed_in = log.events(event="sign-in", account_id=ada.account_id)
    assert [(event.name, event.address) for event in signed_in] == [(None, None)]
    assert (None, HERE) not in [(e.name, e.address) for e in log.events()]
    assert ("root", HERE) in [(e.name, e.address) for e in log.events()]
    assert log.check(ledger).ok
    assert ledger.verify().ok
    assert accounts.add("ada", Role.ARTIST, PASSWORD, by=None).account_id != ada.account_id


# -- growth ----------------------------------------------------------------------------------------


def test_a_flood_of_one_kind_is_cut_short_and_says_so(log, clock):
    for _ in range(100):
        log.record("denied", outcome="refused", address=HERE, detail="rotate_key")
    log.record("denied", outcome="refused", address="192.0.2.99", detail="rotate_key")
    events = told(log)
    assert len(events) == 21
    assert events[19][4] == "rotate_key; more like this are not listed"
    clock.forward(minutes=2)
    log.record("denied", outcome="refused", address=HERE)
    assert len(log.events()) == 22


def test_a_download_in_parts_is_one_download(log, clock):
    for subject in ("a" * 16, "a" * 16, "b" * 16):
        log.record("download", address=HERE, subject=subject)
    assert len(log.events()) == 2
    clock.forward(minutes=11)
    log.record("download", address=HERE, subject="a" * 16)
    assert len(log.events()) == 3


@pytest.mark.slow
def test_the_oldest_events_go_and_each_chain_by_itself(database, clock, ledger):
    log = SecurityLog(database, SecurityLogConfig(keep_events=50, keep_days=400), clock)
    ledger.beside_append(log.mirror)
    ledger.append("key-rotation", {"purpose": "seal", "number": 2})
    for number in range(300):
        log.record("denied", outcome="refused", address=f"2001:db8::{number:x}")
    kept = log.events(limit=1000)
    assert 51 <= len(kept) <= 51 + 32
    assert kept[-1].event == "key-rotation", "a flood of accesses pushes no change out"
    assert log.check(ledger).ok
    with database.reading() as connection:
        origins = connection.scalar(text("SELECT count(*) FROM security_origin"))
    assert origins == len(kept)


def test_what_is_too_old_goes(database, clock):
    log = SecurityLog(database, SecurityLogConfig(keep_events=1000, keep_days=30), clock)
    for number in range(40):
        log.record("denied", outcome="refused", address=f"10.0.0.{number}")
    clock.forward(days=31)
    for number in range(32):
        log.record("denied", outcome="refused", address=f"10.0.1.{number}")
    assert {event.address[:6] for event in log.events(limit=1000)} == {"10.0.1"}


# -- an insider ------------------------------------------------------------------------------------


@pytest.fixture
def filled(log, ledger):
    for number in range(6):
        log.record("denied", outcome="refused", address=f"10.0.0.{number}")
    ledger.append("key-rotation", {"purpose": "seal", "number": 2})
    log.anchor(ledger)
    assert log.check(ledger).ok
    return log


@pytest.mark.parametrize(
    ("attack", "fault"),
    [
        (update(security_event).where(security_event.c.seq == 3).values(outcome="ok"), "changed"),
        (
            update(security_event).where(security_event.c.seq == 3).values(account_id="f" * 32),
            "changed",
        ),
        (update(security_origin).where(security_origin.c.seq == 3).values(value="x"), "origin"),
        (delete(security_event).where(security_event.c.seq == 3), "taken out"),
        (delete(security_event).where(security_event.c.seq.in_([5, 6])), "vouches"),
        (delete(security_event).where(security_event.c.chain == "change"), "gone"),
        (delete(security_event), "gone"),
    ],
)
def test_a_changed_or_shortened_log_is_noticed(filled, database, ledger, attack, fault):
    with database.writing() as connection:
        unguard(connection)
        connection.execute(text("DELETE FROM security_origin WHERE seq <> 3"))
        if "origin" not in str(attack):
            connection.execute(text("DELETE FROM security_origin"))
        connection.execute(attack)
    found = filled.check(ledger)
    assert not found.ok
    assert fault in found.fault


def test_rows_cannot_be_changed_in_passing(filled, database):
    with pytest.raises(LedgerError), database.writing() as connection:
        connection.execute(update(security_event).values(outcome="ok"))


def test_an_anchor_is_written_only_where_something_is_new(filled, ledger):
    size = ledger.size()
    filled.anchor(ledger)
    assert ledger.size() == size
    filled.record("export", address=HERE)
    filled.anchor(ledger)
    assert ledger.size() == size + 1


# -- who reads it, and how -------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = with_cheap_passwords(PretendStudio(tmp_path / "home"))
    monkeypatch.setattr(studio.app.container, "open_container", lambda: house)
    yield house
    house.close()


def test_every_denial_is_recorded(house):
    actors = add_one_of_each(house.accounts())
    with calling(None, HERE):
        artist = Session(house, actors[Role.ARTIST])
    for call in (
        lambda: artist.operation.rotate_key("seal"),
        lambda: artist.outputs.audio_file("f" * 16),
        lambda: artist.outputs.audio_file("../../etc/passwd"),
        lambda: artist.require(Permission.CONSENT),
    ):
        with pytest.raises(AccessDeniedError):
            call()
    denied = house.security_log().events(event="denied")[::-1]
    assert {(event.name, event.address) for event in denied} == {("ada", HERE)}
    assert [(event.detail, event.subject) for event in denied] == [
        ("operation.rotate_key", ""),
        ("outputs.audio_file", "f" * 16),
        ("outputs.audio_file", ""),  # nothing that was typed is written down
        ("consent", ""),
    ]


def test_downloads_and_refused_imports_are_recorded_over_http(house):
    from starlette.testclient import TestClient

    actors = add_one_of_each(house.accounts())
    made = as_owner(house).generation.create(
        as_owner(house).generation.request(["genre/jazz"], duration_s=2.0, seed=1, format="wav")
    )
    house.accounts().own(made.output_id, actors[Role.ARTIST].account_id)
    with JobRunner(running=1, waiting=1) as runner:
        api = create_api(Gateway(house), DownloadTokens(), making=runner, checking=runner)
        client = TestClient(api, base_url="https://studio.example", client=("203.0.113.5", 1))
        tokens = {}
        for name in ("ada", "reg", "root"):
            session = house.accounts().sign_in(name, PASSWORD, address=HERE)
            tokens[name] = {"Authorization": f"Bearer {session.token}"}
        audio = f"/api/v1/outputs/{made.output_id}/audio"
        assert client.get(audio, headers=tokens["ada"]).status_code == 200
        assert client.get(audio, headers=tokens["reg"]).status_code == 403
        client.get(audio, headers={"Authorization": "Bearer stolen"})
        client.post("/api/v1/jobs", headers={**tokens["ada"], "Sec-Fetch-Site": "cross-site"})
        foreign = file_of(grant("g1", envelope={"audience": "site-00"}))
        client.post("/api/v1/consent/documents", headers=tokens["reg"], content=foreign)
        listed = client.get("/api/v1/audit?limit=5", headers=tokens["root"]).json()
        exported = client.get("/api/v1/audit/export", headers=tokens["root"]).text.splitlines()
    assert [(e["event"], e["outcome"], e["account"], e["from"]) for e in reversed(listed)] == [
        ("download", "ok", "ada", "203.0.113.5"),
        ("denied", "refused", "reg", "203.0.113.5"),
        ("token", "refused", None, "203.0.113.5"),
        ("cross-site", "refused", None, "203.0.113.5"),
        ("consent-import", "refused", "reg", "203.0.113.5"),
    ]
    assert listed[0]["detail"] == "audience"
    last = json.loads(exported[-1])
    assert last == {"checked": True, "fault": None, "events": len(exported) - 1}
    assert json.loads(exported[-2])["event"] == "export"


def test_administrators_read_it_on_the_command_line_and_nobody_else(house, tmp_path, monkeypatch):
    run = CliRunner().invoke
    assert run(cli, ["audit", "list"]).stdout == ""
    add_one_of_each(house.accounts())
    for role, name in ((Role.ARTIST, "ada"), (Role.ADMINISTRATOR, "root")):
        token = house.accounts().sign_in(name, PASSWORD, address=HERE).token
        monkeypatch.setenv("STUDIO_TOKEN", token)
        done = run(cli, ["audit", "list", "--json"])
        assert done.exit_code == (0 if role is Role.ADMINISTRATOR else 1), done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(e["event"], e["account"]) for e in events[:3]] == [
        ("sign-in", "root"),
        ("denied", "ada"),
        ("sign-in", "ada"),
    ]
    assert events[1]["from"] == "command line"
    assert "ada" in run(cli, ["audit", "list", "--event", "denied"]).stdout
    out = tmp_path / "log.jsonl"
    assert run(cli, ["audit", "export", "--out", str(out)]).exit_code == 0
    assert len(out.read_text().splitlines()) == 1 + len(house.security_log().events(limit=1000))
    assert run(cli, ["audit", "check"]).exit_code == 0
    with house.database().writing() as connection:
        unguard(connection)
        connection.execute(update(security_event).values(outcome="ok"))
    assert run(cli, ["audit", "check"]).exit_code == 1
    assert run(cli, ["audit", "export"]).exit_code == 1


def test_the_page_shows_the_newest_events(house):
    from studio.web.ui.accounts_tab import events_table

    house.security_log().record("denied", outcome="refused", detail="<script>", address=HERE)
    shown = events_table(house.security_log().events())
    assert HERE in shown
    assert "<script>" not in shown


def test_a_command_names_its_caller_until_it_ends():
    """A process that runs several commands, as these tests do, keeps nothing of the last one."""
    seen = []

    @click.command
    def command():
        say_who_calls("0" * 32)
        seen.append(current())

    assert CliRunner().invoke(command).exit_code == 0
    assert [origin.address for origin in seen] == ["command line"]
    assert current().address == "this process"
