"""Who may do what: roles, permissions, and the one table that gives every facade method its rule.

The faces (page, REST layer, command line) never hold a bare :class:`studio.app.container.Studio`;
they hold what :func:`studio.app.session.acting_as` returns, a stand-in with the same methods that
checks each call against :data:`PERMISSIONS` before it happens. A method without a line in that
table is refused to everyone, so a new one is closed until somebody decides who may call it.

>>> Role.VERIFIER.may(Permission.VERIFY), Role.VERIFIER.may(Permission.GENERATE)
(True, False)
>>> PERMISSIONS["generate"].permission
<Permission.GENERATE: 'generate'>
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from studio.core.errors import AccessDeniedError, NotYoursError

__all__ = [
    "LOCAL_OWNER",
    "OPEN_ATTRIBUTES",
    "PERMISSIONS",
    "UNGUARDED",
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
    """Who may call a method.

    ``output`` names the parameter that says which output it is about. Such a call is permitted to
    the output's owner who has ``permission``, and to whoever has ``anyone``.
    """

    permission: Permission
    output: str | None = None
    anyone: Permission = Permission.ADMINISTER


_RECORD = Rule(Permission.OWN_OUTPUTS, output="output_id", anyone=Permission.RECORDS)
_OWNED = Rule(Permission.OWN_OUTPUTS, output="output_id")
_AUDIO = Rule(Permission.OWN_OUTPUTS, output="output_id", anyone=Permission.ALL_OUTPUTS)

PERMISSIONS: Mapping[str, Rule] = {
    # what there is
    "vocabulary": Rule(Permission.BROWSE),
    "models": Rule(Permission.BROWSE),
    "performs_scores": Rule(Permission.BROWSE),
    "consent": Rule(Permission.BROWSE),
    "policy": Rule(Permission.BROWSE),
    "decide": Rule(Permission.BROWSE),
    "tag_status": Rule(Permission.BROWSE),
    "holders": Rule(Permission.BROWSE),
    "grants": Rule(Permission.BROWSE),
    "site_id": Rule(Permission.BROWSE),
    "restoration": Rule(Permission.BROWSE),
    "shipped_consent": Rule(Permission.BROWSE),
    # the registrar's desk
    "import_consent": Rule(Permission.CONSENT),
    "admit_holder": Rule(Permission.CONSENT),
    "admit_shipped": Rule(Permission.CONSENT),
    "override_holder_key": Rule(Permission.CONSENT),
    "confirm_restore": Rule(Permission.CONSENT),
    "repair_clock": Rule(Permission.CONSENT),
    "export_consent": Rule(Permission.CONSENT),
    "preview_revocation": Rule(Permission.CONSENT),
    "affected_outputs": Rule(Permission.CONSENT),
    "registrar": Rule(Permission.ADMINISTER),
    "name_screen": Rule(Permission.BROWSE),
    # making
    "request": Rule(Permission.GENERATE),
    "generate": Rule(Permission.GENERATE),
    "generate_takes": Rule(Permission.GENERATE),
    "vary": Rule(Permission.GENERATE),
    "extend": Rule(Permission.GENERATE),
    "check_request": Rule(Permission.GENERATE),
    "check_variation": Rule(Permission.GENERATE),
    "check_extension": Rule(Permission.GENERATE),
    "existing": Rule(Permission.OWN_OUTPUTS),
    "repeats_today": Rule(Permission.GENERATE),
    # figures
    "statement": Rule(Permission.CONSENT),
    "reconcile": Rule(Permission.CONSENT),
    "usage": Rule(Permission.ADMINISTER),
    # outputs
    "lineage": _RECORD,
    "disclosure": _RECORD,
    "release": _RECORD,
    "distribution": _RECORD,
    "audio_file": _AUDIO,
    "stems": _AUDIO,
    "score": _AUDIO,
    "score_file": _AUDIO,
    "proof": _RECORD,
    "check_proof": Rule(Permission.BROWSE),
    "publish": _OWNED,
    "is_public": _RECORD,
    "outputs": Rule(Permission.OWN_OUTPUTS),
    "recent": Rule(Permission.RECORDS),
    # the desk
    "verify": Rule(Permission.VERIFY),
    # the log and the house itself
    "ledger": Rule(Permission.ADMINISTER),  # whoever holds it can append to it
    "notary": Rule(Permission.ADMINISTER),
    "rotate_key": Rule(Permission.ADMINISTER),
    "accounts": Rule(Permission.ADMINISTER),
    "security_log": Rule(Permission.ADMINISTER),
    "database": Rule(Permission.ADMINISTER),
    "sealer": Rule(Permission.ADMINISTER),
    "credentials": Rule(Permission.ADMINISTER),
    "trust_uploads": Rule(Permission.ADMINISTER),
    "examine_credentials": Rule(Permission.VERIFY),
    "receipt": _RECORD,
    "generator": Rule(Permission.ADMINISTER),
    "recover": Rule(Permission.GENERATE),
}
"""Every public method of the facade; a test compares the two."""

OPEN_ATTRIBUTES = frozenset({"config", "paths"})
"""Settings that a face reads; neither gives anything away."""

UNGUARDED = frozenset({"close", "acting_as", "note_denial"})
"""Methods of the facade that are no request of anybody: they end it, or make the stand-in."""


def refusal_of(rule: Rule, actor: Actor) -> AccessDeniedError:
    """What the refused caller is told; another's output and one that is not read alike."""
    if rule.output is not None and actor.may(rule.permission):
        return NotYoursError("no such output, or not yours")
    return AccessDeniedError(f"an account with the role {actor.role} may not do this")
