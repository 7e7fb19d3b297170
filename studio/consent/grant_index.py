"""Find the grant that permits a tag without reading every grant.

A decision wants, of all grants naming a tag, the one with the fewest unmet conditions; among equals
the older one, then the one whose id comes first. Conditions on the *scope* (use, territory, model,
demonstration) are the same for all grants of the same scope, and conditions on the *term* (not yet
valid, expired, revoked) change only at known instants. So per scope the best grant is a step
function of time, worked out once by a sweep over those instants, O(n log n); for a request the
functions of the scopes it fits are merged into one, which is kept and read by bisection.
``tests/unit/consent/test_grant_index.py`` compares the answers with looking at every grant.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from studio.consent.types import Grant
from studio.core.territories import REGIONS, expanded

__all__ = ["TagIndex"]

_MOST_TERM_FAILURES = 2  # revoked, and either not yet valid or expired
_REMEMBERED_SCOPES = 256

_Rank = tuple[int, datetime, str]  # unmet conditions, valid_from, id: the least is the best
_Scope = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Steps:
    """The best grant as a step function of time."""

    instants: list[datetime]
    best: list[tuple[_Rank, Grant]]  # one more than instants: the first holds before them all

    def at(self, instant: datetime) -> tuple[_Rank, Grant]:
        return self.best[bisect_right(self.instants, instant)]


@dataclass(frozen=True, slots=True)
class _Group:
    """Grants of one scope, and which of them is best at which time, by their terms alone."""

    example: Grant  # any of them: they agree in uses, territories and models
    demonstration: bool
    steps: _Steps

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
            _Group(
                members[0],
                is_demonstration(members[0].holder),
                _sweep(members, revoked_at),
            )
            for members in scopes.values()
        ]
        examples = [group.example for group in self._groups]
        uses, territories, models = (
            frozenset().union(*(getattr(grant, field) for grant in examples))
            for field in ("uses", "territories", "models")
        )
        self._named = (uses, territories | expanded(territories) | frozenset(REGIONS), models)
        self._by_scope: dict[_Scope, list[tuple[int, _Steps]]] = {}

    def best(self, use: str, territory: str, model: str, at: datetime) -> Grant | None:
        """The grant that covers the request, or else the nearest miss; None: no grant at all."""
        found: tuple[_Rank, Grant] | None = None
        for failures, steps in self._levels(use, territory, model):
            if found is not None and failures > found[0][0]:
                break
            (term_failures, since, grant_id), grant = steps.at(at)
            rank = (failures + term_failures, since, grant_id)
            if found is None or rank < found[0]:
                found = rank, grant
        return None if found is None else found[1]

    def _levels(self, use: str, territory: str, model: str) -> list[tuple[int, _Steps]]:
        """The step functions of all scopes with 0, 1, ... unmet conditions of scope, each one."""
        # What no grant names is all alike, so that what is asked from outside has few forms.
        asked = tuple(
            value if value in named else ""
            for value, named in zip((use, territory, model), self._named, strict=True)
        )
        known = self._by_scope.get(asked)
        if known is None:
            levels: dict[int, list[_Steps]] = {}
            for group in self._groups:
                failures = group.scope_failures(use, territory, model)
                levels.setdefault(failures, []).append(group.steps)
            known = [(failures, _merged(levels[failures])) for failures in sorted(levels)]
            if len(self._by_scope) >= _REMEMBERED_SCOPES:
                self._by_scope.clear()
            self._by_scope[asked] = known
        return known


def _merged(many: list[_Steps]) -> _Steps:
    """The best of several step functions at every instant."""
    if len(many) == 1:
        return many[0]
    changes = sorted(
        (instant, number, position)
        for number, steps in enumerate(many)
        for position, instant in enumerate(steps.instants, start=1)
    )
    present = [steps.best[0] for steps in many]
    heap = sorted((rank, number) for number, (rank, _) in enumerate(present))
    instants: list[datetime] = []
    best = [present[heap[0][1]]]
    for index, (instant, number, position) in enumerate(changes):
        present[number] = many[number].best[position]
        heapq.heappush(heap, (present[number][0], number))
        if index + 1 < len(changes) and changes[index + 1][0] == instant:
            continue
        while present[heap[0][1]][0] != heap[0][0]:
            heapq.heappop(heap)  # another has taken its place since
        now = present[heap[0][1]]
        if now[0] != best[-1][0]:
            instants.append(instant)
            best.append(now)
    return _Steps(instants, best)


def _sweep(members: list[Grant], revoked_at: Callable[[str], datetime | None]) -> _Steps:
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
    return _Steps(instants, best)
