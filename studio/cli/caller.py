"""Who types the command: the account of ``studio login``, or the owner where there are none.

A command opens the studio with :func:`open_as_caller` and holds what that account may use. The
token lies in ``$XDG_CONFIG_HOME/consented-music-studio/tokens.json``, readable by its owner only,
one for each studio home; ``$STUDIO_TOKEN`` comes first.

Whoever owns the files of the home could change them without any command, so ``studio --as-owner``
lets him act without an account: for the first steps, for a forgotten password, for cron.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.accounts.origin import calling
from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission, Role
from studio.core.errors import AccessDeniedError, ConfigError
from watermark.util.files import sweep, write_file

if TYPE_CHECKING:
    from studio.app.container import Studio

__all__ = [
    "ADDRESS",
    "caller_of",
    "forget_token",
    "keep_token",
    "open_as_caller",
    "open_with",
    "say_who_calls",
    "stored_token",
]

ADDRESS = "command line"
"""Where what the commands do comes from, in the security log and for slowed-down logins."""

_OWNER = Actor(None, "owner of the studio's files", Role.ADMINISTRATOR)


def open_as_caller() -> Studio:
    """The studio as the caller may use it. Raises :class:`AccessDeniedError`."""
    studio, actor = _opened()
    return studio.acting_as(actor)


def open_with(permission: Permission) -> Studio:
    """The whole studio, for commands that work on its inner parts, if the caller has the right.

    Raises :class:`AccessDeniedError`.
    """
    studio, actor = _opened()
    if not actor.may(permission):
        studio.security_log().record("denied", outcome="refused", detail=str(permission))
        studio.close()
        raise AccessDeniedError(f"an account with the role {actor.role} may not do this")
    return studio


def caller_of(studio: Studio) -> Actor:
    """Whose token is at hand. Raises :class:`AccessDeniedError` where there has to be one."""
    from studio.core.db.database import location_of

    location = location_of(studio.config.database.url, studio.paths.ledger)
    if isinstance(location, Path) and not location.exists():
        return LOCAL_OWNER  # nothing was ever made here; looking does not make it
    if not studio.accounts().exist():
        return LOCAL_OWNER
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().params.get("as_owner"):
        _check_owner(studio.paths.home)
        return _OWNER
    token = stored_token(studio.paths.home)
    actor = studio.accounts().actor_of(token, kind="token") if token else None
    if actor is None:
        if token:
            studio.security_log().record("token", outcome="refused", address=ADDRESS)
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


def _opened() -> tuple[Studio, Actor]:
    from studio.app.container import open_studio

    studio = open_studio()
    say_who_calls(None)
    try:
        actor = caller_of(studio)
        say_who_calls(actor.account_id)
        return studio, actor
    except BaseException:
        studio.close()
        raise


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
