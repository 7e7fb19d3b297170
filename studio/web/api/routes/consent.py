"""REST routes of consent: holders, grants, statements, signed documents."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import Permission
from studio.app.session import Session
from studio.web.api.records import (
    AffectedOutputRecord,
    ConsentSite,
    GrantRecord,
    HolderRecord,
    ImportRecord,
    RevocationEffect,
)
from studio.web.api.schemas import content
from studio.web.api.strict_route import StrictRoute

__all__ = ["consent_routes"]

_MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "html": "text/html"}


def consent_routes(session_of: Callable[..., Session], studio: str | None) -> APIRouter:
    """The routes; ``studio`` is the name by which rights holders know this site."""
    router = APIRouter(route_class=StrictRoute)
    Mine = Annotated[Session, Depends(session_of)]

    @router.get("/consent/site", tags=["consent"])
    def site(mine: Mine) -> ConsentSite:
        """The id by which rights holders address this studio in what they sign."""
        return ConsentSite(site=mine.consent.site_id(), name=studio)

    @router.get("/consent/holders", tags=["consent"])
    def holders(mine: Mine) -> list[HolderRecord]:
        """Every rights holder with its key."""
        return [HolderRecord(**holder.to_json()) for holder in mine.consent.holders()]

    @router.get(
        "/consent/holders/{holder_id}/statement",
        tags=["consent"],
        response_class=Response,
        responses=content(*_MEDIA_TYPES.values()),
    )
    def statement(
        mine: Mine,
        holder_id: str,
        first: Annotated[str, Query(alias="from", max_length=32)],
        last: Annotated[str, Query(alias="to", max_length=32)],
        format: Annotated[Literal["json", "csv", "html"], Query()] = "json",
    ) -> Response:
        """What was made under a holder's grants from one day to another, both included."""
        from studio.reports.statements.export import write
        from studio.reports.statements.statement import parse_period

        made = mine.consent.statement(holder_id, parse_period(first, last))
        name = f"statement-{made.holder}-{made.period.start:%Y%m%d}-{made.period.end:%Y%m%d}"
        shown = "inline" if format == "html" else "attachment"
        return Response(
            write(made, format),
            media_type=_MEDIA_TYPES[format],
            headers={"Content-Disposition": f'{shown}; filename="{name}.{format}"'},
        )

    @router.get("/consent/grants", tags=["consent"])
    def grants(mine: Mine) -> list[GrantRecord]:
        """Every grant, its state, and what was made under it."""
        return [GrantRecord(**grant.to_json()) for grant in mine.consent.grants()]

    @router.get("/consent/grants/{grant_id}/revocation", tags=["consent"])
    def preview(mine: Mine, grant_id: str) -> RevocationEffect:
        """What a revocation would do if it came now. Nothing happens."""
        return RevocationEffect(**mine.consent.preview_revocation(grant_id).to_json())

    @router.get("/consent/grants/{grant_id}/outputs", tags=["consent"])
    def affected(mine: Mine, grant_id: str) -> list[AffectedOutputRecord]:
        """The outputs that rest on a grant, oldest first."""
        found = mine.consent.affected_outputs(grant_id)
        return [AffectedOutputRecord(**output.to_json()) for output in found]

    @router.post(
        "/consent/documents",
        tags=["consent"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    )
    async def import_consent(request: Request, mine: Mine) -> ImportRecord:
        """Record the signed documents of a file; of each refused one the reason."""
        mine.require(Permission.CONSENT)
        data = await request.body()  # of MAX_DOCUMENT bytes at most, see BodyLimit
        report = await run_in_threadpool(mine.consent.import_file, data)
        return ImportRecord(**report.to_json())

    return router
