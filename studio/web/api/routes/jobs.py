"""REST routes of generation jobs: submit, list, follow and cancel."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from studio.accounts.permissions import Actor
from studio.app.session import Session
from studio.generation.orders import Order
from studio.generation.preview import Preview
from studio.web.api.bodies import GenerationIn, JobState
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.store import Jobs
from studio.web.middleware.auth import account_of

__all__ = ["job_routes"]


def job_routes(
    caller: Callable[..., Actor], session_of: Callable[..., Session], queue: Jobs
) -> APIRouter:
    """The routes; ``caller`` and ``session_of`` are the dependencies of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    @router.post("/jobs", status_code=202, tags=["making"])
    def order(
        request: Request, mine: Mine, actor: Who, body: GenerationIn, response: Response
    ) -> JobState:
        """Ask for music; consent is asked when the job runs, and again at its release."""
        asked = mine.generation.request(
            **body.model_dump(exclude_unset=True, exclude={"takes", "preview"})
        )
        mine.generation.check(asked)
        previews = tuple(Preview() for _ in range(body.takes if body.preview else 0))
        made = Order.create(asked, body.takes)
        job = queue.submit(mine, made, account=account_of(request, actor), previews=previews)
        response.headers["Location"] = f"jobs/{job.id}"
        return JobState(**job.to_json())

    @router.get("/jobs", tags=["making"])
    def jobs(mine: Mine) -> list[JobState]:
        """My jobs of the last hour, newest first."""
        return [JobState(**job.to_json()) for job in queue.of(mine)]

    @router.get("/jobs/{job_id}", tags=["making"])
    def job(mine: Mine, job_id: str) -> JobState:
        """How my job stands."""
        return JobState(**queue.find(mine, job_id).to_json())

    @router.delete("/jobs/{job_id}", tags=["making"])
    def cancel(mine: Mine, job_id: str) -> JobState:
        """Stop my job; it has ended when its state says so."""
        return JobState(**queue.cancel(mine, job_id).to_json())

    return router
