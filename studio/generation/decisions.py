"""Ask the consent policy, at the start and at release; record every refusal.

A decision can change while music is made. What is released was decided just before, on the same
grants that the signed file names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from studio.consent import ConsentPolicy, Decision
from studio.core.errors import ConsentRefusedError
from studio.generation.progress import Stage
from studio.provenance.ledger.private_fields import Personal
from studio.provenance.release import GenerationRequest, credit_lines

if TYPE_CHECKING:
    from studio.generation.derived.derivation import Derivation
    from studio.provenance.ledger.log import Ledger

__all__ = ["Decisions", "credits_of"]


class Decisions:
    """Takes decisions about requests. ``policy`` is a function, because consent changes."""

    def __init__(
        self,
        *,
        policy: Callable[[], ConsentPolicy],
        ledger: Ledger,
        clock: Callable[[], datetime],
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._clock = clock

    def decide(
        self,
        request: GenerationRequest,
        derivation: Derivation | None,
        *,
        stage: Stage,
        about: Mapping[str, Any] | None = None,
    ) -> Decision:
        """An allowing decision, or a refusal in the ledger and :class:`ConsentRefusedError`.

        ``about`` stands in the refusal's entry beside the request.
        """
        policy = self._policy()
        decision = policy.decide(
            request.tags,
            use=request.use,
            territory=request.territory,
            model=request.model,
            at=policy.registry.present(self._clock()),
        )
        objection = (
            None
            if derivation is None
            else derivation.objection(
                policy, use=request.use, territory=request.territory, at=decision.at
            )
        )
        if objection is not None or not decision.allowed:
            self._ledger.append(
                "refusal",
                {
                    "stage": str(stage),
                    "request": request.to_ledger(),
                    "decision": decision.to_json(),
                    # It may name rights holders.
                    **({} if objection is None else {"why": Personal(objection)}),
                    **(about or {}),
                },
            )
            why = decision.explain() if objection is None else objection
            raise ConsentRefusedError(f"refused: {why}")
        return decision

    def require_same_grants(
        self,
        request: GenerationRequest,
        signed: Decision,
        now: Decision,
        *,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """The grants that the signed file names must be those that cover it at release.

        Otherwise a refusal in the ledger and :class:`ConsentRefusedError`.
        """
        if [tag.to_json() for tag in signed.tags] == [tag.to_json() for tag in now.tags]:
            return
        why = "the grants behind the tags changed while the music was made; ask again"
        self._ledger.append(
            "refusal",
            {
                "stage": str(Stage.RELEASE),
                "request": request.to_ledger(),
                "decision": now.to_json(),
                "why": why,
                **(about or {}),
            },
        )
        raise ConsentRefusedError(f"refused: {why}")


def credits_of(decision: Decision, model: Mapping[str, Any]) -> tuple[str, ...]:
    """The lines of credit of an output that ``decision`` allowed."""
    holders = {tag.holder.id: tag.holder.name for tag in decision.tags if tag.holder}
    return credit_lines(decision.to_json(), holders, model["title"])
