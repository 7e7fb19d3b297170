"""What a route says of an output that a caller names."""

from __future__ import annotations

from typing import Any

from studio.core.errors import NotYoursError, OutputGoneError, UsageError
from studio.web.api.schemas import OUTPUT_ID

__all__ = ["of_output"]


def of_output(mine: Any, output_id: str, method: str = "release", **options: Any) -> Any:
    """What ``method`` says of an output; no difference between another's and one that is not."""
    if not OUTPUT_ID.fullmatch(output_id):
        raise NotYoursError("no such output, or not yours")
    try:
        return getattr(mine, method)(output_id, **options)
    except OutputGoneError:
        raise
    except UsageError as exc:
        raise NotYoursError("no such output, or not yours") from exc
