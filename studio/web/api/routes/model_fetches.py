"""REST routes that fetch hub models; for administrators."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from studio.accounts.permissions import Permission
from studio.app.session import Session
from studio.core.errors import GenerationCancelledError, StudioError
from studio.web.api.records import FetchOfferRecord, FetchState
from studio.web.api.strict_route import StrictRoute
from studio.web.jobs.queue import Job, JobRunner, Report

__all__ = ["model_fetch_routes"]


class Fetch(BaseModel):
    """A model to be fetched, and its licence, which is accepted by its name."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(max_length=128)
    accepted_licence: str = Field(max_length=64)


def model_fetch_routes(session_of: Callable[..., Session], runner: JobRunner) -> APIRouter:
    """The routes; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute, prefix="/model-fetches", tags=["models"])
    Mine = Annotated[Session, Depends(session_of)]
    jobs: dict[str, Job[Any]] = {}
    lock = threading.Lock()

    def state(model: str) -> FetchState | None:
        with lock:
            job = jobs.get(model)
        return None if job is None else FetchState(**described(job))

    def described(job: Job[Any]) -> dict[str, Any]:
        now = job.moment()
        said: dict[str, Any] = {"state": "running", "progress": 0.0, "text": "Starting"}
        if now.progress is not None:
            said |= {"progress": now.progress.fraction, "text": now.progress.text}
        elif now.queue_position:
            said |= {"state": "queued", "text": f"Waiting: {now.queue_position} before it"}
        if not job.ended:
            return said
        try:
            job.result()
        except (GenerationCancelledError, CancelledError):
            return said | {
                "state": "cancelled",
                "text": "Cancelled. The next fetch goes on from here.",
            }
        except StudioError as exc:
            return said | {"state": "failed", "text": str(exc)}
        except Exception:  # noqa: BLE001 - the log has it
            return said | {"state": "failed", "text": "something went wrong; see the log"}
        return said | {"state": "done", "progress": 1.0, "text": "Here, and pinned"}

    @router.get("", response_model_exclude_unset=True)
    def fetches(mine: Mine) -> list[FetchOfferRecord]:
        """Every hub model that is not here: size, licence, and how its fetch stands."""
        offers = [asdict(offer) for offer in mine.models.offers()]
        return [FetchOfferRecord(**offer, fetch=state(offer["model"])) for offer in offers]

    @router.post("", status_code=202, response_model_exclude_unset=True)
    def fetch(mine: Mine, body: Fetch) -> FetchState:
        """Fetch a model in the background; what an earlier fetch left goes on."""
        mine.models.check_fetch(body.model, body.accepted_licence)

        def work(report: Report, cancel: threading.Event) -> Any:
            return mine.models.fetch(
                body.model, accepted_licence=body.accepted_licence, report=report, cancel=cancel
            )

        with lock:
            known = jobs.get(body.model)
            if known is None or known.ended:
                jobs[body.model] = runner.submit(work)
        return state(body.model) or FetchState()

    @router.delete("", response_model_exclude_unset=True)
    def cancel(mine: Mine, model: Annotated[str, Query(max_length=128)] = "") -> FetchState:
        """Stop a fetch; what is here of it stays."""
        mine.require(Permission.ADMINISTER)
        with lock:
            job = jobs.get(model)
        if job is not None:
            job.cancel()
        return state(model) or FetchState()

    return router
