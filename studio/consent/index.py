"""Which grant answers for a tag, found without looking at every grant that names it.

A decision wants, of all grants naming a tag, the one with the fewest unmet conditions; among equals
the older one, then the one whose id comes first. Conditions on the *scope* (use, territory, model,
demonstration) are the same for all grants of the same scope, and conditions on the *term* (not yet
valid, expired, revoked) change only at known instants. So per scope the best grant is a step
function of time: it is worked out once by a sweep over those instants, O(n log n), and read by
bisection. :mod:`tests.unit.test_consent_index` compares it with looking at every grant.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from studio.consent.types import Grant

__all__ = ["TagIndex"]

_MOST_TERM_FAILURES = 2  # revoked, and either not yet valid or expired
_REMEMBERED_SCOPES = 4096

_Rank = tuple[int, datetime, str]  # unmet conditions, valid_from, id: the least is the best


@dataclass(frozen=True, slots=True)
class _Group:
    """Grants of one scope, and which of them is best from which instant on."""

    example: Grant  # any of them: they agree in uses, territories and models
    demonstration: bool
    instants: list[datetime]
    best: list[tuple[_Rank, Grant]]  # one more than instants: the first holds before them all

    def scope_failures(self, use: str, territory: str, model: str) -> int:
        return (
            (use not in self.example.uses)
            + (not self.example.covers_territory(territory))
            + (not self.example.covers_model(model))
            + self.demonstration
        )


class TagIndex:
    """The grants that name one tag. Immutable but for what it remembers."""

    def __init__(
        self,
        grants: Iterable[Grant],
        *,
        revoked_at: Callable[[str], datetime | None],
        is_demonstration: Callable[[str], bool],
    ) -> None:
        scopes: dict[object, list[Grant]] = {}
        for grant in grants:
            scope = (grant.uses, grant.territories, grant.models, is_demonstration(grant.holder))
            scopes.setdefault(scope, []).append(grant)
        self._groups = [
            _Group(members[0], is_demonstration(members[0].holder), *_sweep(members, revoked_at))
            for members in scopes.values()
        ]
        self._by_scope: dict[tuple[str, str, str], list[tuple[int, _Group]]] = {}

    def best(self, use: str, territory: str, model: str, at: datetime) -> Grant | None:
        """The grant that covers the request, or else the nearest miss; None: no grant at all."""
        found: tuple[_Rank, Grant] | None = None
        for failures, group in self._nearest_scopes(use, territory, model):
            if found is not None and failures > found[0][0]:
                break
            (term_failures, since, grant_id), grant = group.best[bisect_right(group.instants, at)]
            rank = (failures + term_failures, since, grant_id)
            if found is None or rank < found[0]:
                found = rank, grant
        return None if found is None else found[1]

    def _nearest_scopes(self, use: str, territory: str, model: str) -> list[tuple[int, _Group]]:
        """Every group with its unmet conditions of scope, fewest first."""
        scope = (use, territory, model)
        known = self._by_scope.get(scope)
        if known is None:
            known = [(group.scope_failures(*scope), group) for group in self._groups]
            known.sort(key=lambda pair: pair[0])
            if len(self._by_scope) >= _REMEMBERED_SCOPES:  # what is asked comes from outside
                self._by_scope.clear()
            self._by_scope[scope] = known
        return known


def _sweep(
    members: list[Grant], revoked_at: Callable[[str], datetime | None]
) -> tuple[list[datetime], list[tuple[_Rank, Grant]]]:
    """The instants at which another grant becomes the best, and the best between them."""
    changes: list[tuple[datetime, int, int]] = []  # when, which grant, unmet conditions more
    for number, grant in enumerate(members):
        changes.append((grant.valid_from, number, -1))
        if grant.valid_until is not None:
            changes.append((grant.valid_until, number, +1))
        revoked = revoked_at(grant.id)
        if revoked is not None:
            changes.append((revoked, number, +1))
    changes.sort(key=lambda change: change[0])

    failures = [1] * len(members)  # before all time no grant is valid yet
    order = [(grant.valid_from, grant.id, number) for number, grant in enumerate(members)]
    heaps: list[list[tuple[datetime, str, int]]] = [[] for _ in range(_MOST_TERM_FAILURES + 1)]
    heaps[1] = sorted(order)

    def top() -> tuple[_Rank, Grant]:
        for count, heap in enumerate(heaps):
            while heap and failures[heap[0][2]] != count:
                heapq.heappop(heap)  # its count has changed since it was put here
            if heap:
                since, grant_id, number = heap[0]
                return (count, since, grant_id), members[number]
        raise AssertionError("every grant is in the heap of its count")

    instants: list[datetime] = []
    best = [top()]
    position = 0
    while position < len(changes):
        instant = changes[position][0]
        touched = set()
        while position < len(changes) and changes[position][0] == instant:
            _, number, difference = changes[position]
            failures[number] += difference
            touched.add(number)
            position += 1
        for number in touched:
            heapq.heappush(heaps[failures[number]], order[number])
        now = top()
        if now[0] != best[-1][0]:
            instants.append(instant)
            best.append(now)
    return instants, best
