"""The routes beside the page.

=========================  ======================================================================
``GET /healthz``           ``{"status": "ok"}`` as long as the ledger can be read
``GET /outputs/ID``        the record of an output (JSON): what a verdict would show as well
``GET /outputs/ID/audio``  the file that was handed out, byte for byte; needs ``?claim=``
=========================  ======================================================================

An output is named by its id and nothing else: no route takes a path, and the file that is sent is
the one the ledger names, if it lies in the studio's folder of released outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse

from studio.api.claims import Claims
from studio.api.security import HouseRules
from studio.consent.types import format_instant
from studio.errors import LedgerError, UsageError

if TYPE_CHECKING:
    from studio.services import Release, Studio

__all__ = ["MEDIA_TYPES", "create_api", "record_of"]

MEDIA_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "m4a": "audio/mp4"}
_OUTPUT_ID = re.compile(r"[0-9a-f]{16}")


def create_api(
    studio: Studio,
    claims: Claims,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The routes over one studio. The page is mounted on the result by :mod:`studio.ui.server`."""
    app = FastAPI(
        title="Consented Music Studio",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(HouseRules)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        try:
            studio.recent(1)
        except LedgerError as exc:
            raise HTTPException(503, "the ledger cannot be read") from exc
        return {"status": "ok"}

    @app.get("/outputs/{output_id}")
    def record(output_id: str) -> dict[str, Any]:
        return record_of(_find(studio, output_id))

    @app.get("/outputs/{output_id}/audio")
    def audio(output_id: str, claim: Annotated[str, Query(max_length=64)] = "") -> FileResponse:
        # Checked first: without a claim, an id that exists and one that does not look alike.
        if not claims.accepts(output_id, claim):
            raise HTTPException(404, "no such output, or not yours")
        release = _find(studio, output_id)
        path = _released_file(studio.paths.outputs, release.path)
        return FileResponse(
            path,
            media_type=MEDIA_TYPES[release.request.format],
            filename=path.name,
            headers={"Cache-Control": "private, no-store"},
        )

    return app


def record_of(release: Release) -> dict[str, Any]:
    """The public record of an output: no path, nothing of the machine."""
    return {
        "output_id": release.output_id,
        "title": release.title,
        "created_at": format_instant(release.created_at),
        "sha256": release.sha256,
        "duration_s": release.duration_s,
        "rate": release.rate,
        "channels": release.channels,
        "seal_id": release.seal_id,
        "seal": dict(release.seal),
        "entry": {"index": release.entry_index, "hash": release.entry_hash},
        "request": release.request.to_json(),
        "decision": dict(release.decision),
        "model": dict(release.model),
        "credits": list(release.credits),
    }


def _find(studio: Studio, output_id: str) -> Release:
    if not _OUTPUT_ID.fullmatch(output_id):
        raise HTTPException(404, "no such output")
    try:
        return studio.release(output_id)
    except UsageError as exc:
        raise HTTPException(404, "no such output") from exc
    except LedgerError as exc:
        raise HTTPException(503, "the ledger cannot be read") from exc


def _released_file(outputs: Path, path: Path) -> Path:
    """The file, if it is a regular file inside the folder of released outputs."""
    resolved = path.resolve()
    if not resolved.is_relative_to(outputs.resolve()) or not resolved.is_file():
        raise HTTPException(410, "this output is no longer on this machine; its record remains")
    return resolved
