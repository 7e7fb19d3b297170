"""REST routes of tags, models and consent decisions."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from studio.app.session import Session
from studio.core.tags import listing_key
from studio.web.api.bodies import TagSelection
from studio.web.api.records import DecisionRecord, ModelRecord, TagRecord
from studio.web.api.schemas import tag_record
from studio.web.api.strict_route import StrictRoute

__all__ = ["catalog_routes"]


def catalog_routes(session_of: Callable[..., Session]) -> APIRouter:
    """The routes; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Mine = Annotated[Session, Depends(session_of)]

    @router.get("/tags", tags=["catalogue"])
    def tags(
        mine: Mine,
        use: Annotated[str | None, Query(max_length=32)] = None,
        territory: Annotated[str | None, Query(max_length=8)] = None,
        model: Annotated[str | None, Query(max_length=128)] = None,
    ) -> list[TagRecord]:
        """Every tag: granted for this use or not, by whom and until when."""
        return [
            TagRecord(**tag_record(status))
            for status in sorted(
                mine.catalog.tag_status(model=model, use=use, territory=territory),
                key=lambda status: listing_key(status.tag),
            )
        ]

    @router.get("/models", tags=["catalogue"])
    def models(mine: Mine) -> list[ModelRecord]:
        """The generation models, their licences and what they were trained on."""
        return [
            ModelRecord(
                id=model.id,
                title=model.title,
                licence=model.licence,
                licence_uses=sorted(model.licence_uses),
                training_basis=model.training_basis.strip(),
            )
            for model in mine.catalog.models().values()
        ]

    @router.post("/decisions", tags=["catalogue"], response_model_exclude_unset=True)
    def decide(mine: Mine, body: TagSelection) -> DecisionRecord:
        """What a request would be answered now, per tag, by which grant or why not."""
        decision = mine.catalog.decide(
            body.tags, use=body.use, territory=body.territory, model=body.model
        )
        return DecisionRecord(**decision.to_json())

    return router
