"""The account of ``studio login``, or the owner where there are no accounts.

A command opens the studio with :func:`open_as_caller` and holds that account's session. The token
lies in ``$XDG_CONFIG_HOME/consented-music-studio/tokens.json``, readable by its owner only, one for
each studio home; ``$STUDIO_TOKEN`` comes first.

Whoever owns the files of the home could change them without any command, so ``studio --as-owner``
lets him act without an account: for the first steps, for a forgotten password, for cron.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.accounts.origin import calling
from studio.accounts.permissions import LOCAL_OWNER, Actor, Role
from studio.core.errors import AccessDeniedError, ConfigError
from watermark.util.files import sweep, write_file

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.session import Session

__all__ = [
    "ADDRESS",
    "caller_of",
    "forget_token",
    "keep_token",
    "open_as_caller",
    "say_who_calls",
    "stored_token",
]

ADDRESS = "command line"
"""Where what the commands do comes from, in the security log and for slowed-down logins."""

_OWNER = Actor(None, "owner of the studio's files", Role.ADMINISTRATOR)


@contextmanager
def open_as_caller(*, trust_uploads: bool = False) -> Iterator[Session]:
    """The studio as the caller may use it, for one command. Raises :class:`AccessDeniedError`.

    ``trust_uploads`` decodes files in this process.
    """
    from studio.app.gateway import open_gateway

    with open_gateway(trust_uploads=trust_uploads) as gateway:
        say_who_calls(None)
        actor = caller_of(gateway)
        say_who_calls(actor.account_id)
        yield gateway.session(actor)


def caller_of(gateway: Gateway) -> Actor:
    """Whose token is at hand. Raises :class:`AccessDeniedError` where there has to be one."""
    from studio.core.db.database import location_of

    home = gateway.paths.home
    location = location_of(gateway.config.database.url, gateway.paths.ledger)
    if isinstance(location, Path) and not location.exists():
        return LOCAL_OWNER  # nothing was ever made here; looking does not make it
    if not gateway.has_accounts():
        return LOCAL_OWNER
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().params.get("as_owner"):
        _check_owner(home)
        return _OWNER
    token = stored_token(home)
    actor = gateway.actor_of(token, kind="token") if token else None
    if actor is None:
        if token:
            gateway.record_refusal("token", address=ADDRESS)
        raise AccessDeniedError("this studio has accounts; sign in first: studio login NAME")
    return actor


def stored_token(home: Path) -> str:
    """The token at hand for the studio of that home; empty if there is none."""
    return os.environ.get("STUDIO_TOKEN") or _read().get(str(home.resolve()), "")


def keep_token(home: Path, token: str) -> Path:
    """Remember a token, readable by its owner only; returns the file."""
    return _write({**_read(), str(home.resolve()): token})


def forget_token(home: Path) -> None:
    """Forget the token of that home."""
    kept = _read()
    if kept.pop(str(home.resolve()), None) is not None:
        _write(kept)


def say_who_calls(account_id: str | None) -> None:
    """Name the caller to the security log until the command ends."""
    click.get_current_context().find_root().with_resource(calling(account_id, ADDRESS))


def _check_owner(home: Path) -> None:
    try:
        mine = home.stat().st_uid == os.geteuid() and os.access(home, os.W_OK)
    except OSError:
        mine = False
    if not mine:
        raise AccessDeniedError(f"{home} belongs to somebody else; --as-owner is for its owner")


def _file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "consented-music-studio" / "tokens.json"


def _read() -> dict[str, str]:
    try:
        kept = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(home): str(token) for home, token in kept.items()} if type(kept) is dict else {}


def _write(kept: dict[str, str]) -> Path:
    path = _file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(path.parent)
        write_file(path, json.dumps(kept).encode())
    except OSError as exc:
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc
    return path
