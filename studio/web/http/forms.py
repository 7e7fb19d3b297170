"""Read the small HTML forms of pages that work without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["read_form"]

_MAX_FIELDS = 8


async def read_form(request: Request, most_bytes: int) -> dict[str, str]:
    """The fields of an urlencoded form; empty where it is longer than ``most_bytes``.

    A form with a NUL character reads as empty too: no database stores one.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return {}
    if b"\0" in body or b"%00" in body:
        return {}
    text = body.decode("utf-8", "replace")
    fields = parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    return {name: values[0] for name, values in fields.items()}
