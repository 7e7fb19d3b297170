"""Routes made for an output: vary, extend, family tree, disclosure."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from studio.accounts.permissions import Actor
from studio.app.session import Session
from studio.generation.derived.derivation import Wish
from studio.web.api.bodies import Extension, JobState, Variation
from studio.web.api.lookup import of_output
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.queue import Report
from studio.web.jobs.store import JobStore, Making
from studio.web.middleware.auth import account_of

if TYPE_CHECKING:
    from studio.provenance.release import Release

__all__ = ["derivation_routes"]

_OF_THE_SCORE = {"keep", "redo", "new", "lead"}
"""What a variation may take of its parent's score."""


def derivation_routes(
    caller: Callable[..., Actor], session_of: Callable[..., Session], book: JobStore
) -> APIRouter:
    """The routes; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    def booked(
        request: Request, response: Response, mine: Session, actor: Actor, work: Making
    ) -> JobState:
        job = book.book(mine, work, account=account_of(request, actor))
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
        of_output(output_id, mine.outputs.get)
        wish = Wish(**body.model_dump(include=_OF_THE_SCORE))
        mine.generation.check_variation(
            output_id, tags=body.tags, seed=body.seed, changes=changes, wish=wish
        )

        def work(session: Session, report: Report, cancel: threading.Event) -> "Release":
            return session.generation.vary(
                output_id,
                tags=body.tags,
                seed=body.seed,
                changes=changes,
                wish=wish,
                progress=report,
                cancel=cancel,
            )

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
        changes = body.changes({"seconds", "seed"})
        of_output(output_id, mine.outputs.get)
        mine.generation.check_extension(output_id, body.seconds, seed=body.seed, changes=changes)

        def work(session: Session, report: Report, cancel: threading.Event) -> "Release":
            return session.generation.extend(
                output_id,
                body.seconds,
                seed=body.seed,
                changes=changes,
                progress=report,
                cancel=cancel,
            )

        return booked(request, response, mine, actor, work)

    @router.get("/outputs/{output_id}/lineage", tags=["outputs"])
    def lineage(mine: Mine, output_id: str) -> dict[str, Any]:
        """Where an output comes from, and what was made from it."""
        return dict(of_output(output_id, mine.outputs.lineage).to_json())

    @router.get("/outputs/{output_id}/disclosure", tags=["outputs"])
    def disclosure(mine: Mine, output_id: str) -> dict[str, Any]:
        """What a platform asks about an output: AI and human contributions, consent, proof."""
        return dict(of_output(output_id, mine.outputs.disclosure))

    return router
