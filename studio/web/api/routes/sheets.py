"""REST routes of lead sheets: check a text, and chart an output."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from studio.app.session import Session
from studio.web.api.bodies import Sheet
from studio.web.api.lookup import of_output
from studio.web.api.records import ChartRecord, SheetRecord
from studio.web.api.strict_route import StrictRoute

__all__ = ["sheet_routes"]


def sheet_routes(session_of: Callable[..., Session]) -> APIRouter:
    """The routes; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Mine = Annotated[Session, Depends(session_of)]

    @router.post("/sheets", tags=["making"])
    def check(mine: Mine, body: Sheet) -> SheetRecord:
        """What a lead sheet says, or `problem`: where it is wrong. Nothing is made or kept."""
        answer = mine.generation.check_sheet(
            body.sheet, tags=body.tags, duration_s=body.duration_s, transpose=body.transpose
        )
        return SheetRecord(**asdict(answer))

    @router.get("/outputs/{output_id}/sheet", tags=["outputs"])
    def chart(mine: Mine, output_id: str) -> ChartRecord:
        """The lead sheet of my output, and when each bar sounds; 404 where there is no score."""
        return ChartRecord(**asdict(of_output(output_id, mine.outputs.chart)))

    return router
