"""Receive a file for a case, examine it in the job queue, delete it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.web.http.uploads import file_name, receive_one
from studio.web.jobs.long_checks import Checks, LongCheck
from studio.web.middleware.auth import account_of, actor_of

if TYPE_CHECKING:
    from fastapi import Request

    from studio.app.session import Session
    from studio.verification.cases import Case
    from studio.web.http.uploads import Upload

__all__ = ["CaseFiles"]


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """What examines the files of cases."""

    checks: Checks

    async def examine(
        self, request: Request, mine: Session, case_id: str, name: str
    ) -> Case | LongCheck[Case]:
        """The case with the file of the request's body, or a long job that adds it.

        Raises as the parts of it do.
        """
        mine.cases.get(case_id)  # before anything is received
        account = account_of(request, actor_of(request.scope))
        upload = await receive_one(
            self.checks.uploads,
            "case",
            f"upload{Path(name).suffix[:8]}",
            request.headers.get("content-type", ""),
            request.stream(),
            account=account,
        )
        shown = file_name(name) if name else upload.path.name
        return await self.examine_upload(request, mine, case_id, upload, shown)

    async def examine_upload(
        self, request: Request, mine: Session, case_id: str, upload: Upload, shown: str
    ) -> Case | LongCheck[Case]:
        """Examine an uploaded file, shown as ``shown``; see :meth:`examine`."""
        return await self.checks.run(
            request,
            mine,
            upload.path,
            lambda path, limits, most, tell: mine.cases.examine(
                case_id, path, name=shown, limits=limits, max_values=most, progress=tell
            ),
            name=shown,
            account=upload.account,
            case_id=case_id,
        )
