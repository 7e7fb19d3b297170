"""The MCP tools over stdin and stdout, on the same machine: ``studio mcp``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studio.core.errors import UsageError
from studio.web.mcp.tools import create_mcp

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

    from studio.app.session import Session
    from studio.verification.report import VerifyReport

__all__ = ["serve_stdio"]


class _Local:
    """Whoever started the command asks, with his account's rights."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def session(self, context: Context) -> Session:
        return self._session

    def examine(self, context: Context, source: bytes | str) -> VerifyReport:
        if isinstance(source, bytes):
            return self._session.verification.verify(source)
        if not Path(source).is_file():
            raise UsageError("there is no such file, or it is no regular one")
        return self._session.verification.verify(source)


def serve_stdio(session: Session) -> None:
    """Serve the studio, as its caller may use it, until stdin ends."""
    create_mcp(_Local(session)).run("stdio")
