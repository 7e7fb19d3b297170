"""Routes of the REST layer that go on from an output: vary, extend, family tree, disclosure."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from studio.accounts.permissions import Actor
from studio.web.api.bodies import Extension, JobState, Variation
from studio.web.api.lookup import of_output
from studio.web.api.strict_route import StrictRoute
from studio.web.job_store import JobBook
from studio.web.middleware.auth import account_of

__all__ = ["derivation_routes"]


def derivation_routes(
    caller: Callable[..., Actor], acting: Callable[..., Any], book: JobBook
) -> APIRouter:
    """The routes; ``caller`` and ``acting`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Any, Depends(acting)]

    def booked(
        request: Request, response: Response, mine: Any, actor: Actor, work: Callable[..., Any]
    ) -> JobState:
        job = book.book(mine, actor, work, account=account_of(request, actor))
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
        given: dict[str, Any] = {
            "tags": body.tags,
            "seed": body.seed,
            "keep": body.keep,
            "changes": body.changes({"tags", "seed", "keep"}),
        }
        of_output(mine, output_id)
        mine.check_variation(output_id, **given)

        def work(studio: Any, **control: Any) -> Any:
            return studio.vary(output_id, **given, **control)

        return booked(request, response, mine, actor, work)

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
        given: dict[str, Any] = {"seed": body.seed, "changes": body.changes({"seconds", "seed"})}
        of_output(mine, output_id)
        mine.check_extension(output_id, body.seconds, **given)

        def work(studio: Any, **control: Any) -> Any:
            return studio.extend(output_id, body.seconds, **given, **control)

        return booked(request, response, mine, actor, work)

    @router.get("/outputs/{output_id}/lineage", tags=["outputs"])
    def lineage(mine: Mine, output_id: str) -> dict[str, Any]:
        """Where an output comes from, and what was made from it."""
        return dict(of_output(mine, output_id, "lineage").to_json())

    @router.get("/outputs/{output_id}/disclosure", tags=["outputs"])
    def disclosure(mine: Mine, output_id: str) -> dict[str, Any]:
        """What a platform asks about an output: AI and human contributions, consent, proof."""
        return dict(of_output(mine, output_id, "disclosure"))

    return router
