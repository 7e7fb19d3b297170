"""``studio account ...``, ``studio login``, ``logout`` and ``whoami``.

Passwords come from a prompt or from standard input, never from the command line, where every user
of the machine could read them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from studio.accounts.permissions import Permission, Role
from studio.cli.caller import (
    ADDRESS,
    caller_of,
    forget_token,
    keep_token,
    open_as_caller,
    say_who_calls,
    stored_token,
)
from studio.cli.output import emit, json_option
from studio.core.errors import UsageError

if TYPE_CHECKING:
    from studio.accounts import Account

__all__ = ["account", "login", "logout", "whoami"]

_ROLES = click.Choice([str(role) for role in Role])
_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, one line."
)


def _password(from_stdin: bool, prompt: str, *, twice: bool) -> str:
    if from_stdin:
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise UsageError("there was no password on standard input")
        return line
    entered: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return entered


@click.command()
@click.argument("name")
@_stdin_option
def login(name: str, password_stdin: bool) -> None:
    """Sign in to this studio; later commands act as account NAME."""
    from studio.app.gateway import open_gateway

    with open_gateway() as gateway:
        if not gateway.has_accounts():
            raise UsageError("this studio has no accounts, so there is nothing to sign in to")
        password = _password(password_stdin, f"Password of {name}", twice=False)
        session = gateway.sign_in(name, password, address=ADDRESS, kind="token")
        path = keep_token(gateway.paths.home, session.token)
    click.echo(
        f"signed in as {session.actor.name} ({session.actor.role}) until "
        f"{session.expires_at:%Y-%m-%d}; the token is in {path}",
        err=True,
    )


@click.command()
def logout() -> None:
    """Sign out: end the session and forget its token."""
    from studio.app.gateway import open_gateway

    with open_gateway() as gateway:
        say_who_calls(None)
        token = stored_token(gateway.paths.home)
        if token:
            gateway.sign_out(token)
        forget_token(gateway.paths.home)


@click.command()
@json_option
def whoami(as_json: bool) -> None:
    """Show which account commands use, and what its role permits."""
    from studio.app.gateway import open_gateway

    with open_gateway() as gateway:
        actor = caller_of(gateway)
    permissions = sorted(actor.role.permissions)
    if as_json:
        emit({"name": actor.name, "role": actor.role, "permissions": permissions})
    else:
        click.echo(f"{actor.name} ({actor.role}): {', '.join(permissions)}")


@click.group()
def account() -> None:
    """Accounts and their roles. Once one account exists, sign-in is required."""


@account.command("add")
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="Role of the account.")
@_stdin_option
def add(name: str, role: str, password_stdin: bool) -> None:
    """Add the account NAME."""
    with open_as_caller() as session:
        session.require(Permission.ADMINISTER)  # before a password is asked for
        password = _password(password_stdin, f"Password for {name}", twice=True)
        added = session.accounts.add(name, Role(role), password)
    click.echo(f"added {added.name} ({added.role})", err=True)


@account.command("list")
@json_option
def list_accounts(as_json: bool) -> None:
    """List the accounts, their roles, and when each last signed in."""
    with open_as_caller() as session:
        for found in session.accounts.all():
            if as_json:
                emit(found.to_json())
            else:
                click.echo(_line(found))


def _line(found: Account) -> str:
    seen = "never signed in" if found.signed_in_at is None else f"{found.signed_in_at:%Y-%m-%d}"
    state = "disabled" if found.disabled else seen
    return f"{found.name:24} {found.role:14} {state}"


@account.command("passwd")
@click.argument("name")
@_stdin_option
def passwd(name: str, password_stdin: bool) -> None:
    """Set a new password for account NAME and sign it out everywhere.

    Who is no administrator changes his own, and is asked for the present one first (with
    --password-stdin: the present one on the first line, the new one on the second).
    """
    with open_as_caller() as session:
        actor = session.actor
        if not actor.may(Permission.ADMINISTER) and name.strip().casefold() == actor.name:
            old = _password(password_stdin, "Present password", twice=False)
            new = _password(password_stdin, "New password", twice=True)
            session.accounts.change_own_password(old, new, address=ADDRESS)
            click.echo("changed; sign in again: studio login NAME", err=True)
            return
        session.require(Permission.ADMINISTER)
        new = _password(password_stdin, f"New password for {name}", twice=True)
        session.accounts.set_password(name, new)


@account.command("role")
@click.argument("name")
@click.argument("role", type=_ROLES)
def set_role(name: str, role: str) -> None:
    """Give account NAME another ROLE and sign it out everywhere."""
    with open_as_caller() as session:
        session.accounts.set_role(name, Role(role))


@account.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Disable account NAME at once. Its outputs stay."""
    with open_as_caller() as session:
        session.accounts.disable(name)


@account.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Enable the disabled account NAME."""
    with open_as_caller() as session:
        session.accounts.enable(name)


@account.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """Delete the disabled account NAME and its personal data for good.

    Its outputs and ledger entries stay and still prove. Titles and notes that were typed are erased
    from the records; copies in the files themselves, in backups and in exports are not.
    """
    with open_as_caller() as session:
        erased = session.accounts.delete(name)
    click.echo(f"deleted; {erased} typed texts were erased", err=True)
