"""Receive a file for a case, examine it in the job queue, delete it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.web.http.uploads import Uploads, file_name, receive_one
from studio.web.jobs.queue import JobRunner, stoppable
from studio.web.jobs.waiting import while_connected
from studio.web.middleware.auth import account_of, actor_of

if TYPE_CHECKING:
    from fastapi import Request

    from studio.app.session import Session
    from studio.verification.cases import Case

__all__ = ["CaseFiles"]


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """Uploads of cases, and the queue in which they are examined."""

    uploads: Uploads
    checking: JobRunner

    async def examine(self, request: Request, mine: Session, case_id: str, name: str) -> Case:
        """The case with the file of the request's body. Raises as the parts of it do."""
        mine.cases.get(case_id)  # before anything is received
        account = account_of(request, actor_of(request.scope))
        upload = await receive_one(
            self.uploads,
            "case",
            f"upload{Path(name).suffix[:8]}",
            request.headers.get("content-type", ""),
            request.stream(),
            account=account,
        )
        shown = file_name(name) if name else upload.path.name
        try:
            job = self.checking.submit(
                lambda report, cancel: mine.cases.examine(
                    case_id, upload.path, name=shown, progress=stoppable(report, cancel)
                ),
                account=account,
            )
            return await while_connected(request, job)
        finally:
            self.uploads.discard(upload.path)
