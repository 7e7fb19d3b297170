"""The consent registry: rights holders, their grants and revocations.

It is an immutable picture of one moment; adding a revocation gives another registry. The studio
reads it from its database (:mod:`studio.consent.storage.repository`), where only signed documents
get in.

>>> from datetime import UTC
>>> from studio.consent.types import RightsHolder
>>> registry = ConsentRegistry([RightsHolder(id="ada", name="Ada", kind="artist")], [])
>>> registry.holders["ada"].name, registry.naming("genre/jazz")
('Ada', ())
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from types import MappingProxyType

from studio.consent.grant_index import TagIndex
from studio.consent.types import Grant, Revocation, RightsHolder
from studio.core.errors import ConfigError

__all__ = ["ConsentRegistry"]


class ConsentRegistry:
    """Holders, grants, revocations, indexed by tag. Contradictions raise :class:`ConfigError`.

    ``version`` tells two states of the same database apart: the ledger entry that changed consent
    last, -1 before the first. ``as_of`` is the instant of that entry: a decision is never taken at
    an earlier one, so that a clock that was set back does not undo a revocation. ``indexes`` are
    those of an earlier state, of tags that nothing has changed for since.
    """

    def __init__(
        self,
        holders: Iterable[RightsHolder],
        grants: Iterable[Grant],
        revocations: Iterable[Revocation] = (),
        *,
        version: int = -1,
        as_of: datetime | None = None,
        indexes: Mapping[str, TagIndex] = MappingProxyType({}),
    ) -> None:
        holders, grants, revocations = tuple(holders), tuple(grants), tuple(revocations)
        self.version = version
        self.as_of = as_of
        self.holders: Mapping[str, RightsHolder] = MappingProxyType(
            {holder.id: holder for holder in holders}
        )
        # By id, so that no answer can depend on the order in which grants came in.
        self.grants: Mapping[str, Grant] = MappingProxyType(
            {grant.id: grant for grant in sorted(grants, key=lambda grant: grant.id)}
        )
        self.revocations = revocations
        if len(self.holders) != len(holders) or len(self.grants) != len(grants):
            raise ConfigError("a rights holder or a grant is listed twice in the consent registry")
        for grant in self.grants.values():
            if grant.holder not in self.holders:
                raise ConfigError(f"grant {grant.id!r} names an unknown holder {grant.holder!r}")
        self._revoked_at: dict[str, datetime] = {}
        for revocation in revocations:
            if revocation.grant not in self.grants:
                raise ConfigError(f"revocation of an unknown grant {revocation.grant!r}")
            earlier = self._revoked_at.get(revocation.grant)
            if earlier is None or revocation.at < earlier:
                self._revoked_at[revocation.grant] = revocation.at
        by_tag: dict[str, list[Grant]] = {}
        for grant in self.grants.values():
            for tag in grant.tags:
                by_tag.setdefault(tag, []).append(grant)
        self._by_tag = {tag: tuple(naming) for tag, naming in by_tag.items()}
        self._indexes = dict(indexes)

    def naming(self, tag: str) -> tuple[Grant, ...]:
        """Every grant that names the tag, whatever its state, by grant id."""
        return self._by_tag.get(tag, ())

    def index(self, tag: str) -> TagIndex:
        """The grants that name the tag, ready to be asked; made on first use."""
        found = self._indexes.get(tag)
        if found is None:
            found = TagIndex(
                self.naming(tag),
                revoked_at=self._revoked_at.get,
                is_demonstration=lambda holder: self.holders[holder].kind == "demonstration",
            )
            if tag in self._by_tag:  # what is asked comes from outside; only real tags are kept
                self._indexes[tag] = found
        return found

    def indexes_without(self, changed: Set[str]) -> Mapping[str, TagIndex]:
        """What is ready to be asked already, but for these tags."""
        return {tag: index for tag, index in list(self._indexes.items()) if tag not in changed}

    def revoked_at(self, grant_id: str) -> datetime | None:
        """From when on the grant is revoked, or None."""
        return self._revoked_at.get(grant_id)

    def with_revocation(self, revocation: Revocation) -> ConsentRegistry:
        """The same registry after one more revocation."""
        return ConsentRegistry(
            self.holders.values(),
            self.grants.values(),
            (*self.revocations, revocation),
            version=self.version,
            as_of=self.as_of,
        )

    def present(self, now: datetime) -> datetime:
        """``now``, or the instant of the last change where the clock is behind it."""
        return now if self.as_of is None else max(now, self.as_of)
