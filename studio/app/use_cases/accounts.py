"""Accounts and the security log for administrators; changing one's own password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studio.accounts.permissions import Permission, Role
from studio.app.use_cases.base import UseCases, requires

if TYPE_CHECKING:
    from studio.accounts import Account
    from studio.accounts.security_log import SecurityEvent, SecurityLogCheck
    from studio.app.container import Container

__all__ = ["Accounts", "Security"]


class Accounts(UseCases):
    """Accounts and their roles. Each raises :class:`UsageError` for an unknown name."""

    @requires(Permission.ADMINISTER)
    def all(self, studio: Container) -> list[Account]:
        """List every account."""
        return studio.accounts().all()

    @requires(Permission.ADMINISTER)
    def named(self, studio: Container, name: str) -> Account:
        """The account of that name."""
        return studio.accounts().named(name)

    @requires(Permission.ADMINISTER)
    def add(self, studio: Container, name: str, role: Role, password: str) -> Account:
        """Add an account. Once one account exists, sign-in is required."""
        return studio.accounts().add(name, role, password, by=self.actor.account_id)

    @requires(Permission.ADMINISTER)
    def set_password(self, studio: Container, name: str, password: str) -> None:
        """Set a password; the account is signed out everywhere."""
        studio.accounts().set_password(name, password, by=self.actor.account_id)

    @requires(Permission.ADMINISTER)
    def set_role(self, studio: Container, name: str, role: Role) -> None:
        """Give an account another role; it is signed out everywhere."""
        studio.accounts().set_role(name, role, by=self.actor.account_id)

    @requires(Permission.ADMINISTER)
    def disable(self, studio: Container, name: str) -> None:
        """Close an account at once; what it made stays."""
        studio.accounts().disable(name, by=self.actor.account_id)

    @requires(Permission.ADMINISTER)
    def enable(self, studio: Container, name: str) -> None:
        """Open a disabled account again."""
        studio.accounts().enable(name, by=self.actor.account_id)

    @requires(Permission.ADMINISTER)
    def delete(self, studio: Container, name: str) -> int:
        """Delete a disabled account permanently; return how many typed texts were erased."""
        return studio.accounts().delete(name, by=self.actor.account_id)

    @requires(Permission.BROWSE)
    def change_own_password(self, studio: Container, old: str, new: str, *, address: str) -> None:
        """Change the actor's own password. Raises :class:`SignInError` for a wrong old one."""
        studio.accounts().change_password(self.actor, old, new, address=address)


class Security(UseCases):
    """The security log: who did what, when, from where."""

    @requires(Permission.ADMINISTER)
    def newest(
        self,
        studio: Container,
        *,
        limit: int,
        before: int | None = None,
        event: str | None = None,
        account: str | None = None,
    ) -> Sequence[SecurityEvent]:
        """The newest events below the number ``before``, of an account's name if given."""
        account_id = studio.accounts().named(account).account_id if account else None
        return studio.security_log().events(
            limit=limit, before=before, event=event, account_id=account_id
        )

    @requires(Permission.ADMINISTER)
    def export(self, studio: Container) -> Iterator[Mapping[str, Any]]:
        """Every event kept, oldest first; the last line says whether the log is sound."""
        return studio.security_log().export(studio.ledger())

    @requires(Permission.ADMINISTER)
    def check(self, studio: Container) -> SecurityLogCheck:
        """Whether the log is as it was written."""
        return studio.security_log().check(studio.ledger())
