"""REST routes of accounts and of the security log."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
import json
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from studio.app.session import Session
from studio.web.api.bodies import AccountChange, NewAccount
from studio.web.api.records import AccountRecord, SecurityEventRecord
from studio.web.api.schemas import content
from studio.web.api.strict_route import StrictRoute

__all__ = ["account_routes"]


def account_routes(session_of: Callable[..., Session]) -> APIRouter:
    """The routes; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Mine = Annotated[Session, Depends(session_of)]

    @router.get("/accounts", tags=["accounts"])
    def accounts(mine: Mine) -> list[AccountRecord]:
        """List every account."""
        return [AccountRecord(**account.to_json()) for account in mine.accounts.all()]

    @router.post("/accounts", status_code=201, tags=["accounts"])
    def add_account(mine: Mine, body: NewAccount) -> AccountRecord:
        """Add an account. Once one account exists, sign-in is required."""
        added = mine.accounts.add(body.name, body.role, body.password)
        return AccountRecord(**added.to_json())

    @router.patch("/accounts/{name}", tags=["accounts"])
    def change_account(mine: Mine, name: str, body: AccountChange) -> AccountRecord:
        """Change role or password, disable or enable; each signs the account out everywhere."""
        accounts = mine.accounts
        if body.role is not None:
            accounts.set_role(name, body.role)
        if body.password is not None:
            accounts.set_password(name, body.password)
        if body.disabled is not None:
            (accounts.disable if body.disabled else accounts.enable)(name)
        return AccountRecord(**accounts.named(name).to_json())

    @router.delete("/accounts/{name}", status_code=204, tags=["accounts"])
    def delete_account(mine: Mine, name: str) -> None:
        """Delete a disabled account for good; its outputs and ledger entries stay."""
        mine.accounts.delete(name)

    @router.get("/audit", tags=["audit"])
    def audit(
        mine: Mine,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
        event: Annotated[str | None, Query(max_length=32)] = None,
    ) -> list[SecurityEventRecord]:
        """Security events, newest first: who, what, when, from where."""
        events = mine.security.newest(limit=limit, before=before, event=event)
        return [SecurityEventRecord(**found.to_json()) for found in events]

    @router.get(
        "/audit/export",
        tags=["audit"],
        response_class=Response,
        responses=content("application/x-ndjson"),
    )
    def export_audit(mine: Mine) -> Response:
        """Every security event kept, one JSON object a line; the last says if the log is sound."""
        lines = mine.security.export()
        return Response(
            "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="security-log.jsonl"'},
        )

    return router
