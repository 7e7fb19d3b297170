"""Spectrograms and sounds of a case's matched parts, with byte ranges."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastapi.responses import Response

from studio.core.errors import NotYoursError

if TYPE_CHECKING:
    from fastapi import Request

    from studio.app.session import Session
    from studio.verification.comparison import Place

__all__ = ["FILE_TYPES", "PART_FILES", "original_sound", "part_file", "part_response"]

FILE_TYPES = {
    "suspect.png": "image/png",
    "original.png": "image/png",
    "difference.png": "image/png",
    "suspect.flac": "audio/flac",
    "original.flac": "audio/flac",
}
PART_FILES = frozenset(FILE_TYPES)
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")


def original_sound(mine: Session, place: Place) -> bytes:
    """The original's seconds as FLAC. Raises as ``session.outputs.excerpt`` does."""
    return mine.outputs.excerpt(
        place.output_id, max(0.0, place.original_start_s), place.original_end_s
    )


def part_file(mine: Session, case_id: str, number: int, part: int, name: str) -> bytes:
    """A picture or sound of a part of a file of a case.

    Raises :class:`NotYoursError` where there is none that the caller may have.
    """
    if name != "original.flac":
        return mine.cases.compared_file(case_id, number, part, name)
    for each in mine.cases.compared(case_id, number):
        if each.comparison.number == part:
            return original_sound(mine, each.comparison.place)
    raise NotYoursError("no such picture or sound, or not yours")


def part_response(request: Request, name: str, content: bytes) -> Response:
    """The file, or the range of it that a player asks for."""
    headers = {"Cache-Control": "private, no-store", "Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None:
        return Response(content, media_type=FILE_TYPES[name], headers=headers)
    first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    if first > last:
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Response(b"", 416, headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, FILE_TYPES[name])
