"""``studio account``, ``studio login``: and what each role can do from the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from studio.accounts.permissions import Role
from studio.cli.main import cli
from tests.support.accounts import NAMES, PASSWORD, cheap_passwords

FORBIDDEN = {
    Role.ARTIST: [
        ["account", "list"],
        ["account", "add", "eve", "--role", "administrator", "--password-stdin"],
        ["account", "role", "ada", "administrator"],
        ["account", "passwd", "root", "--password-stdin"],
        ["account", "disable", "root"],
        ["account", "enable", "root"],
        ["ledger", "show"],
        ["ledger", "checkpoint"],
        ["ledger", "rotate-key", "seal"],
    ],
    Role.VERIFIER: [
        ["generate", "--tags", "genre/jazz", "--seconds", "3"],
        ["account", "list"],
        ["ledger", "checkpoint"],
        ["ledger", "erase", "0", "use"],
    ],
    Role.REGISTRAR: [
        ["generate", "--tags", "genre/jazz", "--seconds", "3"],
        ["verify", "{file}"],
        ["account", "list"],
        ["ledger", "rotate-key", "seal"],
    ],
}
PERMITTED = {
    Role.ARTIST: [["tags"], ["models", "list"], ["whoami"]],
    Role.VERIFIER: [["ledger", "show"], ["ledger", "key"], ["tags"]],
    Role.REGISTRAR: [["ledger", "show"], ["tags"]],
    Role.ADMINISTRATOR: [["account", "list"], ["ledger", "show"], ["tags"]],
}


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """Runs commands against a home of its own; ``studio(...)`` gives click's result."""
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STUDIO_TOKEN", raising=False)
    monkeypatch.setattr("studio.accounts.service.Passwords", cheap_passwords)

    def run(*arguments: str, stdin: str = ""):
        return CliRunner().invoke(cli, list(arguments), input=stdin)

    return run


@pytest.fixture
def team(studio):
    """One account of each role, added as an operator would add them."""
    for number, (role, name) in enumerate(NAMES.items()):
        command = ["account", "add", name, "--role", str(role), "--password-stdin"]
        added = studio(*(["--as-owner"] if number else []), *command, stdin=f"{PASSWORD}\n")
        assert added.exit_code == 0, added.output
    return studio


def sign_in(studio, role):
    result = studio("login", NAMES[role], "--password-stdin", stdin=f"{PASSWORD}\n")
    assert result.exit_code == 0, result.output


def test_a_studio_without_accounts_needs_no_login(studio, tmp_path):
    assert studio("whoami").output.startswith("local owner (administrator)")
    assert not (tmp_path / "home" / "ledger.db").exists(), "looking made nothing"
    assert studio("login", "root", "--password-stdin", stdin="x\n").exit_code == 2


def test_with_accounts_every_command_wants_a_login(team):
    for command in (["tags"], ["account", "list"], ["ledger", "show"], ["generate", "--tags", "x"]):
        result = team(*command)
        assert result.exit_code == 1, command
        assert "studio login NAME" in result.output


@pytest.mark.parametrize("role", list(FORBIDDEN))
def test_what_a_role_may_not_do_is_refused_and_not_done(team, tmp_path, role):
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    sign_in(team, role)
    for command in FORBIDDEN[role]:
        words = [word.format(file=tmp_path / "song.wav") for word in command]
        result = team(*words, stdin=f"{PASSWORD}\n{PASSWORD}\n")
        assert result.exit_code == 1, f"{command}: {result.output}"
        assert f"the role {role} may not do this" in result.output, command
    sign_in(team, Role.ADMINISTRATOR)
    listed = [json.loads(line) for line in team("account", "list", "--json").output.splitlines()]
    assert {entry["name"]: entry["role"] for entry in listed} == {
        name: str(role) for role, name in NAMES.items()
    }
    assert not any(entry["disabled"] for entry in listed)


@pytest.mark.parametrize("role", list(PERMITTED))
def test_what_a_role_may_do_works(team, role):
    sign_in(team, role)
    for command in PERMITTED[role]:
        result = team(*command)
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_token_is_readable_by_its_owner_only_and_goes_at_logout(team, tmp_path):
    sign_in(team, Role.VERIFIER)
    path = tmp_path / "config" / "consented-music-studio" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (token,) = json.loads(path.read_text()).values()
    assert team("whoami").output.startswith("vera (verifier)")
    assert team("logout").exit_code == 0
    assert json.loads(path.read_text()) == {}
    again = CliRunner().invoke(cli, ["whoami"], env={"STUDIO_TOKEN": token})
    assert again.exit_code == 1, "the session itself has ended"


def test_the_password_is_never_an_argument_and_weak_ones_are_refused(studio):
    import click

    for name in ("add", "passwd"):
        command = cli.commands["account"].commands[name]
        assert all("password" not in (p.name or "") or p.is_flag for p in command.params), name
        assert isinstance(command, click.Command)
    weak = studio(
        "account", "add", "root", "--role", "administrator", "--password-stdin", stdin="short\n"
    )
    assert weak.exit_code == 2
    assert "at least 12" in weak.output


def test_a_prompted_password_is_asked_for_twice(studio):
    command = ("account", "add", "root", "--role", "administrator")
    unequal = studio(*command, stdin=f"{PASSWORD}\nsomething else entirely\n")
    assert unequal.exit_code == 2  # asked again, and there is no more input
    assert studio(*command, stdin=f"{PASSWORD}\n{PASSWORD}\n").exit_code == 0


def test_one_changes_ones_own_password_and_the_owner_of_the_files_anybodys(team):
    sign_in(team, Role.ARTIST)
    new = "another fine password"
    wrong = team("account", "passwd", "ada", "--password-stdin", stdin=f"wrong\n{new}\n")
    assert wrong.exit_code == 1
    own = team("account", "passwd", "ada", "--password-stdin", stdin=f"{PASSWORD}\n{new}\n")
    assert own.exit_code == 0, own.output
    assert team("whoami").exit_code == 1, "it is signed out"
    assert team("login", "ada", "--password-stdin", stdin=f"{new}\n").exit_code == 0
    reset = team("--as-owner", "account", "passwd", "root", "--password-stdin", stdin=f"{new}\n")
    assert reset.exit_code == 0, reset.output
    assert team("login", "root", "--password-stdin", stdin=f"{new}\n").exit_code == 0


def test_as_owner_is_for_the_owner_of_the_files(team, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    result = team("--as-owner", "account", "list")
    assert result.exit_code == 1
    assert "belongs to somebody else" in result.output


def test_a_studio_without_accounts_does_not_listen_to_other_machines(studio):
    result = studio("serve", "--host", "0.0.0.0", "--port", "1")
    assert result.exit_code == 2
    assert "no accounts yet" in result.output


def test_no_command_opens_the_studio_behind_the_access_layers_back():
    root = Path(__file__).parents[2] / "studio"
    opening = {
        path.name: path.read_text().count("open_gateway(")
        for path in (root / "cli").rglob("*.py")
        if "open_gateway(" in path.read_text()
    }
    # login, logout and whoami come before there is a caller; serve asks each visitor instead; the
    # worker of a long verification trusts the parent that asked; `studio worker` makes what servers
    # have admitted, each job as the account that asked.
    assert opening == {
        "main.py": 1,
        "accounts.py": 3,
        "caller.py": 1,
        "verify.py": 1,
        "worker.py": 1,
    }
