"""Who may do what: roles and their permissions.

Each use case names its permission where it is defined (:mod:`studio.app.use_cases`). Page, REST
layer and command line hold a :class:`studio.app.session.Session`, which has use cases and nothing
else.

>>> Role.VERIFIER.may(Permission.VERIFY), Role.VERIFIER.may(Permission.GENERATE)
(True, False)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from studio.core.errors import AccessDeniedError, NotYoursError

__all__ = [
    "LOCAL_OWNER",
    "Actor",
    "Permission",
    "Role",
    "Rule",
    "refusal_of",
]


class Permission(StrEnum):
    """One kind of thing a person can do here."""

    BROWSE = "browse"  # tags, models, who granted what, what a request would be answered
    GENERATE = "generate"
    OWN_OUTPUTS = "own-outputs"  # list, look at and download what one made oneself
    RECORDS = "records"  # look at the record of any output, without its audio
    ALL_OUTPUTS = "all-outputs"  # download anybody's output
    VERIFY = "verify"
    CONSENT = "consent"  # holders, grants, revocations, statements
    LEDGER = "ledger"  # read the log, its checkpoints and proofs
    ADMINISTER = "administer"  # accounts, quotas, keys, everything else


class Role(StrEnum):
    """What an account is for."""

    ARTIST = "artist"
    VERIFIER = "verifier"
    REGISTRAR = "registrar"
    ADMINISTRATOR = "administrator"

    @property
    def permissions(self) -> frozenset[Permission]:
        return _ROLES[self]

    def may(self, permission: Permission) -> bool:
        return permission in _ROLES[self]


_ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.ARTIST: frozenset(
        {Permission.BROWSE, Permission.GENERATE, Permission.OWN_OUTPUTS, Permission.VERIFY}
    ),
    Role.VERIFIER: frozenset(
        {Permission.BROWSE, Permission.VERIFY, Permission.RECORDS, Permission.LEDGER}
    ),
    Role.REGISTRAR: frozenset(
        {Permission.BROWSE, Permission.CONSENT, Permission.RECORDS, Permission.LEDGER}
    ),
    Role.ADMINISTRATOR: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls. ``account_id`` is random and no name; None for the owner of a local studio."""

    account_id: str | None
    name: str
    role: Role

    def may(self, permission: Permission) -> bool:
        return self.role.may(permission)


LOCAL_OWNER = Actor(None, "local owner", Role.ADMINISTRATOR)
"""Everyone who reaches a studio without accounts, which listens on this machine only."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a use case: whoever has ``permission``.

    Of a use case about one output: its owner who has ``permission``, and whoever has ``anyone``.
    """

    permission: Permission
    anyone: Permission | None = None


def refusal_of(rule: Rule, actor: Actor) -> AccessDeniedError:
    """What the refused caller is told; another's output and one that is not read alike."""
    if rule.anyone is not None and actor.may(rule.permission):
        return NotYoursError("no such output, or not yours")
    return AccessDeniedError(f"an account with the role {actor.role} may not do this")
