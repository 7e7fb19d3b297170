"""Routes that refuse ambiguous JSON bodies."""

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
    """A FastAPI route that refuses a body which two parsers could read in two ways."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict
