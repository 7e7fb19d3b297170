"""Values that the REST routes share: media types, ids, the record of a tag."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import TagStatus

__all__ = ["FILE_BODY", "MEDIA_TYPES", "OUTPUT_ID", "content", "tag_record"]

MEDIA_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
}
OUTPUT_ID = re.compile(r"[0-9a-f]{16}")
FILE_BODY = {
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
}
"""For the description: a request that uploads one file, as the body or as a form."""


def tag_record(status: TagStatus) -> dict[str, Any]:
    """A tag and its consent for a use."""
    return {
        "tag": status.tag.id,
        "kind": status.tag.kind,
        "granted": status.granted,
        "holders": list(status.holders),
        "grants": list(status.grants),
        "valid_until": status.valid_until,
        "reason": status.reason,
        "explanation": status.explanation,
        "known_to_model": status.known_to_model,
    }


def content(*types: str) -> dict[int | str, dict[str, Any]]:
    """The media types of a route's answer, for the OpenAPI description."""
    return {200: {"content": {media_type: {} for media_type in types}}}
