"""The studio as one account may use it: a stand-in that asks :mod:`studio.accounts.permissions` at
every call.

>>> from studio.accounts.permissions import LOCAL_OWNER
>>> from studio.app.container import open_studio
>>> acting = acting_as(open_studio(), LOCAL_OWNER)
>>> acting.models()["house"].licence
'MIT'
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from studio.accounts.origin import calling, current
from studio.accounts.permissions import OPEN_ATTRIBUTES, PERMISSIONS, Actor, Rule, refusal_of
from studio.core.errors import AccessDeniedError

if TYPE_CHECKING:
    from studio.app.container import Studio

__all__ = ["acting_as"]

_OUTPUT_ID = re.compile(r"[0-9a-f]{16}")


def acting_as(studio: Studio, actor: Actor) -> Studio:
    """``studio`` as ``actor`` may use it. A call that is not permitted raises
    :class:`~studio.core.errors.AccessDeniedError` and does nothing else.

    The stand-in has the methods of :class:`~studio.app.container.Studio` and is typed as one. A
    method's keyword ``account`` (whose output, whose quota) is filled in here and cannot be given.
    """
    return cast("Studio", _Acting(studio, actor))


class _Acting:
    """See :func:`acting_as`."""

    def __init__(self, studio: Studio, actor: Actor) -> None:
        self._studio = studio
        self.actor = actor
        self._address = current().address

    def require(self, name: str) -> None:
        """Refuse early, before an upload is received, what a call of ``name`` would refuse.

        Raises :class:`~studio.core.errors.AccessDeniedError`.
        """
        with calling(self.actor.account_id, self._address):
            rule = PERMISSIONS[name]
            if not self.actor.may(rule.permission):
                self._studio.note_denial(name)
                raise refusal_of(rule, self.actor)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        attribute = getattr(self._studio, name)
        if name in OPEN_ATTRIBUTES:
            return attribute
        return _guarded(name, attribute, self._studio, self.actor, self._address)

    def __enter__(self) -> _Acting:
        return self

    def __exit__(self, *_: object) -> None:
        self._studio.close()

    def close(self) -> None:
        self._studio.close()


def _guarded(
    name: str, method: Callable[..., Any], studio: Studio, actor: Actor, address: str
) -> Callable[..., Any]:
    signature = inspect.signature(method)
    rule = PERMISSIONS.get(name)

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with calling(actor.account_id, address):  # also where another thread does the work
            return permitted(*args, **kwargs)

    def permitted(*args: Any, **kwargs: Any) -> Any:
        if rule is None:
            studio.note_denial(name)
            raise AccessDeniedError(f"{name} is not open to anybody")
        bound = signature.bind(*args, **kwargs)
        if "account" in signature.parameters:
            if "account" in bound.arguments:
                studio.note_denial(name)
                raise AccessDeniedError("nobody acts in another's name")
            bound.arguments["account"] = actor.account_id
        if not _permits(rule, bound.arguments, studio, actor):
            output_id = str(bound.arguments.get(rule.output or "", ""))
            studio.note_denial(name, output_id if _OUTPUT_ID.fullmatch(output_id) else "")
            raise refusal_of(rule, actor)
        return method(*bound.args, **bound.kwargs)

    return call


def _permits(rule: Rule, arguments: Mapping[str, Any], studio: Studio, actor: Actor) -> bool:
    if rule.output is None:
        return actor.may(rule.permission)
    if actor.may(rule.anyone):
        return True
    if not actor.may(rule.permission) or actor.account_id is None:
        return False
    return studio.accounts().owner_of(str(arguments[rule.output])) == actor.account_id
