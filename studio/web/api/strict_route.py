"""Routes whose JSON bodies are read by :mod:`studio.web.http.strict_json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from studio.web.http.strict_json import NotStrictJsonError, parse

__all__ = ["StrictRoute"]


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body. Raises :class:`json.JSONDecodeError`, which FastAPI makes a refusal of."""
        body = await self.body()
        try:
            return parse(body)
        except NotStrictJsonError as exc:
            raise json.JSONDecodeError(str(exc), "", 0) from None


class StrictRoute(APIRoute):
    """As FastAPI's own; a body that two readers could understand in two ways is refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict
