"""Accounts: passwords, sessions, throttled logins, ownership. The last test repeats the essentials
on SQLite and on PostgreSQL; the others need a database and not both."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select, text

from studio.accounts import Accounts
from studio.accounts.passwords import Passwords, refusal
from studio.accounts.permissions import Role
from studio.core.config import load_config
from studio.core.db.database import Database
from studio.core.db.tables.accounts import account, account_session, login_throttle
from studio.core.errors import LedgerError, SignInError, UsageError
from studio.core.paths import shipped_configs
from studio.provenance.ledger.log import Ledger
from tests.support.accounts import PASSWORD, Clock, add_one_of_each, cheap_passwords

CONFIG = load_config(shipped_configs() / "studio.yaml").accounts
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.9"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    database = Database.open(tmp_path / "ledger.db")
    yield database
    database.close()


@pytest.fixture
def ledger(database, tmp_path):
    return Ledger(database, tmp_path)


def open_accounts(ledger, database, clock) -> Accounts:
    return Accounts(ledger, database, CONFIG, passwords=cheap_passwords(), clock=clock)


@pytest.fixture
def accounts(ledger, database, clock):
    return open_accounts(ledger, database, clock)


@pytest.fixture
def root(accounts):
    return accounts.add("root", Role.ADMINISTRATOR, PASSWORD, by=None)


def fail(accounts, name="root", address=HERE):
    with pytest.raises(SignInError) as caught:
        accounts.sign_in(name, "not the password", address=address)
    return caught.value


# -- passwords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "aaaaaaaaaaaaaaaa",
        "abababababab",
        "Password1234!",
        "passwordpassword",
        "123456789012",
        "abcdefghijklmnop",
        "qwertyuiop123",
        "ada-ADA-ada-2026",
        "x" * 257,
    ],
)
def test_passwords_that_are_guessed_first_are_refused(password):
    assert refusal(password, name="ada") is not None


@pytest.mark.parametrize(
    "password", [PASSWORD, "møllehjul på fjeldet", "tr7-Vq92-mmZk0", "雨が降る夜の古い駅で待つ人"]
)
def test_long_ones_are_accepted_whatever_they_are_made_of(password):
    assert refusal(password, name="ada") is None


def test_the_hash_is_argon2id_with_a_salt_and_never_the_password(accounts, root, database):
    accounts.add("ada", Role.ARTIST, PASSWORD, by=root.account_id)
    with database.reading() as connection:
        hashes = list(connection.scalars(select(account.c.password_hash)))
    assert all(hashed.startswith("$argon2id$") for hashed in hashes)
    assert len(set(hashes)) == 2, "the same password twice gives two hashes"
    assert not any(PASSWORD in hashed for hashed in hashes)


def test_the_parameters_in_use_are_those_of_rfc_9106():
    hashed = Passwords().hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_composed_and_decomposed_letters_are_the_same_password():
    passwords = cheap_passwords()
    stored = passwords.hash("caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait noir")
    assert passwords.matches("cafe\N{COMBINING ACUTE ACCENT} au lait noir", stored)
    assert not passwords.matches("cafe au lait noir", stored)


def test_an_old_hash_is_renewed_at_the_next_sign_in(ledger, database, clock, root):
    from argon2 import PasswordHasher

    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    Accounts(ledger, database, CONFIG, passwords=stronger, clock=clock).sign_in(
        "root", PASSWORD, address=HERE
    )
    with database.reading() as connection:
        (hashed,) = connection.scalars(select(account.c.password_hash))
    assert "m=16,t=2" in hashed


# -- the directory --------------------------------------------------------------------------------


def test_the_first_account_must_be_an_administrators(accounts):
    with pytest.raises(UsageError, match="first account"):
        accounts.add("ada", Role.ARTIST, PASSWORD, by=None)
    assert not accounts.exist()
    accounts.add("root", Role.ADMINISTRATOR, PASSWORD, by=None)
    assert accounts.exist()


@pytest.mark.parametrize("name", ["", "-ada", "ada ", "ädä", "a" * 65, "a/b", "root\n", "аda"])
def test_names_that_could_be_mistaken_are_refused(accounts, root, name):
    if name.strip() == "ada":
        assert accounts.add(name, Role.ARTIST, PASSWORD, by=None).name == "ada"
    else:
        with pytest.raises(UsageError):
            accounts.add(name, Role.ARTIST, PASSWORD, by=None)


def test_a_name_is_taken_once_in_whatever_case(accounts, root):
    with pytest.raises(UsageError, match="already"):
        accounts.add("ROOT", Role.ARTIST, PASSWORD, by=None)


def test_the_last_administrator_cannot_be_taken_away(accounts, root):
    for change in (
        lambda: accounts.disable("root", by=None),
        lambda: accounts.set_role("root", Role.ARTIST, by=None),
    ):
        with pytest.raises(UsageError, match="last administrator"):
            change()
    accounts.add("second", Role.ADMINISTRATOR, PASSWORD, by=None)
    accounts.disable("root", by=None)
    with pytest.raises(UsageError, match="last administrator"):
        accounts.disable("second", by=None)


def test_every_change_is_an_entry_that_names_nobody(accounts, ledger, root):
    accounts.add("olympia", Role.ARTIST, PASSWORD, by=root.account_id)
    accounts.set_role("olympia", Role.VERIFIER, by=root.account_id)
    accounts.set_password("olympia", "another fine password", by=root.account_id)
    accounts.disable("olympia", by=root.account_id)
    entries = ledger.entries(kind="account")
    assert [entry.body["change"] for entry in entries] == [
        "added",
        "added",
        "role",
        "password",
        "disabled",
    ]
    assert all(b"olympia" not in entry.leaf and b"argon2" not in entry.leaf for entry in entries)
    assert ledger.verify().ok


def test_a_refused_change_leaves_neither_entry_nor_row(accounts, ledger, root):
    size = ledger.size()
    with pytest.raises(UsageError):
        accounts.add("root", Role.ARTIST, PASSWORD, by=None)
    assert ledger.size() == size
    assert len(accounts.all()) == 1


# -- sessions -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_token_leads_to_its_actor_until_it_is_given_back(accounts, root):
    session = accounts.sign_in("Root", PASSWORD, address=HERE)
    actor = accounts.actor_of(session.token)
    assert actor is not None
    assert (actor.account_id, actor.role) == (root.account_id, Role.ADMINISTRATOR)
    accounts.sign_out(session.token)
    assert accounts.actor_of(session.token) is None


def test_the_token_is_not_in_the_database(accounts, root, database):
    token = accounts.sign_in("root", PASSWORD, address=HERE).token
    with database.reading() as connection:
        rows = connection.execute(select(account_session)).all()
    assert len(rows) == 1
    assert token not in str(rows)
    assert accounts.actor_of(rows[0].token_hash) is None, "the hash itself opens nothing"


def test_sessions_end_by_themselves(accounts, root, clock):
    page = accounts.sign_in("root", PASSWORD, address=HERE, kind="page").token
    token = accounts.sign_in("root", PASSWORD, address=HERE).token
    for _ in range(7):
        clock.forward(minutes=CONFIG.idle_minutes - 20)
        assert accounts.actor_of(page) is not None, "a session in use does not idle out"
    clock.forward(minutes=CONFIG.idle_minutes + 1)
    assert accounts.actor_of(page) is None, "nobody used it"
    assert accounts.actor_of(token) is not None
    clock.forward(days=CONFIG.token_days)
    assert accounts.actor_of(token) is None


def test_a_session_in_use_ends_too(accounts, root, clock):
    page = accounts.sign_in("root", PASSWORD, address=HERE, kind="page").token
    steps = int(CONFIG.session_hours * 2)
    alive = []
    for _ in range(steps):
        clock.forward(minutes=30)
        alive.append(accounts.actor_of(page) is not None)
    assert alive == [True] * (steps - 1) + [False]


def test_a_token_does_not_pass_for_a_cookie(accounts, root):
    token = accounts.sign_in("root", PASSWORD, address=HERE, kind="token").token
    assert accounts.actor_of(token, kind="page") is None
    assert accounts.actor_of(token, kind="token") is not None


@pytest.mark.parametrize("change", ["password", "role", "disable"])
def test_a_change_of_the_account_signs_it_out_everywhere(accounts, root, change):
    accounts.add("ada", Role.ARTIST, PASSWORD, by=None)
    tokens = [
        accounts.sign_in("ada", PASSWORD, address=HERE, kind=k).token for k in ("page", "token")
    ]
    mine = accounts.sign_in("root", PASSWORD, address=HERE).token
    if change == "password":
        accounts.set_password("ada", "another fine password", by=None)
    elif change == "role":
        accounts.set_role("ada", Role.VERIFIER, by=None)
    else:
        accounts.disable("ada", by=None)
    assert [accounts.actor_of(token) for token in tokens] == [None, None]
    assert accounts.actor_of(mine) is not None


def test_a_disabled_account_cannot_sign_in_and_is_not_told_apart(accounts, root):
    accounts.add("ada", Role.ARTIST, PASSWORD, by=None)
    accounts.disable("ada", by=None)
    texts = set()
    for name, password in (("ada", PASSWORD), ("nobody", PASSWORD), ("root", "not the password")):
        with pytest.raises(SignInError) as caught:
            accounts.sign_in(name, password, address=HERE)
        texts.add(str(caught.value))
    assert texts == {"the name or the password is wrong"}
    accounts.enable("ada", by=None)
    assert accounts.sign_in("ada", PASSWORD, address=HERE).actor.name == "ada"


def test_one_changes_ones_own_password_by_knowing_the_old_one(accounts, root):
    actor = accounts.sign_in("root", PASSWORD, address=HERE).actor
    with pytest.raises(SignInError):
        accounts.change_password(actor, "wrong", "another fine password", address=HERE)
    with pytest.raises(UsageError, match="at least"):
        accounts.change_password(actor, PASSWORD, "weak", address=HERE)
    accounts.change_password(actor, PASSWORD, "another fine password", address=HERE)
    assert accounts.sign_in("root", "another fine password", address=HERE)


# -- throttling -----------------------------------------------------------------------------------


def test_after_some_failures_even_the_right_password_has_to_wait(accounts, root, clock):
    for _ in range(5):
        assert fail(accounts).retry_after_s is None
    assert fail(accounts).retry_after_s is None, "the sixth is still looked at"
    with pytest.raises(SignInError, match="please wait 2 s") as caught:
        accounts.sign_in("root", PASSWORD, address=HERE)
    assert 0 < caught.value.retry_after_s <= 2
    clock.forward(seconds=2)
    assert accounts.sign_in("root", PASSWORD, address=HERE)
    assert fail(accounts).retry_after_s is None, "success starts the account anew"


def test_each_further_failure_doubles_the_wait_up_to_a_quarter_of_an_hour(accounts, root, clock):
    waits = []
    for _ in range(18):
        clock.forward(hours=1)
        fail(accounts)
        error = fail(accounts)
        waits.append(error.retry_after_s or 0.0)
    assert waits[-1] == 900.0
    blocked = [wait for wait in waits if wait]
    assert blocked[:4] == [4.0, 8.0, 16.0, 32.0]


def test_a_restart_does_not_forget(accounts, ledger, database, clock, root):
    for _ in range(6):
        fail(accounts)
    again = open_accounts(ledger, database, clock)
    assert fail(again).retry_after_s is not None


def test_the_wait_is_of_the_account_whatever_the_address(accounts, root):
    for number in range(6):
        fail(accounts, address=f"192.0.2.{number}")
    assert fail(accounts, address=ELSEWHERE).retry_after_s is not None


def test_trying_many_names_is_slowed_down_by_address_and_nobody_else_suffers(accounts, root):
    errors = [fail(accounts, name=f"user{number}") for number in range(25)]
    assert errors[19].retry_after_s is None
    assert errors[-1].retry_after_s is not None
    with pytest.raises(SignInError, match="too many"):
        accounts.sign_in("root", PASSWORD, address=HERE)
    assert accounts.sign_in("root", PASSWORD, address=ELSEWHERE)


def test_success_does_not_clear_the_address(accounts, root):
    """Otherwise one own account would pay for guessing at all others."""
    for number in range(20):
        fail(accounts, name=f"user{number}")
    accounts.sign_in("root", PASSWORD, address=HERE)
    fail(accounts, name="user21")
    assert fail(accounts, name="user22").retry_after_s is not None


def test_attempts_at_the_same_moment_do_not_all_pass(accounts, root):
    """The attempt is counted before the password is looked at."""
    looked_at, lock = [], threading.Lock()
    gate = threading.Barrier(16)

    def attempt():
        gate.wait()
        try:
            accounts.sign_in("root", "not the password", address=HERE)
        except SignInError as error:
            with lock:
                looked_at.append(error.retry_after_s is None)

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(looked_at) == 6
    assert len(looked_at) == 16


def test_counters_are_forgotten_after_a_day_and_hold_no_names(accounts, root, database, clock):
    fail(accounts, name="somebody's password typed as a name")
    with database.reading() as connection:
        rows = connection.execute(select(login_throttle)).all()
    assert len(rows) == 2
    assert "somebody" not in str(rows)
    assert HERE not in str(rows)
    clock.forward(hours=25)
    accounts.sign_in("root", PASSWORD, address=ELSEWHERE)
    with database.reading() as connection:
        assert connection.execute(select(login_throttle)).all() == []


# -- whose an output is ---------------------------------------------------------------------------


def test_an_output_has_one_owner_for_ever(accounts, database):
    actors = add_one_of_each(accounts)
    ada, vera = actors[Role.ARTIST].account_id, actors[Role.VERIFIER].account_id
    accounts.own("00112233aabbccdd", ada)
    assert accounts.owner_of("00112233aabbccdd") == ada
    assert accounts.owner_of("ffffffffffffffff") is None
    with pytest.raises(LedgerError):
        accounts.own("00112233aabbccdd", vera)
    for statement in (
        f"UPDATE output_owner SET account_id = '{vera}'",
        "DELETE FROM output_owner",
    ):
        with pytest.raises(LedgerError, match="append-only"), database.writing() as connection:
            connection.execute(text(statement))
    assert accounts.outputs_of(ada) == ["00112233aabbccdd"]
    assert accounts.outputs_of(vera) == []


def test_both_databases_do_it_alike(database_location, tmp_path, clock):
    database = Database.open(database_location)
    try:
        accounts = open_accounts(Ledger(database, tmp_path), database, clock)
        ada = add_one_of_each(accounts)[Role.ARTIST]
        session = accounts.sign_in("ada", PASSWORD, address=HERE, kind="page")
        clock.forward(minutes=5)
        assert accounts.actor_of(session.token) == ada
        for _ in range(6):
            fail(accounts, name="ada")
        assert fail(accounts, name="ada").retry_after_s == 2.0
        clock.forward(seconds=2)
        assert accounts.sign_in("ada", PASSWORD, address=HERE)
        accounts.own("00112233aabbccdd", ada.account_id)
        with pytest.raises(LedgerError):
            accounts.own("00112233aabbccdd", ada.account_id)
        assert accounts.outputs_of(ada.account_id) == ["00112233aabbccdd"]
        accounts.disable("ada", by=None)
        assert accounts.actor_of(session.token) is None
        with pytest.raises(UsageError, match="already"):
            accounts.add("ada", Role.ARTIST, PASSWORD, by=None)
        with pytest.raises(LedgerError), database.writing() as connection:
            connection.execute(text("DELETE FROM output_owner"))
    finally:
        database.close()
