"""Accounts for tests: a cheap hash, a clock that is set by hand, one account of each role."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from studio.accounts import Accounts
from studio.accounts.passwords import Passwords
from studio.accounts.permissions import Actor, Role
from studio.app.container import Container

PASSWORD = "quiet harbour lanterns"
NAMES = {
    Role.ADMINISTRATOR: "root",
    Role.ARTIST: "ada",
    Role.VERIFIER: "vera",
    Role.REGISTRAR: "reg",
}


class Clock:
    """Now, until moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


def cheap_passwords() -> Passwords:
    """Real argon2id with parameters that cost a fraction of a millisecond."""
    from argon2 import PasswordHasher

    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def with_cheap_passwords(studio: Container) -> Container:
    """The studio, with accounts whose passwords are hashed cheaply."""
    vars(studio)["_accounts"] = Accounts(
        studio.ledger(),
        studio.database(),
        studio.config.accounts,
        security_log=studio.security_log(),
        passwords=cheap_passwords(),
    )
    return studio


def add_one_of_each(accounts: Accounts) -> dict[Role, Actor]:
    """``root``, ``ada``, ``vera`` and ``reg``, as the actors they are once signed in."""
    actors = {}
    for role, name in NAMES.items():
        account = accounts.add(name, role, PASSWORD, by=None)
        actors[role] = Actor(account.account_id, account.name, account.role)
    return actors
