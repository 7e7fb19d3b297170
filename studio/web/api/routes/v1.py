"""The REST layer, version 1: what the page does, for programs. ``docs/accounts.md`` has examples.

It is an application of its own under ``/api/v1``, with its OpenAPI description in
``/api/v1/openapi.json``. Callers sign in with a token (``POST /session``); each call goes through
the actor's :class:`~studio.app.session.Session`, so that no route has rights of its own. Every
refusal is ``{"error": {"code", "message"}}``.
"""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside create_v1.
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.concurrency import run_in_threadpool

from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission
from studio.app.session import Session
from studio.core.errors import SignInError
from studio.core.tags import listing_key
from studio.generation.preview import Preview
from studio.reports.verification.page import report_page
from studio.reports.verification.table import as_csv
from studio.web.api.bodies import (
    AccountChange,
    Caller,
    Choice,
    Credentials,
    JobState,
    NewAccount,
    Order,
    Token,
)
from studio.web.api.lookup import of_output
from studio.web.api.reference import describe, reference_page
from studio.web.api.routes.derivations import derivation_routes
from studio.web.api.routes.previews import preview_routes
from studio.web.api.routes.sheets import sheet_routes
from studio.web.api.routes.stems import stem_routes
from studio.web.api.schemas import MEDIA_TYPES, record_of, tag_record
from studio.web.api.strict_route import StrictRoute
from studio.web.cases.examining import CaseFiles
from studio.web.cases.rest import case_rest_routes
from studio.web.errors import allow_head, one_shape
from studio.web.http.uploads import Uploads, file_name, receive_one
from studio.web.jobs.queue import JobRunner, Report, TooManyRequestsError, stoppable
from studio.web.jobs.store import JobBook
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.auth import account_of, actor_of, address_of, token_of
from studio.web.middleware.rate_limit import Buckets

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.generation.takes import Take
    from studio.provenance.release import Release

__all__ = ["create_v1"]

_REPORTS = {"html": report_page, "csv": as_csv}
_STATEMENT_TYPES = {"json": "application/json", "csv": "text/csv", "html": "text/html"}


def create_v1(
    gateway: "Gateway", uploads: Uploads, *, making: JobRunner, checking: JobRunner
) -> FastAPI:
    """The application to mount at ``/api/v1``, behind the door."""
    limits = gateway.config.accounts
    app = FastAPI(
        title="Consented Music Studio",
        version="1",
        description="Generation on consented tags, verification, consent, accounts.",
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = StrictRoute
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # as FastAPI's docs have it
    one_shape(app)
    book = JobBook(making)
    buckets = Buckets(limits.requests_per_minute)

    def bounded(request: Request) -> Actor | None:
        actor = actor_of(request.scope)
        wait_s = buckets.take(account_of(request, actor))
        if wait_s:
            raise TooManyRequestsError("too many requests; slow down", wait_s)
        return actor

    def caller(actor: Annotated[Actor | None, Depends(bounded)]) -> Actor:
        if actor is None:  # the door lets nobody through to these; this is the second lock
            raise SignInError("sign in first")
        return actor

    def session_of(actor: Annotated[Actor, Depends(caller)]) -> Session:
        return gateway.session(actor)

    Who = Annotated[Actor, Depends(caller)]
    Mine = Annotated[Session, Depends(session_of)]

    @app.get("/docs", include_in_schema=False)
    def reference() -> HTMLResponse:
        """The description as a page."""
        return HTMLResponse(reference_page(describe(app)))

    # -- who ------------------------------------------------------------------------------------

    @app.post("/session", status_code=201, tags=["session"])
    def sign_in(
        request: Request, body: Credentials, _: Annotated[Actor | None, Depends(bounded)]
    ) -> Token:
        """Sign in; the token is for later calls."""
        signed_in = gateway.sign_in(
            body.name, body.password, address=address_of(request), kind="token"
        )
        return Token(token=signed_in.token, expires_at=signed_in.expires_at.isoformat())

    @app.delete("/session", status_code=204, tags=["session"])
    def sign_out(request: Request, actor: Who) -> None:
        """End the session whose token is sent."""
        gateway.sign_out(token_of(request)[0])

    @app.get("/me", tags=["session"])
    def me(actor: Who) -> Caller:
        """Who I am and what I may do."""
        return Caller(
            name=actor.name,
            role=actor.role,
            permissions=sorted(actor.role.permissions),
            single_user=actor is LOCAL_OWNER,
        )

    # -- what there is --------------------------------------------------------------------------

    @app.get("/tags", tags=["catalogue"])
    def tags(
        mine: Mine,
        use: Annotated[str | None, Query(max_length=32)] = None,
        territory: Annotated[str | None, Query(max_length=8)] = None,
        model: Annotated[str | None, Query(max_length=128)] = None,
    ) -> list[dict[str, Any]]:
        """Every tag: granted for this use or not, by whom and until when."""
        return [
            tag_record(status)
            for status in sorted(
                mine.catalog.tag_status(model=model, use=use, territory=territory),
                key=lambda status: listing_key(status.tag),
            )
        ]

    @app.get("/models", tags=["catalogue"])
    def models(mine: Mine) -> list[dict[str, Any]]:
        """The generation models, their licences and what they were trained on."""
        return [
            {
                "id": model.id,
                "title": model.title,
                "licence": model.licence,
                "licence_uses": sorted(model.licence_uses),
                "training_basis": model.training_basis.strip(),
            }
            for model in mine.catalog.models().values()
        ]

    @app.post("/decisions", tags=["catalogue"])
    def decide(mine: Mine, body: Choice) -> dict[str, Any]:
        """What a request would be answered now, per tag, by which grant or why not."""
        decision = mine.catalog.decide(
            body.tags, use=body.use, territory=body.territory, model=body.model
        )
        return dict(decision.to_json())

    # -- making ---------------------------------------------------------------------------------

    @app.post("/jobs", status_code=202, tags=["making"])
    def order(
        request: Request, mine: Mine, actor: Who, body: Order, response: Response
    ) -> JobState:
        """Ask for music; consent is asked when the job runs, and again at its release."""
        asked = mine.generation.request(
            **body.model_dump(exclude_unset=True, exclude={"takes", "preview"})
        )
        mine.generation.check(asked)
        previews = tuple(Preview() for _ in range(body.takes if body.preview else 0))

        def work(
            session: Session, report: Report, cancel: threading.Event
        ) -> "Release | tuple[Take, ...]":
            making = session.generation
            if body.takes == 1:
                heard = previews[0] if previews else None
                return making.create(asked, progress=report, cancel=cancel, preview=heard)
            return making.create_takes(
                asked, body.takes, progress=report, cancel=cancel, previews=previews
            )

        job = book.book(mine, work, account=account_of(request, actor), previews=previews)
        response.headers["Location"] = f"jobs/{job.id}"
        return JobState(**job.to_json())

    @app.get("/jobs", tags=["making"])
    def jobs(actor: Who) -> list[JobState]:
        """My jobs of the last hour, newest first."""
        return [JobState(**job.to_json()) for job in book.of(actor)]

    @app.get("/jobs/{job_id}", tags=["making"])
    def job(actor: Who, job_id: str) -> JobState:
        """How my job stands."""
        return JobState(**book.find(actor, job_id).to_json())

    @app.delete("/jobs/{job_id}", tags=["making"])
    def cancel(actor: Who, job_id: str) -> JobState:
        """Stop my job; it has ended when its state says so."""
        booked = book.find(actor, job_id)
        booked.job.cancel()
        return JobState(**booked.to_json())

    app.include_router(preview_routes(caller, book))
    app.include_router(derivation_routes(caller, session_of, book))
    app.include_router(stem_routes(caller, session_of, making))
    app.include_router(sheet_routes(session_of))
    app.include_router(case_rest_routes(session_of, CaseFiles(uploads, checking)))

    # -- outputs --------------------------------------------------------------------------------

    @app.get("/outputs", tags=["outputs"])
    def outputs(
        mine: Mine, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> list[dict[str, Any]]:
        """What I have made, newest first."""
        return [record_of(release) for release in mine.outputs.mine(limit)]

    @app.get("/outputs/{output_id}", tags=["outputs"])
    def record(mine: Mine, output_id: str) -> dict[str, Any]:
        """The record of an output: request, consent, seal, model, digest, credits."""
        return record_of(of_output(output_id, mine.outputs.get))

    @app.get(
        "/outputs/{output_id}/audio",
        tags=["outputs"],
        response_class=Response,
        responses=_content(*MEDIA_TYPES.values()),
    )
    def audio(mine: Mine, output_id: str) -> FileResponse:
        """The file that was handed out, byte for byte."""
        path = of_output(output_id, mine.outputs.audio_file)
        return FileResponse(
            path,
            media_type=MEDIA_TYPES[path.suffix.removeprefix(".")],
            filename=path.name,
            headers={"Cache-Control": "private, no-store"},
        )

    @app.get("/outputs/{output_id}/proof", tags=["outputs"])
    def proof(mine: Mine, output_id: str) -> dict[str, Any]:
        """The offline proof that the release is in the ledger."""
        return dict(of_output(output_id, mine.outputs.proof))

    @app.get(
        "/outputs/{output_id}/score.mid",
        tags=["outputs"],
        response_class=Response,
        responses=_content("audio/midi"),
    )
    def score(mine: Mine, output_id: str) -> Response:
        """The score as a MIDI file with title, id and credits; 404 where there is none."""
        made = of_output(output_id, mine.outputs.score_file)
        return Response(
            made.content,
            media_type="audio/midi",
            headers={
                "Content-Disposition": f'attachment; filename="{output_id}.mid"',
                "Cache-Control": "private, no-store",
            },
        )

    @app.get(
        "/outputs/{output_id}/receipt",
        tags=["outputs"],
        response_class=Response,
        responses=_content("text/html", "application/pdf"),
    )
    def receipt(
        mine: Mine,
        output_id: str,
        format: Annotated[Literal["html", "pdf"], Query()] = "html",
    ) -> Response:
        """One page about the output that a person can show: consent, seal, ledger, credentials."""
        page = of_output(output_id, lambda id_: mine.outputs.receipt(id_, format))
        shown = "inline" if format == "html" else "attachment"
        return Response(
            page,
            media_type="text/html" if format == "html" else "application/pdf",
            headers={"Content-Disposition": f'{shown}; filename="{output_id}.receipt.{format}"'},
        )

    @app.put("/outputs/{output_id}/publication", tags=["outputs"])
    def publish(mine: Mine, output_id: str) -> dict[str, Any]:
        """Let the public detector tell the output's title, credits and id; recorded."""
        of_output(output_id, mine.outputs.publish)
        return {"output_id": output_id, "public": True}

    @app.delete("/outputs/{output_id}/publication", tags=["outputs"])
    def unpublish(mine: Mine, output_id: str) -> dict[str, Any]:
        """Make the output private again."""
        of_output(output_id, lambda id_: mine.outputs.publish(id_, public=False))
        return {"output_id": output_id, "public": False}

    # -- the desk -------------------------------------------------------------------------------

    @app.post(
        "/verifications",
        tags=["desk"],
        responses=_content("application/json", "text/html", "text/csv"),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {"file": {"type": "string", "format": "binary"}},
                        }
                    },
                },
            }
        },
    )
    async def verify(
        request: Request,
        mine: Mine,
        actor: Who,
        name: Annotated[str, Query(max_length=128)] = "",
        report: Annotated[Literal["html", "csv"] | None, Query()] = None,
    ) -> Any:
        """Examine a recording: the body is the file, or a form with one file.

        The verdict becomes a ledger entry. It is answered as JSON or, with `report`, as the page
        to print or the table that the Verify tab gives.
        """
        mine.require(Permission.VERIFY)
        account = account_of(request, actor)
        upload = await receive_one(
            uploads,
            "rest",
            f"upload{Path(name).suffix[:8]}",
            request.headers.get("content-type", ""),
            request.stream(),
            account=account,
        )
        try:
            job = checking.submit(
                lambda tell, cancel: mine.verification.verify(
                    upload.path, progress=stoppable(tell, cancel)
                ),
                account=account,
            )
            found = await while_connected(request, job)
        finally:
            uploads.discard(upload.path)
        found = replace(found, file=file_name(name) if name else upload.path.name)
        if report is None:
            return found.to_json()
        return Response(
            await run_in_threadpool(_REPORTS[report], [found]),
            media_type=_STATEMENT_TYPES[report],
            headers={"Content-Disposition": f'attachment; filename="verification.{report}"'},
        )

    # -- consent --------------------------------------------------------------------------------

    @app.get("/consent/site", tags=["consent"])
    def site(mine: Mine) -> dict[str, Any]:
        """The id by which rights holders address this studio in what they sign."""
        return {"site": mine.consent.site_id(), "name": gateway.config.consent.studio}

    @app.get("/consent/holders", tags=["consent"])
    def holders(mine: Mine) -> list[dict[str, Any]]:
        """Every rights holder with its key."""
        return [holder.to_json() for holder in mine.consent.holders()]

    @app.get(
        "/consent/holders/{holder_id}/statement",
        tags=["consent"],
        response_class=Response,
        responses=_content(*_STATEMENT_TYPES.values()),
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
            media_type=_STATEMENT_TYPES[format],
            headers={"Content-Disposition": f'{shown}; filename="{name}.{format}"'},
        )

    @app.get("/consent/grants", tags=["consent"])
    def grants(mine: Mine) -> list[dict[str, Any]]:
        """Every grant, its state, and what was made under it."""
        return [grant.to_json() for grant in mine.consent.grants()]

    @app.get("/consent/grants/{grant_id}/revocation", tags=["consent"])
    def preview(mine: Mine, grant_id: str) -> dict[str, Any]:
        """What a revocation would do if it came now. Nothing happens."""
        return dict(mine.consent.preview_revocation(grant_id).to_json())

    @app.get("/consent/grants/{grant_id}/outputs", tags=["consent"])
    def affected(mine: Mine, grant_id: str) -> list[dict[str, Any]]:
        """The outputs that rest on a grant, oldest first."""
        return [output.to_json() for output in mine.consent.affected_outputs(grant_id)]

    @app.post(
        "/consent/documents",
        tags=["consent"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    )
    async def import_consent(request: Request, mine: Mine) -> dict[str, Any]:
        """Record the signed documents of a file; of each refused one the reason."""
        mine.require(Permission.CONSENT)
        data = await request.body()  # of MAX_DOCUMENT bytes at most, see BodyLimit
        report = await run_in_threadpool(mine.consent.import_file, data)
        return dict(report.to_json())

    # -- accounts -------------------------------------------------------------------------------

    @app.get("/accounts", tags=["accounts"])
    def accounts(mine: Mine) -> list[dict[str, Any]]:
        """Every account."""
        return [account.to_json() for account in mine.accounts.all()]

    @app.post("/accounts", status_code=201, tags=["accounts"])
    def add_account(mine: Mine, body: NewAccount) -> dict[str, Any]:
        """Add an account. Once one account exists, sign-in is required."""
        added = mine.accounts.add(body.name, body.role, body.password)
        return dict(added.to_json())

    @app.patch("/accounts/{name}", tags=["accounts"])
    def change_account(mine: Mine, name: str, body: AccountChange) -> dict[str, Any]:
        """Change role or password, disable or enable; each signs the account out everywhere."""
        accounts = mine.accounts
        if body.role is not None:
            accounts.set_role(name, body.role)
        if body.password is not None:
            accounts.set_password(name, body.password)
        if body.disabled is not None:
            (accounts.disable if body.disabled else accounts.enable)(name)
        return dict(accounts.named(name).to_json())

    @app.delete("/accounts/{name}", status_code=204, tags=["accounts"])
    def delete_account(mine: Mine, name: str) -> None:
        """Delete a disabled account for good; its outputs and ledger entries stay."""
        mine.accounts.delete(name)

    # -- the security log -----------------------------------------------------------------------

    @app.get("/audit", tags=["audit"])
    def audit(
        mine: Mine,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
        event: Annotated[str | None, Query(max_length=32)] = None,
    ) -> list[dict[str, Any]]:
        """Security events, newest first: who, what, when, from where."""
        events = mine.security.newest(limit=limit, before=before, event=event)
        return [found.to_json() for found in events]

    @app.get(
        "/audit/export",
        tags=["audit"],
        response_class=Response,
        responses=_content("application/x-ndjson"),
    )
    def export_audit(mine: Mine) -> Response:
        """Every security event kept, one JSON object a line; the last says if the log is sound."""
        lines = mine.security.export()
        return Response(
            "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="security-log.jsonl"'},
        )

    allow_head(app)
    return app


def _content(*types: str) -> dict[int | str, dict[str, Any]]:
    """For the description: in which media types a route answers."""
    return {200: {"content": {media_type: {} for media_type in types}}}
