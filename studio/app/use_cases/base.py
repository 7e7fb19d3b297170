"""The base of use cases: a method names its permission and gets the container.

A group of use cases is a subclass of :class:`UseCases`. Its methods take the
:class:`~studio.app.container.Container` as their first argument, and :func:`requires` takes that
argument away from the caller: it checks the actor's permission and only then hands the container
in. No object that a caller holds has the container as an attribute, so a method without
:func:`requires` has nothing to work with.

>>> class Doors(UseCases):
...     @requires(Permission.ADMINISTER)
...     def count(self, studio: Container) -> int:
...         return 2
>>> rule_of(Doors.count).permission
<Permission.ADMINISTER: 'administer'>
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from studio.accounts.origin import calling, current
from studio.accounts.permissions import Actor, Permission, Rule, refusal_of

if TYPE_CHECKING:
    from studio.app.container import Container

__all__ = [
    "UseCases",
    "bind",
    "container_of",
    "owns",
    "requires",
    "requires_output",
    "rule_of",
]

_OUTPUT_ID = re.compile(r"[0-9a-f]{16}")

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")
_Self = TypeVar("_Self", bound="UseCases")

_containers: WeakKeyDictionary[object, Container] = WeakKeyDictionary()
_RULE = "__rule__"


def bind(holder: object, container: Container) -> None:
    """Remember the container of a holder, where no attribute of the holder leads to it."""
    _containers[holder] = container


def container_of(holder: object) -> Container:
    """The container that was bound to ``holder``; for :mod:`studio.app` alone."""
    return _containers[holder]


class UseCases:
    """The use cases of one subject, for one actor. See the module."""

    def __init__(self, container: Container, actor: Actor) -> None:
        bind(self, container)
        self.actor = actor
        self._address = current().address


def rule_of(method: Callable[..., object]) -> Rule:
    """Who may call a use case. Raises :class:`AttributeError` where nobody said so."""
    rule = getattr(method, _RULE)
    assert isinstance(rule, Rule)
    return rule


def requires(
    permission: Permission,
) -> Callable[
    [Callable[Concatenate[_Self, Container, _Arguments], _Result]],
    Callable[Concatenate[_Self, _Arguments], _Result],
]:
    """The use case is for actors with ``permission``; others get ``AccessDeniedError``."""
    rule = Rule(permission)

    def decorate(
        method: Callable[Concatenate[_Self, Container, _Arguments], _Result],
    ) -> Callable[Concatenate[_Self, _Arguments], _Result]:
        @wraps(method)
        def call(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            studio = _containers[self]
            with calling(self.actor.account_id, self._address):  # also in another thread
                if not self.actor.may(permission):
                    raise _denied(studio, self, method.__name__, rule)
                return method(self, studio, *args, **kwargs)

        setattr(call, _RULE, rule)
        return call

    return decorate


def requires_output(
    permission: Permission, *, anyone: Permission
) -> Callable[
    [Callable[Concatenate[_Self, Container, str, _Arguments], _Result]],
    Callable[Concatenate[_Self, str, _Arguments], _Result],
]:
    """The use case is about one output, named by its first argument.

    It is for the output's owner with ``permission``, and for whoever has ``anyone``. To everybody
    else another's output and one that does not exist are the same.
    """
    rule = Rule(permission, anyone=anyone)

    def decorate(
        method: Callable[Concatenate[_Self, Container, str, _Arguments], _Result],
    ) -> Callable[Concatenate[_Self, str, _Arguments], _Result]:
        @wraps(method)
        def call(
            self: _Self, output_id: str, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
        ) -> _Result:
            studio = _containers[self]
            with calling(self.actor.account_id, self._address):
                if not self.actor.may(anyone) and not owns(
                    studio, self.actor, permission, output_id
                ):
                    raise _denied(studio, self, method.__name__, rule, output_id)
                return method(self, studio, output_id, *args, **kwargs)

        setattr(call, _RULE, rule)
        return call

    return decorate


def owns(studio: Container, actor: Actor, permission: Permission, output_id: str) -> bool:
    """Whether it is the actor's own output, and its role has ``permission`` on such."""
    if not actor.may(permission) or actor.account_id is None:
        return False
    return studio.accounts().owner_of(output_id) == actor.account_id


def _denied(
    studio: Container, group: UseCases, method: str, rule: Rule, output_id: str = ""
) -> Exception:
    """Record the refusal in the security log; the error to raise."""
    studio.security_log().record(
        "denied",
        outcome="refused",
        subject=output_id if _OUTPUT_ID.fullmatch(output_id) else "",
        detail=f"{type(group).__name__.lower()}.{method}",
    )
    return refusal_of(rule, group.actor)
