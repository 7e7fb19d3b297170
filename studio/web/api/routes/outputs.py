"""REST routes of outputs: record, audio, proof, score, receipt, publication."""

# No `from __future__ import annotations` here: FastAPI reads the annotations inside the function.
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import FileResponse

from studio.app.outputs.sharing import Share
from studio.app.session import Session
from studio.reports.record import record_of
from studio.web.api.lookup import of_output
from studio.web.api.records import OutputRecord, Publication, ShareRecord
from studio.web.api.schemas import MEDIA_TYPES, content
from studio.web.api.strict_route import StrictRoute

__all__ = ["output_routes"]


def output_routes(session_of: Callable[..., Session]) -> APIRouter:
    """The routes; ``session_of`` is the dependency of the whole layer."""
    router = APIRouter(route_class=StrictRoute)
    Mine = Annotated[Session, Depends(session_of)]

    @router.get("/outputs", tags=["outputs"])
    def outputs(mine: Mine, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[OutputRecord]:
        """What I have made, newest first."""
        return [OutputRecord(**record_of(release)) for release in mine.outputs.mine(limit)]

    @router.get("/outputs/{output_id}", tags=["outputs"])
    def record(mine: Mine, output_id: str) -> OutputRecord:
        """The record of an output: request, consent, seal, model, digest, credits."""
        return OutputRecord(**record_of(of_output(output_id, mine.outputs.get)))

    @router.get(
        "/outputs/{output_id}/audio",
        tags=["outputs"],
        response_class=Response,
        responses=content(*MEDIA_TYPES.values()),
    )
    def audio(mine: Mine, output_id: str) -> FileResponse:
        """The released file, byte for byte."""
        path = of_output(output_id, mine.outputs.audio_file)
        return FileResponse(
            path,
            media_type=MEDIA_TYPES[path.suffix.removeprefix(".")],
            filename=path.name,
            headers={"Cache-Control": "private, no-store"},
        )

    @router.get("/outputs/{output_id}/proof", tags=["outputs"])
    def proof(mine: Mine, output_id: str) -> dict[str, Any]:
        """The offline proof that the release is in the ledger."""
        return dict(of_output(output_id, mine.outputs.proof))

    @router.get(
        "/outputs/{output_id}/score.mid",
        tags=["outputs"],
        response_class=Response,
        responses=content("audio/midi"),
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

    @router.get(
        "/outputs/{output_id}/receipt",
        tags=["outputs"],
        response_class=Response,
        responses=content("text/html", "application/pdf"),
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

    @router.put("/outputs/{output_id}/publication", tags=["outputs"])
    def publish(mine: Mine, output_id: str) -> Publication:
        """Let the public detector tell the output's title, credits and id; recorded."""
        of_output(output_id, mine.outputs.publish)
        return Publication(output_id=output_id, public=True)

    @router.delete("/outputs/{output_id}/publication", tags=["outputs"])
    def unpublish(mine: Mine, output_id: str) -> Publication:
        """Make the output private again."""
        of_output(output_id, lambda id_: mine.outputs.publish(id_, public=False))
        return Publication(output_id=output_id, public=False)

    @router.get("/outputs/{output_id}/share", tags=["outputs"])
    def shared(mine: Mine, output_id: str) -> ShareRecord:
        """The link by which my output is shared, or null."""
        return _share_record(mine, of_output(output_id, mine.outputs.sharing))

    @router.put("/outputs/{output_id}/share", tags=["outputs"])
    def share(mine: Mine, output_id: str) -> ShareRecord:
        """Make a link that shows my output to whoever holds it, without an account; recorded."""
        return _share_record(mine, of_output(output_id, mine.outputs.share))

    @router.delete("/outputs/{output_id}/share", tags=["outputs"])
    def unshare(mine: Mine, output_id: str) -> ShareRecord:
        """Withdraw the link; shared again, the output gets another one."""
        ended = of_output(output_id, lambda id_: mine.outputs.share(id_, shared=False))
        return _share_record(mine, ended)

    return router


def _share_record(mine: Session, share: Share) -> ShareRecord:
    return ShareRecord(
        output_id=share.output_id,
        shared=share.path is not None,
        url=share.url(mine.config.server.address),
        path=share.path,
        entry=share.entry_index,
    )
