"""REST routes that vary or extend an output, or tell its lineage."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from studio.accounts.permissions import Actor
from studio.app.session import Session
from studio.generation.derived.derivation import Wish
from studio.generation.orders import Order
from studio.generation.preview import Preview
from studio.web.api.bodies import Extension, JobState, Variation
from studio.web.api.lookup import of_output
from studio.web.api.records import LineageRecord
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.store import Jobs
from studio.web.middleware.auth import account_of

__all__ = ["derivation_routes"]

_SHAPE = {"model", "duration_s"}
"""What of a request says who makes it, and how much."""

_OF_THE_SCORE = {"keep", "redo", "new", "lead"}
"""What a variation may take of its parent's score."""


def derivation_routes(
    caller: Callable[..., Actor], session_of: Callable[..., Session], queue: Jobs
) -> APIRouter:
    """The routes; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    def submitted(
        request: Request,
        response: Response,
        mine: Session,
        actor: Actor,
        order: Order,
        *,
        preview: bool,
    ) -> JobState:
        previews = (Preview(),) if preview else ()
        job = queue.submit(mine, order, account=account_of(request, actor), previews=previews)
        response.headers["Location"] = f"../../jobs/{job.id}"
        return JobState(**job.to_json())

    @router.post("/outputs/{output_id}/variations", status_code=202, tags=["making"])
    def vary(
        request: Request,
        response: Response,
        mine: Mine,
        actor: Who,
        output_id: str,
        body: Variation,
    ) -> JobState:
        """Make a variation of my output: its request with another seed and what is given here."""
        changes = body.changes({"tags", "seed", *_OF_THE_SCORE})
        parent = of_output(output_id, mine.outputs.get).request
        wish = Wish(**body.model_dump(include=_OF_THE_SCORE))
        asked: dict[str, Any] = {"tags": body.tags, "seed": body.seed, "changes": changes}
        mine.generation.check_variation(output_id, wish=wish, **asked)
        like = replace(parent, **{k: v for k, v in changes.items() if k in _SHAPE})
        order = Order.vary(output_id, like, wish, **asked)
        return submitted(request, response, mine, actor, order, preview=body.preview)

    @router.post("/outputs/{output_id}/extensions", status_code=202, tags=["making"])
    def extend(
        request: Request,
        response: Response,
        mine: Mine,
        actor: Who,
        output_id: str,
        body: Extension,
    ) -> JobState:
        """Make my output go on for so many seconds more."""
        changes = body.changes({"seconds", "seed"})
        parent = of_output(output_id, mine.outputs.get).request
        mine.generation.check_extension(output_id, body.seconds, seed=body.seed, changes=changes)
        like = replace(parent, **{k: v for k, v in changes.items() if k in _SHAPE - {"duration_s"}})
        order = Order.extend(output_id, like, body.seconds, seed=body.seed, changes=changes)
        return submitted(request, response, mine, actor, order, preview=body.preview)

    @router.get("/outputs/{output_id}/lineage", tags=["outputs"], response_model_exclude_unset=True)
    def lineage(mine: Mine, output_id: str) -> LineageRecord:
        """The ancestors and children of an output."""
        return LineageRecord(**of_output(output_id, mine.outputs.lineage).to_json())

    @router.get("/outputs/{output_id}/disclosure", tags=["outputs"])
    def disclosure(mine: Mine, output_id: str) -> dict[str, Any]:
        """What a platform asks about an output: AI and human contributions, consent, proof."""
        return dict(of_output(output_id, mine.outputs.disclosure))

    return router
