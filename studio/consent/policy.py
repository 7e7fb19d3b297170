"""The consent policy: do grants permit these tags, use, territory and model now?

Default deny. :meth:`ConsentPolicy.decide` is pure (no clock, no file, no network), total (every
input has an answer) and explained (per tag the grant that covers it, or the reason none does). It
needs the tag vocabulary and, per model, the uses its own licence permits: consent for a style never
makes up for a model licence that forbids the use.

>>> from datetime import UTC, datetime
>>> from studio.consent.types import RightsHolder
>>> jazz = Grant.model_validate(
...     dict(id="g1", holder="ada", tags=["genre/jazz"], uses=["commercial"], territories=["WORLD"],
...          models=["*"], valid_from="2026-01-01T00:00:00Z", valid_until=None,
...          on_revocation="keep", share="0.1", terms=dict(sha256="0" * 64, url="terms.md")))
>>> policy = ConsentPolicy(
...     ConsentRegistry([RightsHolder(id="ada", name="Ada", kind="artist")], [jazz]),
...     known_tags={"genre/jazz", "genre/choral"},
...     model_uses={"house": {"noncommercial", "commercial"}})
>>> decision = policy.decide(["genre/jazz", "genre/choral"], use="commercial", territory="WORLD",
...                          model="house", at=datetime(2026, 12, 1, tzinfo=UTC))
>>> [(answer.tag, answer.grant.id if answer.grant else str(answer.reason))
...  for answer in decision.tags]
[('genre/jazz', 'g1'), ('genre/choral', 'no-grant')]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from studio.consent.registry import ConsentRegistry
from studio.consent.types import (
    Decision,
    Grant,
    GrantVerdict,
    Reason,
    TagDecision,
    format_instant,
)
from studio.core.errors import UsageError

__all__ = ["ConsentPolicy", "recorded_decision"]


class ConsentPolicy:
    """Decides requests against one registry. Immutable: a changed registry is another policy."""

    def __init__(
        self,
        registry: ConsentRegistry,
        *,
        known_tags: Collection[str],
        model_uses: Mapping[str, Collection[str]],
        named_tags: Mapping[str, Collection[str]] = MappingProxyType({}),
        closed: str | None = None,
    ) -> None:
        """``named_tags``: of tags that spell somebody's name, the holders who have that name.
        ``closed``: why nothing is granted to anybody now; None: the grants decide."""
        self.registry = registry
        self._known_tags = frozenset(known_tags)
        self._model_uses = {model: frozenset(uses) for model, uses in model_uses.items()}
        self._named_tags = {tag: frozenset(owners) for tag, owners in named_tags.items()}
        self.closed = closed

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are known here, by id."""
        return tuple(sorted(self._model_uses))

    def with_registry(self, registry: ConsentRegistry) -> ConsentPolicy:
        """The same policy over another registry, and open: what would be if."""
        return ConsentPolicy(
            registry,
            known_tags=self._known_tags,
            model_uses=self._model_uses,
            named_tags=self._named_tags,
        )

    def decide(
        self, tags: Sequence[str], *, use: str, territory: str, model: str, at: datetime
    ) -> Decision:
        """Answer per tag. A request without tags is not allowed.

        Raises :class:`UsageError` only for an ``at`` without a time zone, which is no instant.
        """
        if at.utcoffset() is None:
            raise UsageError(f"{at.isoformat()} is no instant: it names no time zone")
        decision = Decision(
            use=use,
            territory=territory,
            model=model,
            at=at,
            tags=tuple(self._decide_tag(tag, use, territory, model, at) for tag in tags),
            consent_entry=self.registry.version,
        )
        object.__setattr__(decision, "is_policys_own", True)  # frozen for everybody else
        return decision

    def _decide_tag(
        self, tag: str, use: str, territory: str, model: str, at: datetime
    ) -> TagDecision:
        if tag not in self._known_tags:
            return _refused(tag, Reason.UNKNOWN, f"{tag}: not in the vocabulary", tuple)
        nearest = self.registry.index(tag).best(use, territory, model, at)

        def all_naming() -> tuple[GrantVerdict, ...]:
            return self._examine_all(tag, use, territory, model, at)

        def refused(reason: Reason, why: str) -> TagDecision:
            return _refused(tag, reason, f"{tag}: {why}", all_naming)

        if self.closed is not None:
            return refused(Reason.CLOSED, self.closed)
        if use not in self._model_uses.get(model, frozenset()):
            if model in self._model_uses:
                why = f"the licence of model {model} does not permit {use} use"
            else:
                why = f"model {model} is not one of this studio's"
            return refused(Reason.MODEL_LICENCE, why)
        if nearest is None:
            return refused(Reason.NO_GRANT, "nobody has granted it")
        best = self._examine(nearest, use, territory, model, at)
        if tag in self._named_tags:  # somebody's name is granted by that somebody only
            owners = self._named_tags[tag]
            own = [verdict for verdict in all_naming() if verdict.grant.holder in owners]
            if not own:
                return refused(Reason.NAME, "it is a name, and whose name it is has not granted it")
            best = own[0]
        if not best.covers:
            return refused(best.failures[0], self._explain(best))
        return TagDecision(
            tag=tag,
            granted=True,
            grant=best.grant,
            holder=best.holder,
            reason=None,
            explanation=f"{tag}: granted by {best.holder.name} ({best.grant.id})",
            examine_all=all_naming,
        )

    def standing(
        self, grant_id: str, *, use: str, territory: str, model: str, at: datetime
    ) -> GrantVerdict | None:
        """Whether one grant covers a request, whatever its tags; None: there is no such grant."""
        grant = self.registry.grants.get(grant_id)
        return None if grant is None else self._examine(grant, use, territory, model, at)

    def _examine_all(
        self, tag: str, use: str, territory: str, model: str, at: datetime
    ) -> tuple[GrantVerdict, ...]:
        verdicts = (
            self._examine(grant, use, territory, model, at) for grant in self.registry.naming(tag)
        )
        # Nearest miss first; among equals the older grant, then the id: never the order of arrival.
        return tuple(
            sorted(verdicts, key=lambda v: (len(v.failures), v.grant.valid_from, v.grant.id))
        )

    def _examine(
        self, grant: Grant, use: str, territory: str, model: str, at: datetime
    ) -> GrantVerdict:
        holder = self.registry.holders[grant.holder]
        revoked_at = self.registry.revoked_at(grant.id)
        conditions = {
            Reason.REVOKED: revoked_at is not None and at >= revoked_at,
            Reason.NOT_YET_VALID: at < grant.valid_from,
            Reason.EXPIRED: grant.valid_until is not None and at >= grant.valid_until,
            Reason.USE: use not in grant.uses,
            Reason.TERRITORY: not grant.covers_territory(territory),
            Reason.MODEL: not grant.covers_model(model),
            Reason.DEMONSTRATION: holder.kind == "demonstration",
        }
        failures = tuple(reason for reason, failed in conditions.items() if failed)
        return GrantVerdict(grant=grant, holder=holder, failures=failures)

    def _explain(self, verdict: GrantVerdict) -> str:
        grant, holder, reason = verdict.grant, verdict.holder, verdict.failures[0]
        who = f"the grant of {holder.name} ({grant.id})"
        revoked_at = self.registry.revoked_at(grant.id)
        if reason is Reason.REVOKED and revoked_at is not None:
            return f"{who} was revoked on {format_instant(revoked_at)[:10]}"
        if reason is Reason.NOT_YET_VALID:
            return f"{who} is valid only from {format_instant(grant.valid_from)[:10]}"
        if reason is Reason.EXPIRED and grant.valid_until is not None:
            return f"{who} expired on {format_instant(grant.valid_until)[:10]}"
        if reason is Reason.USE:
            return f"{who} covers {', '.join(sorted(grant.uses))} use only"
        if reason is Reason.TERRITORY:
            return f"{who} covers {', '.join(sorted(grant.territories))} only"
        if reason is Reason.MODEL:
            return f"{who} covers the models {', '.join(sorted(grant.models))} only"
        return f"{who} is a demonstration: it shows how a grant reads and permits nothing"


def _refused(
    tag: str,
    reason: Reason,
    explanation: str,
    examine_all: Callable[[], tuple[GrantVerdict, ...]],
) -> TagDecision:
    return TagDecision(
        tag=tag,
        granted=False,
        grant=None,
        holder=None,
        reason=reason,
        explanation=explanation,
        examine_all=examine_all,
    )


def recorded_decision(body: Mapping[str, Any], registry: ConsentRegistry) -> Decision:
    """A decision that permitted something, as the ledger has it, with its grants and holders.

    Nothing is decided anew: what consent says today is :meth:`ConsentPolicy.decide`'s answer.

    Raises:
        KeyError: a grant or holder that the registry does not know.
    """
    return Decision(
        use=body["use"],
        territory=body["territory"],
        model=body["model"],
        at=datetime.fromisoformat(body["at"]),
        tags=tuple(
            TagDecision(
                tag["tag"],
                True,
                registry.grants[tag["grant"]],
                registry.holders[tag["holder"]],
                None,
                "",
            )
            for tag in body["tags"]
        ),
    )
